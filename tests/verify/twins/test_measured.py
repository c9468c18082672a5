"""Shipped specs against what transformers' own models of them had: the twins' table, replayed."""

import pytest

from kvcalc.convert.hf import TRANSFORMERS
from kvcalc.dtypes import CacheDtypes
from kvcalc.engines.transformers.caches import accounting
from kvcalc.memory.cache import compile_groups
from kvcalc.memory.weights import summarise
from kvcalc.spec.catalog import load
from kvcalc.verify.twins.twin import twin_of
from tests.verify.twins.measured import FILE, NAMES, table, text


def test_the_table_is_written_by_its_program() -> None:
    values = table()
    again = "python -m tests.verify.twins.measured writes it"
    assert tuple(values["twins"]) == NAMES, again
    assert FILE.read_text("utf-8") == text(values["twins"]), again


@pytest.mark.parametrize("name", NAMES)
def test_a_spec_is_what_its_twin_had(name: str) -> None:
    spec, row = load(name), table()["twins"][name]
    assert summarise(twin_of(spec).spec).language_model == row["parameters"]
    groups = accounting(spec, CacheDtypes(), TRANSFORMERS).groups
    encoder_tokens = (spec.encoder.tokens or 7) if spec.encoder is not None else 0
    kept = compile_groups(groups, CacheDtypes()).at(row["tokens"], encoder_tokens)
    assert kept == row["cache_bytes"]

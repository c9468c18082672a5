"""A spec that was written reads back as the same spec."""

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings

from kvcalc.spec import catalog
from kvcalc.spec.dump import dump
from kvcalc.spec.loader import load_spec_file, load_spec_text
from kvcalc.spec.model import ModelSpec
from tests.drawn import examples
from tests.spec.random_specs import specs

SHIPPED = catalog.shipped()


@given(specs())
@settings(max_examples=examples(20), deadline=None, suppress_health_check=list(HealthCheck))
def test_random_specs_read_back(spec: ModelSpec) -> None:
    assert load_spec_text(dump(spec)) == spec


@pytest.mark.parametrize("path", SHIPPED.values(), ids=SHIPPED.keys())
def test_shipped_specs_read_back(path: Path) -> None:
    spec = load_spec_file(path)
    assert load_spec_text(dump(spec)) == spec


def test_a_comment_stands_before_its_key() -> None:
    spec = load_spec_file(catalog.find("llama-3-8b"))
    lines = dump(spec, {"vocab_size": "rows of the table"}).splitlines()
    assert lines[lines.index("# rows of the table") + 1] == "vocab_size: 128256"


def test_defaults_are_left_out() -> None:
    text = dump(load_spec_file(catalog.find("llama-3-8b")))
    assert "final_norm" not in text
    assert "sliding_window" not in text

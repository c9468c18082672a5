"""Every number of the spec language says what it counts, and is bounded with a reason."""

import dataclasses
import inspect
import time
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from types import UnionType
from typing import Union, get_args, get_origin

import pytest

from kvcalc.counts import count_of
from kvcalc.errors import SpecError
from kvcalc.spec.loader import load_spec_text

PACKAGE = Path(__file__).resolve().parent.parent / "kvcalc"


def classes() -> Iterator[type]:
    """Every dataclass that a spec is made of."""
    modules = [import_module("kvcalc.spec.model")]
    for package in ("attention", "recurrent", "ffn", "stack"):
        for path in sorted((PACKAGE / package).glob("*.py")):
            if path.stem != "__init__":
                modules.append(import_module(f"kvcalc.{package}.{path.stem}"))
    for module in modules:
        for cls in vars(module).values():
            own = inspect.isclass(cls) and cls.__module__ == module.__name__
            if own and dataclasses.is_dataclass(cls):
                yield cls


def is_number(kind: object) -> bool:
    options = get_args(kind) if get_origin(kind) in (Union, UnionType) else (kind,)
    return int in options


@pytest.mark.parametrize("cls", list(classes()), ids=lambda cls: cls.__name__)
def test_every_number_says_what_it_counts(cls: type) -> None:
    plain = [field.name for field in dataclasses.fields(cls) if is_number(field.type)]
    assert plain == [], (
        f"{cls.__name__}: give these fields a type of kvcalc/counts.py: the reader's bounds, the "
        f"schema, the verifier's reductions and what ranks divide follow from it"
    )


@pytest.mark.parametrize("cls", list(classes()), ids=lambda cls: cls.__name__)
def test_every_bound_has_a_reason(cls: type) -> None:
    for field in dataclasses.fields(cls):
        count = count_of(field.type)
        assert count is None or (count.why and count.unit and count.least <= count.most)


SPEC = """\
name: t
source: made up
hidden_size: 64
vocab_size: 100
tie_word_embeddings: true
blocks:
  a:
    attention: {{{attention}}}
    ffn: {{kind: gated, intermediate_size: 128}}
{block}layers:
  - {{repeat: 2, blocks: [{names}]}}
{more}"""
GQA = "kind: gqa, num_attention_heads: 8, num_key_value_heads: 2, head_dim: 8"
V4 = "num_attention_heads: 8, head_dim: 16, q_lora_rank: 16, o_groups: 2, o_lora_rank: 8, sliding_window: 8"


def spec(attention: str = GQA, block: str = "", more: str = "", names: str = "a") -> str:
    return SPEC.format(attention=attention, block=block, more=more, names=names)


HOSTILE = {
    "norms": (spec(block="    norms: 1000000000000000\n"), 10, "at most 64 norms"),
    "mtp": (spec(more="mtp: {num_layers: 1000000000, block: a}\n"), 12, "at most 256 modules"),
    "altup": (spec(more="altup: {altup_num_inputs: 99999999}\n"), 12, "at most 256 streams"),
    "latents": (
        spec(
            "kind: gla, num_attention_heads: 9000, num_latent_heads: 9000, head_dim: 8, "
            "q_lora_rank: 8, kv_lora_rank: 8, qk_rope_dim: 8"
        ),
        8,
        "at most 256 latents",
    ),
    "heads": (spec(GQA.replace(": 8", ": 134217728", 1)), 8, "at most 16384 heads"),
    "rate": (spec(f"kind: hca, compress_rate: 1000000, {V4}"), 8, "at most 65536 tokens"),
    "rates": (
        spec(
            f"kind: hca, compress_rate: 65521, {V4}",
            f"  b:\n    attention: {{kind: hca, compress_rate: 65519, {V4}}}\n",
            names="a, b",
        ),
        11,
        "begin anew together after more than 65536 tokens",
    ),
    "layers": (spec().replace("repeat: 2", "repeat: 999999999"), 11, "at most 4096 layers"),
    "digits": (spec().replace("hidden_size: 64", f"hidden_size: {10**4000}"), 3, "at most 1048576"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_number_beyond_its_bound_is_an_error_at_once_and_in_its_place(name: str) -> None:
    text, line, message = HOSTILE[name]
    started = time.process_time()
    with pytest.raises(SpecError) as caught:
        load_spec_text(text)
    assert time.process_time() - started < 1
    problem = caught.value.problems[0]
    assert problem.line == line
    assert problem.column > 1
    assert message in problem.message

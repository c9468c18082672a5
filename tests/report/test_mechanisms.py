"""``kvcalc explain --all`` and one section of it: enough to write a spec from."""

from dataclasses import is_dataclass
from typing import get_args

import pytest

import kvcalc
from kvcalc.cli.app import main
from kvcalc.report.answers.mechanisms import EXAMPLES, find, render, sections
from kvcalc.spec.fields import spec_fields
from kvcalc.spec.model import Block, Encoder, ModelSpec


def test_every_part_of_a_spec_has_its_section() -> None:
    text = render()
    for cls in (ModelSpec, Block, Encoder):
        for name, field in spec_fields(cls).items():
            assert f"{name}: " in text
            if "lazy" in field.meta and name != "cross_attention":
                assert find(name) is not None, name
            if is_dataclass(field.kind) or any(map(is_dataclass, get_args(field.kind))):
                assert find(name) is not None or name == "conv_stem", name


def test_no_name_is_two_sections_or_a_model() -> None:
    names = [name for section in sections() for name in section.names]
    assert len(names) == len(set(names))
    assert not set(names) & set(kvcalc.shipped())


@pytest.mark.parametrize(
    ("example", "cache_bytes"),
    [
        # 24 layers of K and V, 4 heads of 64 in bf16, 8,192 tokens.
        ("spec", 201_326_592),
        # A first and a last layer of 8,192 tokens, 8 layers each of 8,192, 5,461 and 2,730.
        ("recursion", 150_986_752),
        # 6 uses of one shared block, and 30 states of 32 * 64 * 64 fp32 and 3 columns of 2,176.
        ("blocks", 66_451_968),
        # 12 layers of self and of cross attention.
        ("encoder", 201_326_592),
    ],
)
def test_examples_are_sound_specs(example: str, cache_bytes: int) -> None:
    spec = kvcalc.load_spec_text(EXAMPLES[example])
    assert kvcalc.estimate(spec, context_tokens="8k").cache.bytes == cache_bytes


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("mamba2", "kind: mamba2\n"),
        ("GQA", "kind: mha, mqa, gqa\n"),
        ("recursion", "sharing is one of cycle, sequence, middle_cycle, middle_sequence.\n"),
        ("MoR", "name: a-mixture-of-recursions\n"),
        ("hyper-connections", "hyper_connections:\n"),
        ("loops", "    loops: how often the whole run is passed through"),
        ("gqa", "bias is a list of any of "),
    ],
)
def test_one_section(name: str, said: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        main(["explain", name])
    assert not stop.value.code
    assert said in capsys.readouterr().out

"""All four proofs on every mechanism, every way of stacking, and some shipped specs."""

import ast
import inspect
from collections.abc import Iterator
from dataclasses import fields
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch")

from kvcalc.proofs import Verification
from kvcalc.spec.catalog import load, shipped
from kvcalc.spec.loader import load_spec_text
from kvcalc.verify.prove.parameters import prove_parameters
from kvcalc.verify.runner import verify
from tests.verify.specs import SPECS

pytestmark = pytest.mark.torch
VERIFY = Path(__file__).resolve().parent.parent.parent / "kvcalc" / "verify"


def failures(found: Verification) -> list[str]:
    return [f"{proof.name}: {failure}" for proof in found.proofs for failure in proof.failures]


def _every_feature_once() -> Iterator[Any]:
    """Small specs that have a kind or a part of a spec that none before had; the others are in a table.

    ``python -m tests.verify.proven`` proves all of them, and test_proven.py replays it.
    """
    seen: set[str] = set()
    for name, text in SPECS.items():
        spec = load_spec_text(text)
        has = {field.name for field in fields(spec) if getattr(spec, field.name)}
        for block in spec.blocks.values():
            parts = (block.attention, block.recurrent, block.cross_attention, block.ffn)
            has.update(part.kind for part in parts if part is not None)
        yield pytest.param(name, marks=() if has - seen else pytest.mark.sweep)
        seen |= has


@pytest.mark.parametrize("name", list(_every_feature_once()))
def test_every_mechanism_passes(name: str) -> None:
    found = verify(load_spec_text(SPECS[name]))
    assert [proof.name for proof in found.proofs] == [
        "parameters", "cache", "sufficient", "necessary",
    ]  # fmt: skip
    assert failures(found) == []
    assert found.passed


@pytest.mark.parametrize(
    "name",
    [
        # windows beside full layers
        pytest.param("gemma-3-1b", marks=pytest.mark.sweep),
        "gpt-oss-20b",  # sink logits, experts with biases
        "deepseek-v3",  # latent attention, router bias as a buffer
        # compressed entries, an indexer, hash routing, residual streams
        pytest.param("deepseek-v4-flash", marks=pytest.mark.sweep),
        "t5-base",  # encoder and decoder, relative positions
        "albert-base-v2",  # one layer's weights used twelve times, a narrow embedding
        # alternating updates, shared keys and values, per-layer embeddings
        pytest.param("gemma-3n-e4b", marks=pytest.mark.sweep),
    ],
)
def test_shipped_specs_pass(name: str) -> None:
    assert failures(verify(load(name))) == []


def test_parameters_of_shipped_specs() -> None:
    """One in thirty; test_proven.py has the others."""
    for name in list(shipped())[::30]:
        found = prove_parameters(load(name))
        assert found.passed, (name, found.failures)


def test_parameters_are_those_of_the_model_card() -> None:
    # Meta-Llama-3-8B: 8,030,261,248 values in the checkpoint's four files.
    parameters = verify(load("llama-3-8b")).proofs[0]
    assert parameters.measured_total == 8_030_261_248
    assert parameters.formula_total == 8_030_261_248


def test_measured_shapes_are_written_out_by_hand() -> None:
    # 2 KV heads of 8 and a window of 128 in bf16: 2 * 128 * 8 numbers, 4,096 bytes; K and V of 2
    # layers: 16,384. Made small, 2 heads of 4 and 6 tokens: 48 numbers, 96 bytes, 384 in all.
    cache = verify(load_spec_text(SPECS["window"])).proofs[1]
    assert cache.measured_total == 16_384
    assert cache.notes[1].endswith(": 384 bytes")
    shapes = [row.measured.shape for row in cache.rows if row.measured]
    assert shapes == [(1, 2, 128, 8)] * 2 + [(1, 2, 6, 4)] * 2


def test_an_encoder_has_nothing_to_prove_but_its_parameters() -> None:
    found = verify(load_spec_text(SPECS["encoder"]))
    assert found.proofs[1].notes == ("nothing is kept, and the formula says so",)
    assert [proof.applies for proof in found.proofs] == [True, True, False, False]


def test_the_slot_about_to_be_overwritten_is_named() -> None:
    necessary = verify(load_spec_text(SPECS["window"])).proofs[3]
    notes = [row.note for row in necessary.rows if "attention.key" in row.tensor]
    assert notes[0].startswith("the oldest position, slot 0 of 6, is about to be overwritten")
    # Two sink tokens stay for ever; behind them the window's oldest goes.
    necessary = verify(load_spec_text(SPECS["sinks"])).proofs[3]
    assert "slot 2 of 8, is about to be overwritten" in necessary.rows[0].note


def test_token_choice_is_measured_at_both_ends() -> None:
    found = verify(load_spec_text(SPECS["recursion-cycle-per_recursion-token_choice"]))
    assert "none deeper than once" in found.proofs[1].notes[0]
    assert found.passed


@pytest.mark.parametrize("package", ["attention", "recurrent", "ffn"])
def test_every_kind_has_a_reference_module(package: str) -> None:
    kinds: dict[str, tuple[str, str]] = import_module(f"kvcalc.{package}").KINDS
    for module, cls in kinds.values():
        twin = import_module(module.replace("kvcalc.", "kvcalc.verify.", 1))
        assert hasattr(twin, cls), f"{module}: no reference module {cls}"


def test_every_kind_has_a_small_spec() -> None:
    kinds: set[str] = set()
    for text in SPECS.values():
        for block in load_spec_text(text).blocks.values():
            parts = (block.attention, block.recurrent, block.cross_attention, block.ffn)
            kinds.update(part.kind for part in parts if part is not None)
    known = {kind for package in ("attention", "recurrent", "ffn")
             for kind in import_module(f"kvcalc.{package}").KINDS}  # fmt: skip
    assert known <= kinds, "a spec in tests/verify/specs.py, and the four proofs run on it"


@pytest.mark.parametrize(
    "path",
    sorted(
        path
        for folder in ("attention", "recurrent", "ffn", "stack")
        for path in (VERIFY / folder).glob("*.py")
    ),
    ids=lambda path: f"{path.parent.name}/{path.stem}",
)
def test_reference_modules_never_ask_the_calculator(path: Path) -> None:
    """Only a mechanism's fields are read: no inventory, no extents, no properties of formulas."""
    tree = ast.parse(path.read_text("utf-8"))
    twin = f"kvcalc.{path.parent.name}.{path.stem}".removesuffix(".__init__")
    parts = ("kvcalc.attention", "kvcalc.recurrent", "kvcalc.ffn", "kvcalc.stack")
    classes = [cls for cls in vars(import_module(twin)).values()
               if inspect.isclass(cls) and cls.__module__.startswith(parts)]  # fmt: skip
    formulas = {name for cls in classes for name, value in vars(cls).items()
                if isinstance(value, property)}  # fmt: skip
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            asked = ("cache", "layer_parameters", "model_parameters", "final_parameters",
                     "routers", "explain", "token_share")  # fmt: skip
            assert node.func.attr not in asked
        if isinstance(node, ast.Attribute):
            assert node.attr not in formulas
        if isinstance(node, ast.ImportFrom):
            assert not (node.module or "").startswith(("kvcalc.memory", "kvcalc.tensors"))

"""The witness knows the whole language: every model type that imports, every field of a spec."""

import ast
import dataclasses
import inspect
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

import pytest

pytest.importorskip("torch")

from kvcalc.convert.model_types import CONVERTERS
from kvcalc.errors import UnsupportedError
from kvcalc.verify.layer import build
from tests.verify.every_type import parameters_differ

pytestmark = pytest.mark.torch
PACKAGE = Path(__file__).resolve().parent.parent.parent / "kvcalc"

# Fields that say where numbers are from, how they are stored, or what they are held to: no tensor
# of a reference model depends on them. ``mtp`` is counted apart and has no reference module.
NOT_OF_THE_MODEL = {
    "ModelSpec": {"name", "source", "hub_id", "released", "model_type", "checkpoint", "notes", "left_out",
                  "max_position_embeddings", "weight_dtypes", "weight_formats", "declared_cache",
                  "quantized_by", "expect", "budgets", "mtp"},
    "Expect": None, "Budget": None, "MultiTokenPrediction": None, "PublishedCount": None,
}  # fmt: skip


def test_the_reference_model_has_the_parameters_of_every_model_type() -> None:
    wrong = {name: found for name in CONVERTERS if (found := parameters_differ(name, 0))}
    assert wrong == {}, "the reference modules under kvcalc/verify do not read a field, or a value"


def test_a_mechanism_without_a_reference_module_says_which_file_is_missing() -> None:
    class MyKindOfAttention:
        kind = "mka"

    MyKindOfAttention.__module__ = "kvcalc.attention.mka"
    sentence = (
        r"mka has no reference module.* class MyKindOfAttention in kvcalc/verify/attention/mka\.py"
    )
    with pytest.raises(UnsupportedError, match=sentence):
        build(MyKindOfAttention())


def _classes() -> Iterator[type]:
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


def _names_read() -> set[str]:
    """Every attribute that the reference modules name, and every word that they get by name."""
    found: set[str] = set()
    outside = {PACKAGE / "verify" / name for name in ("reduce.py", "plan.py", "shards.py")}
    for path in (PACKAGE / "verify").rglob("*.py"):
        if path in outside or "twins" in path.parts:
            continue
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Attribute):
                found.add(node.attr)
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                found.add(node.value)
    return found


def test_every_field_of_the_language_is_read_by_a_reference_module() -> None:
    read = _names_read()
    unread = []
    for cls in _classes():
        left_out = NOT_OF_THE_MODEL.get(cls.__name__, set())
        if left_out is None:
            continue
        for field in dataclasses.fields(cls):
            if field.name not in read | left_out:
                unread.append(f"{cls.__name__}.{field.name}")
    assert unread == [], (
        "the verifier would call a right formula wrong: read it under kvcalc/verify"
    )


@pytest.mark.parametrize(
    ("model_type", "name"),
    [("bert", "BertForTokenClassification"), ("bart", "BartForCausalLM"), ("t5", "T5EncoderModel"),
     ("modernbert", "ModernBertForMaskedLM"), ("rembert", "RemBertForMaskedLM"),
     ("qwen3", "Qwen3ForSequenceClassification"), ("gpt2", "GPT2DoubleHeadsModel")],
)  # fmt: skip
def test_the_reference_model_has_the_tensors_of_a_class(model_type: str, name: str) -> None:
    from kvcalc.convert.hf import spec_from_config
    from kvcalc.verify.prove.parameters import prove_parameters
    from tests.convert.classes import config

    spec = spec_from_config(config(model_type, 0) | {"architectures": [name]}, "drawn", "x").spec
    assert prove_parameters(spec).passed

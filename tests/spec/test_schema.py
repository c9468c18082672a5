"""The JSON Schema: kept in step with the dataclasses, right about the shipped specs, to the point."""

from dataclasses import is_dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema import Draft7Validator
from jsonschema.exceptions import best_match

from kvcalc.spec import catalog
from kvcalc.spec.fields import spec_fields
from kvcalc.spec.model import ModelSpec
from kvcalc.spec.schema import FILE, field_docs, schema, text

VALIDATOR = Draft7Validator(schema())
SHIPPED = catalog.shipped()


def errors_of(change: Any) -> list[tuple[str, str]]:
    """(JSON path, message) of each error of llama-3-8b after a change to its plain data."""
    plain = yaml.safe_load(SHIPPED["llama-3-8b"].read_text("utf-8"))
    change(plain)
    return [(error.json_path, error.message) for error in VALIDATOR.iter_errors(plain)]


def test_is_a_draft_7_schema() -> None:
    Draft7Validator.check_schema(schema())


def test_the_file_in_the_package_is_the_generated_one() -> None:
    assert FILE.read_text("utf-8") == text(), "python -m kvcalc.spec.schema writes it anew"


@pytest.mark.parametrize("path", SHIPPED.values(), ids=SHIPPED.keys())
def test_shipped_specs_validate(path: Path) -> None:
    error = best_match(VALIDATOR.iter_errors(yaml.safe_load(path.read_text("utf-8"))))
    assert error is None, error and f"{error.json_path}: {error.message}"


def test_every_object_is_closed_and_every_field_described() -> None:
    definitions = schema()["definitions"]
    for name, node in [("root", schema()), *definitions.items()]:
        if "additionalProperties" not in node:
            assert set(node) == {"properties", "required", "allOf"}, name
            continue
        assert node["additionalProperties"] is False, name
        assert node["description"], name
        for field, described in node["properties"].items():
            assert described.get("description"), f"{name}.{field}"


def test_every_fields_section_names_every_field() -> None:
    seen: set[Any] = set()

    def visit(cls: Any) -> None:
        if cls in seen:
            return
        seen.add(cls)
        assert set(field_docs(cls)) == set(spec_fields(cls)), cls
        for field in spec_fields(cls).values():
            if is_dataclass(field.kind):
                visit(field.kind)

    visit(ModelSpec)


@pytest.mark.parametrize(
    ("change", "path", "message"),
    [
        (lambda s: s.update(hiden_size=1), "$", "'hiden_size' was unexpected"),
        (lambda s: s.pop("vocab_size"), "$", "'vocab_size' is a required property"),
        (lambda s: s.update(vocab_size="8"), "$.vocab_size", "'8' is not of type 'integer'"),
        (lambda s: s.update(vocab_size=0), "$.vocab_size", "0 is less than the minimum of 1"),
        (lambda s: s.update(norm="rms"), "$.norm", "'rms' is not one of"),
        (lambda s: s.update(source=[1]), "$.source[0]", "1 is not of type 'string'"),
        (lambda s: s.update(source={}), "$.source", "{} is not of type 'string'"),
        (lambda s: s.update(layers=[]) or s.update(layers={}), "$.layers", "not of type 'array'"),
        (lambda s: s["layers"][0].update(repeat=0), "$.layers[0].repeat", "0 is less"),
        (lambda s: s["blocks"].clear(), "$.blocks", "should be non-empty"),
        (
            lambda s: s["blocks"]["decoder"]["attention"].update(kind="gqq"),
            "$.blocks.decoder.attention.kind", "'gqq' is not one of ['mha', 'mqa', 'gqa'",
        ),
        (
            lambda s: s["blocks"]["decoder"]["attention"].pop("kind"),
            "$.blocks.decoder.attention", "'kind' is a required property",
        ),
        (
            lambda s: s["blocks"]["decoder"]["attention"].update(kv_lora_rank=1),
            "$.blocks.decoder.attention", "'kv_lora_rank' was unexpected",
        ),
        (
            lambda s: s["blocks"]["decoder"]["attention"].update(bias="x"),
            "$.blocks.decoder.attention.bias", "'x' is not one of ['q', 'k', 'v', 'o']",
        ),
        (
            lambda s: s["blocks"]["decoder"]["ffn"].update(intermediate_size=1.5),
            "$.blocks.decoder.ffn.intermediate_size", "1.5 is not of type 'integer'",
        ),
        (
            lambda s: s.update(weight_dtypes={"expert": "fp8"}),
            "$.weight_dtypes", "'expert' was unexpected",
        ),
        (
            lambda s: s.update(budgets=[{"context": "8g"}]),
            "$.budgets[0].context", "'8g' does not match",
        ),
        (
            lambda s: s.update(recursion={"num_recursions": 2, "depths": ["3"]}),
            "$.recursion.depths[0]", "'3' does not match",
        ),
    ],
)  # fmt: skip
def test_points_at_the_wrong_key(change: Any, path: str, message: str) -> None:
    found = errors_of(change)
    assert any(where == path and message in said for where, said in found), found
    # The other errors of these are of keys that the change left out, never of another mechanism.
    assert len(found) == 1 or path.startswith("$.recursion"), found


@pytest.mark.parametrize(
    "change",
    [
        lambda s: s.update(notes="one", hub_id=["a", "b"]),
        lambda s: s.update(max_position_embeddings=None, expect=None, embedding=None),
        lambda s: s["blocks"]["decoder"].update(attention=None, norms=None, norm_position=None),
        lambda s: s["blocks"]["decoder"]["attention"].update(sliding_window=None, bias=["q"]),
        lambda s: s.update(budgets=[{"context": "8k", "cache": "1 GiB", "total": "1.5GB"}]),
        lambda s: s.update(budgets=[{"context": 8192, "cache": 1073741824}]),
    ],
)
def test_takes_what_the_loader_takes(change: Any) -> None:
    assert errors_of(change) == []

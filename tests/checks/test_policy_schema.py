"""The JSON Schema of ``kvcalc.yaml``: in step with the dataclasses, and of one mind with the reader."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema import Draft7Validator

from kvcalc.checks.budget_language import Policy, PolicyBudget
from kvcalc.checks.policy import read_policy
from kvcalc.checks.policy_schema import FILE, schema
from kvcalc.spec.fields import spec_fields
from kvcalc.spec.schema import field_docs, text
from tests.drawn import examples
from tests.scratch import run

VALIDATOR = Draft7Validator(schema())


def test_is_a_draft_7_schema() -> None:
    Draft7Validator.check_schema(schema())


def test_the_file_in_the_package_is_the_generated_one() -> None:
    again = "python -m kvcalc.checks.policy_schema writes it anew"
    assert FILE.read_text("utf-8") == text(schema()), again


def test_every_field_is_there_and_described() -> None:
    budget = schema()["definitions"]["PolicyBudget"]
    for cls, node in ((Policy, schema()), (PolicyBudget, budget)):
        assert set(node["properties"]) == set(spec_fields(cls)) == set(field_docs(cls))
        assert all(field.get("description") for field in node["properties"].values())
        assert node["additionalProperties"] is False


def test_the_command_prints_it(capsys: pytest.CaptureFixture[str]) -> None:
    status, out, err = run(capsys, "schema", "--policy")
    assert (status, err) == (0, "")
    assert json.loads(out) == schema()


# A word of a field that both sides can judge: sizes and tokens in every spelling, ranges, choices,
# nulls, wrong types. Left out is what YAML's spelling decides (a number in quotes), and names of
# GPUs and formats, which only the reader knows.
_TOKENS: list[Any] = [0, 1, 8192, "8k", "128K", "1m", "0k", "8g", "k", "1_000k", None, -1, True, []]
_SIZES: list[Any] = [None, 0, 10**9, "80GiB", "80 GB", "1.5GiB", "12b", "80G", "1.5", -1, False, {}]
_COUNTS: list[Any] = [None, 1, 2, 8, 10**15, 10**15 + 1, 0, -1, "4", 1.5]
FIELDS: dict[str, list[Any]] = {
    "models": ["x", "serving/", ["a", "b*"], ["a"], ["*", "!a"], [], ["!a"], "!a", [1], "", {}],
    "parameters": _COUNTS,
    "cache_per_token": _SIZES,
    "context": _TOKENS,
    "encoder_context": _TOKENS,
    "batch": _COUNTS,
    "dtype": ["bf16", "fp8", "q8_0", None, 8, ["bf16"]],
    "kv_dtype": ["bf16", "fp8", "q8_0:bf16", None, 8],
    "cache": _SIZES,
    "weights": _SIZES,
    "total": _SIZES,
    "gpu": ["h100-80gb", "A100_80GB", "t4", None, 80],
    "gpu_memory": _SIZES,
    "engine": ["vllm", "sglang", "tensorrt-llm", "llama.cpp", "vlm", None, 1],
    "memory_utilization": [0.9, 1, "9/10", 0, "0/1", 1.5, None, "x"],
    "tp": _COUNTS,
    "pp": _COUNTS,
    "contxt": [1],
}
TOLERANCES = ["1%", "0.5%", "5 %", "64MiB", "1.5GiB", "1024", "%", "1 percent", "1.2.3%", "64M", 1]
QUANTITIES = ["all", "parameters", "weight_bytes", "cache_bytes", "weights"]
# Of most fields a sound value, so that the rules across fields come into play.
SOUND = {name: values[:4] for name, values in FIELDS.items() if name != "contxt"}
SOUND |= {"memory_utilization": [0.9, 1, "9/10", None], "engine": [*FIELDS["engine"][:3], None]}

wild = st.fixed_dictionaries(
    {}, optional={name: st.sampled_from(values) for name, values in FIELDS.items()}
)
sound = st.fixed_dictionaries(
    {"models": st.just("x")},
    optional={name: st.sampled_from(SOUND[name]) for name in SOUND if name != "models"},
)
policies = st.fixed_dictionaries(
    {},
    optional={
        "budgets": st.lists(st.one_of(wild, sound), max_size=2) | st.sampled_from([None, {}, "x"]),
        "tolerances": st.dictionaries(
            st.sampled_from(QUANTITIES), st.sampled_from(TOLERANCES), max_size=2
        ),
        "budget": st.just([]),
    },
)


def agree(tmp: Path, plain: dict[str, Any]) -> None:
    file = tmp / "kvcalc.yaml"
    file.write_text(yaml.safe_dump(plain), encoding="utf-8")
    loaded = read_policy(file)
    errors = [f"{error.json_path}: {error.message}" for error in VALIDATOR.iter_errors(plain)]
    problems = [f"{each.field}: {each.message}" for each in loaded.problems]
    assert bool(errors) == bool(problems), (plain, errors, problems)


@pytest.mark.parametrize("field", FIELDS)
def test_schema_and_reader_agree_about_every_field(tmp_path: Path, field: str) -> None:
    for value in FIELDS[field]:
        agree(tmp_path, {"budgets": [{"models": "x", "weights": "1GiB", field: value}]})


@settings(max_examples=examples(40), deadline=None)
@given(plain=policies)
def test_schema_and_reader_agree(
    tmp_path_factory: pytest.TempPathFactory, plain: dict[str, Any]
) -> None:
    agree(tmp_path_factory.mktemp("policy"), plain)


@settings(max_examples=examples(40), deadline=None)
@given(budget=sound)
def test_schema_and_reader_agree_across_fields(
    tmp_path_factory: pytest.TempPathFactory, budget: dict[str, Any]
) -> None:
    agree(tmp_path_factory.mktemp("policy"), {"budgets": [budget]})

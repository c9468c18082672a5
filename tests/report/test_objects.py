"""What commands print as JSON is what ``kvcalc schema --answer`` says, key by key."""

import ast
import json
from importlib import import_module
from pathlib import Path
from typing import Any, TypedDict

import jsonschema
import pytest

from kvcalc.cli.app import main
from kvcalc.report.objects import ANSWERS
from kvcalc.report.objects.schema import schema
from kvcalc.spec.schema import field_docs

SPECS = str(Path(__file__).parents[2] / "model_specs")
SMALL = "--context 16k"
ASKED = {
    "estimate": (
        "estimate llama-3-8b", "estimate gpt-oss-20b llama-3-8b --context 1k", "estimate t5-small",
        "estimate qwen3-8b --dtype q4_k_m", "estimate mor-360m-nr2-middle-cycle",
        "estimate qwen3-8b --engine vllm --tp 2", "estimate jamba-1.5-mini --engine llama.cpp",
        "estimate gemma-3-1b --engine mlx --context 8k", "estimate qwen3-8b --engine all",
        "estimate gemma-3-27b --images 3",
    ),
    "traffic": ("traffic llama-3-8b --lengths {lengths}",),
    "compare": ("compare llama-3-8b mamba2-2.7b --context 1k,8k",),
    "capacity": (
        "capacity qwen3-8b --gpu h100", "capacity qwen3-8b --engine llama.cpp --ctx-size 4096",
        "capacity qwen3-8b --engine tensorrt-llm --tokens 1000",
    ),
    "log": ("log {log}",),
    "fit": (
        f"fit llama-3-8b --gpu h100 {SMALL}", "fit llama-3-70b --gpu h100",
        f"fit qwen3-32b --gpu rtx-4090 --ram 64GiB --dtype q4_k_m {SMALL}",
        f"fit qwen3-0.6b --gpu rtx-3060-12gb --ram 16GiB {SMALL}",
        f"fit qwen3-0.6b t5-small --gpu rtx-4090 {SMALL}",
        f"fit qwen3-8b qwen3-0.6b --together --gpu rtx-4090 {SMALL}",
    ),
    "tiers": (
        "tiers llama-3-8b --host 20GiB --context 8k --link 55", "tiers gpt-oss-20b --disk 1TiB",
        "tiers qwen3-8b --engine sglang --host 20GiB --lengths {lengths}",
    ),
    "explain": ("explain gemma-3-1b", "explain mla", "explain mamba2-2.7b"),
    "models": ("models qwen",),
    "check": (f"check {SPECS}/mamba", "check {broken}", "check --rules"),
    "error": ("estimate no-such-model", "fit llama-3-8b --gpu h9000"),
}  # fmt: skip


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("asked")
    (folder / "lengths.csv").write_text("100\n20000\n")
    (folder / "broken.yaml").write_text("name: broken\nhidden_size: many\n")
    (folder / "vllm.log").write_text(
        "vllm serve Qwen/Qwen3-8B --max-model-len 40960\n"
        "Available KV cache memory: 5.98 GiB\nGPU KV cache size: 43,536 tokens\n"
        "Maximum concurrency for 40,960 tokens per request: 1.06x\n"
    )
    return {
        "log": folder / "vllm.log",
        "lengths": folder / "lengths.csv",
        "broken": folder / "broken.yaml",
    }


def answered(line: str, capsys: pytest.CaptureFixture[str]) -> Any:
    with pytest.raises(SystemExit):
        main([*line.split(), "--format", "json"])
    return json.loads(capsys.readouterr().out)


@pytest.mark.parametrize(
    ("answer", "line"), [(answer, line) for answer, lines in ASKED.items() for line in lines]
)
def test_an_answer_has_the_keys_of_its_schema_and_no_others(
    answer: str, line: str, files: dict[str, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    found = answered(line.format(**files), capsys)
    checker = jsonschema.Draft7Validator(schema(answer, closed=True))
    wrong = jsonschema.exceptions.best_match(checker.iter_errors(found))
    assert wrong is None, f"{wrong.json_path}: {wrong.message}"


def test_every_answer_is_asked_for() -> None:
    # diff needs a repository, verify PyTorch.
    missing = ANSWERS.keys() - ASKED.keys() - {"diff", "verify"}
    assert missing == set(), "a command of it in ASKED"


def test_a_key_that_the_types_do_not_name_is_found(capsys: pytest.CaptureFixture[str]) -> None:
    found = answered("estimate llama-3-8b", capsys)
    checker = jsonschema.Draft7Validator(schema("estimate", closed=True))
    for changed in (found | {"more": 1}, found | {"total_bytes": "1"},
                    found | {"schema_version": 1}, {"schema_version": 2}):  # fmt: skip
        assert not checker.is_valid(changed)


@pytest.mark.parametrize("answer", ANSWERS)
def test_every_answer_has_a_schema_that_is_one_and_leaves_room_for_more(answer: str) -> None:
    found = schema(answer)
    jsonschema.Draft7Validator.check_schema(found)
    assert all("additionalProperties" not in node for node in found["definitions"].values())
    assert all(node["description"] for node in found["definitions"].values())


def test_schema_prints_it(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(["schema", "--answer", "Fit"])
    assert stopped.value.code == 0
    assert json.loads(capsys.readouterr().out) == schema("fit")


@pytest.mark.parametrize("module", sorted({module for module, _ in ANSWERS.values()}))
def test_an_object_that_extends_another_describes_its_fields_too(module: str) -> None:
    loaded = import_module(module)
    for node in ast.parse(Path(str(loaded.__file__)).read_text()).body:
        for base in node.bases if isinstance(node, ast.ClassDef) else ():
            inherited = getattr(loaded, ast.unparse(base))
            if inherited is not TypedDict:
                docs = field_docs(getattr(loaded, node.name))
                assert docs.items() >= field_docs(inherited).items(), node.name


def test_every_answer_that_shows_itself_has_a_file() -> None:
    import kvcalc.api.serving  # noqa: F401
    from kvcalc.checks.diff import Diff
    from kvcalc.deployment.estimation import AllEngines  # noqa: F401
    from kvcalc.logs.answer import LogAnswer  # noqa: F401
    from kvcalc.memory.shown import Shown
    from kvcalc.report.answers import FILES

    classes = {each.__name__ for each in Shown.__subclasses__() if each is not Diff}
    assert classes == FILES.keys()
    for file in FILES.values():
        module = import_module(f"kvcalc.report.answers.{file}")
        assert callable(module.sheet)
        assert callable(module.to_object)

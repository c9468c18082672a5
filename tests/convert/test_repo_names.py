"""What a quantiser's repository is called says which model it holds, and in which format."""

import json
import re
from pathlib import Path

import pytest

import kvcalc
from kvcalc.cli.app import main
from kvcalc.convert import repo_names
from kvcalc.convert.locate import locate
from kvcalc.errors import MissingExtraError, NotFoundError, UsageError
from kvcalc.memory.weights import weight_bytes
from kvcalc.spec import hub_ids
from tests.convert.published import SCALES, explain


@pytest.fixture(autouse=True)
def offline(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("HF_HOME", str(tmp_path))


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as stop:
        main(list(arguments))
    captured = capsys.readouterr()
    return int(stop.value.code or 0), captured.out, captured.err


def test_the_name_says_what_the_config_said() -> None:
    """Of ids whose config was read, those that the rule answers for too have the same formats."""
    compared = []
    for entry in hub_ids.entries():
        if not entry.source or not re.search("fp8|awq|gptq|nvfp4|bit$", entry.id, re.IGNORECASE):
            continue
        try:
            named = repo_names.from_name(entry.id)
        except UsageError:
            continue
        read = locate(entry.id)
        if named is not None:
            compared.append(entry.id)
            own = weight_bytes(named.spec, named.spec.own_dtype)
            assert own == weight_bytes(read.spec, read.spec.own_dtype), entry.id
    assert set(compared) >= {
        "Qwen/Qwen3-4B-AWQ", "Qwen/Qwen3-0.6B-GPTQ-Int8", "Qwen/Qwen3-32B-FP8", "Qwen/Qwen3-0.6B-FP8",
        "Qwen/Qwen3-30B-A3B-FP8", "Qwen/Qwen3-235B-A22B-FP8",
        "nvidia/Llama-3.1-70B-Instruct-FP8",
    }  # fmt: skip


# The spec, the format that is assumed, and bytes from elsewhere: the sum of the repository's
# .safetensors where one was read, the size of the file that its page lists.
@pytest.mark.parametrize(
    ("name", "path", "dtype", "num_bytes"),
    [
        ("unsloth/Qwen3-8B-GGUF:Q4_K_M", "qwen3-8b", "q4_k_m", None),
        ("bartowski/Qwen_Qwen3-8B-GGUF:q6_k", "qwen3-8b", "q6_k", None),
        ("someone/Meta-Llama-3.1-8B-Instruct-Q4_K_M-GGUF", "llama-3.1-8b", "q4_k_m", None),
        ("ggml-org/gemma-3-1b-it-GGUF:Q8_0", "gemma-3-1b", "q8_0", None),
        ("mlx-community/Qwen3-8B-4bit", "qwen3-8b", "mlx-4bit", None),
        ("mlx-community/Qwen3-8B-4bit-DWQ", "qwen3-8b", "mlx-4bit", None),
        ("mlx-community/GLM-4.7-8bit-gs32", "glm-4.5", "mlx-8bit-g32", None),
        ("lmstudio-community/Qwen3-8B-MLX-8bit", "qwen3-8b", "mlx-8bit", None),
        ("mlx-community/gemma-3-27b-it-qat-4bit", "gemma-3-27b", "mlx-4bit", None),
        ("mlx-community/Qwen3-8B-bf16", "qwen3-8b", "bf16", 16_381_470_720),
        ("unsloth/DeepSeek-V3-bf16", "deepseek-v3", "bf16", 1_342_052_808_704),
        # Qwen3-8B-AWQ's card: 252 matrices in 4 bits, embedding and head in 16.
        ("Qwen/Qwen3-8B-AWQ", "qwen3-8b", "checkpoint", 6_098_479_104),
        ("RedHatAI/Meta-Llama-3.1-8B-Instruct-FP8-dynamic", "llama-3.1-8b", "checkpoint", None),
        ("unsloth/Meta-Llama-3.1-8B-Instruct-bnb-4bit", "llama-3.1-8b", "checkpoint", None),
    ],
)  # fmt: skip
def test_a_repository_is_told_by_its_name(
    name: str, path: str, dtype: str, num_bytes: int | None
) -> None:
    found = locate(name)
    assert found.path.endswith(f"/{path}.yaml")
    assert found.spec.own_dtype == dtype
    assert found.assumptions[0].startswith(f"{name}: by its name it is ")
    assert found.assumptions[0].endswith("; they were not read")
    assert num_bytes is None or weight_bytes(found.spec, dtype)[0] == num_bytes


@pytest.mark.parametrize(
    ("name", "write"),
    [
        ("TheBloke/Llama-2-7B-Chat-GPTQ", "llama-2-7b-chat-hf --dtype gptq_g128 is one way"),
        ("someone/Qwen3-8B-AWQ", "qwen3-8b --dtype awq_g128 is one way"),
        ("unsloth/Qwen3-8B-unsloth-bnb-4bit", "qwen3-8b --dtype nf4_double is one way"),
        ("meta-llama/Llama-3.1-405B-Instruct-FP8", "llama-3.1-405b --dtype fp8 is one way"),
        ("RedHatAI/gemma-4-26B-A4B-it-FP8-dynamic", "which parts of a model of this kind stay wider"),
        ("nvidia/Qwen3-30B-A3B-FP8", "which parts of a model of this kind stay wider"),
        ("unsloth/Qwen3-8B-GGUF:Q4_K_XXL", "--dtype q4_k_m"),
    ],
)  # fmt: skip
def test_what_a_name_does_not_decide_is_refused(name: str, write: str) -> None:
    with pytest.raises(UsageError, match=re.escape(write)):
        locate(name)


def test_a_model_that_is_not_known_stays_unknown() -> None:
    assert repo_names.from_name("mlx-community/Nothing-7B-4bit") is None
    assert repo_names.from_name("qwen3-8b") is None
    # Four bits of an organisation that makes no mlx files could be anything.
    assert repo_names.from_name("someone/Qwen3-8B-4bit") is None
    with pytest.raises((MissingExtraError, Exception), match="Qwen3-8B"):
        locate("someone/Qwen3-8B-4bit")


def test_files_in_gguf_want_their_type(capsys: pytest.CaptureFixture[str]) -> None:
    status, _, said = run(capsys, "estimate", "unsloth/Qwen3-8B-GGUF")
    assert status == 2
    assert "--dtype q4_k_m" in said
    typed = run(
        capsys, "estimate", "unsloth/Qwen3-8B-GGUF", "--dtype", "q4_k_m", "--format", "json"
    )
    named = run(capsys, "estimate", "unsloth/Qwen3-8B-GGUF:Q4_K_M", "--format", "json")
    assert json.loads(typed[1])["weights"] == json.loads(named[1])["weights"]


def test_the_type_stays_with_a_changed_model_and_chooses_the_engine(
    capsys: pytest.CaptureFixture[str],
) -> None:
    model, field = "unsloth/Qwen3-8B-GGUF:Q4_K_M", "blocks.decoder.attention.num_key_value_heads=4"
    changed = run(capsys, "estimate", model, "--set", field, "--format", "json")[1]
    assert json.loads(changed)["workload"]["dtype"] == "q4_k_m"
    fit = run(capsys, "fit", "mlx-community/Qwen3-8B-4bit", "--gpu", "m3-max-64gb")[1]
    assert "mlx-4bit" in fit
    fit = run(capsys, "fit", model, "--gpu", "rtx-4090")[1]
    assert "llama.cpp" in fit
    assert "q4_k_m" in fit


def test_googles_own_q4_0_leaves_the_token_table_in_f16() -> None:
    # 17.2 GB, and 15.6 with the table quantised: stduhpf/google-gemma-3-27b-it-qat-q4_0-gguf-small.
    answer = kvcalc.estimate("google/gemma-3-27b-it-qat-q4_0-gguf", only="language").to_dict()
    assert answer["weights"]["bytes"] == 17_223_756_800


# Elements of the files' tensors, as llmfit 1.1.17 (PyPI) lists them: a scale for each tile in fp8.
@pytest.mark.parametrize(
    ("repository", "published"),
    [
        ("Qwen/Qwen3-VL-8B-Instruct-FP8", 8_767_547_632),
        ("Qwen/Qwen3-VL-30B-A3B-Instruct-FP8", 31_072_578_800),
        ("Qwen/Qwen3-VL-235B-A22B-Thinking-FP8", 235_684_292_848),
        ("Qwen/Qwen3.6-27B-FP8", 27_782_935_472),
        ("Qwen/Qwen3.5-35B-A3B-FP8", 35_953_925_552),
        ("Qwen/Qwen3.5-122B-A10B-FP8", 125_094_006_512),
        ("Qwen/Qwen3.5-397B-A17B-FP8", 403_422_386_928),
        ("Qwen/Qwen3-Next-80B-A3B-Instruct-FP8", 81_329_784_384),
        ("Qwen/Qwen3-Coder-480B-A35B-Instruct-FP8", 480_184_064_000),
    ],
)  # fmt: skip
def test_tiles_of_qwens_own_files(repository: str, published: int) -> None:
    found = repo_names.from_name(repository)
    assert found is not None
    assert SCALES in (explain(found.spec, published) or {})


def test_a_suffix_is_heard_without_an_organisation() -> None:
    bare, whole = locate("Qwen3.6-35B-A3B-FP8"), locate("Qwen/Qwen3.6-35B-A3B-FP8")
    assert bare.spec == whole.spec
    assert bare.assumptions[0] == (
        "Qwen3.6-35B-A3B-FP8 is taken for Qwen/Qwen3.6-35B-A3B-FP8: its name has no organisation"
    )
    assert locate("Llama-3.1-8B-Instruct-4bit").spec.own_dtype == "mlx-4bit"
    with pytest.raises(
        UsageError, match=r"^llama-3.1-8b-instruct-awq: .* llama-3.1-8b --dtype awq_g128"
    ):
        locate("llama-3.1-8b-instruct-awq")
    with pytest.raises(NotFoundError, match="the nearest known shape is qwen3-8b "):
        locate("Qwen3-8B-Frobnicated")

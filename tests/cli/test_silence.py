"""No option of a command is taken in silence: the answer changes, or a sentence says that it does not."""

import json
from pathlib import Path

import pytest

from tests.scratch import run

Capture = pytest.CaptureFixture[str]
STATE = "--state-dtype decides nothing here: no layer keeps a recurrent state"
CACHE = "--kv-dtype decides nothing here: no layer keeps keys and values"


@pytest.fixture
def lengths(tmp_path: Path) -> str:
    path = tmp_path / "lengths.csv"
    path.write_text("prompt_tokens,output_tokens\n100,20\n3000,50\n", "utf-8")
    return str(path)


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("compare qwen3-8b --state-dtype bf16", STATE),
        ("compare qwen3-8b --attention gqa", "--attention gqa changes nothing: it is the model's own"),
        ("compare bert-base-uncased --kv-dtype bf16,fp8", CACHE + ", nothing is kept between steps"),
        ("explain qwen3-8b --state-dtype bf16", STATE),
        ("explain bert-base-uncased --kv-dtype fp8", CACHE),
        ("tiers qwen3-8b --host 100GiB --state-dtype bf16", STATE),
        ("tiers qwen3-8b --host 100GiB --engine lmcache --block-size 64",
         "--block-size 64: blocks of vLLM's own pool"),
        ("tiers qwen3-8b --host 100GiB", "context of 8192 tokens (none was given)"),
        ("traffic qwen3-8b --lengths LENGTHS --state-dtype bf16", STATE),
        ("traffic qwen3-8b --lengths LENGTHS --tp 2", "--tp 2: bytes are those of all devices together"),
        ("traffic qwen3-8b --lengths LENGTHS --pp 2", "--pp 2: bytes are those of all devices together"),
        ("traffic qwen3-8b --lengths LENGTHS --engine vllm --engine-version 0.24.0",
         "as vLLM 0.24.0 holds them"),
        ("traffic qwen3-8b --lengths LENGTHS --engine vllm --engine-version 0.99",
         "the newest release that was read"),
    ],
)  # fmt: skip
def test_what_decides_nothing_is_said(line: str, said: str, lengths: str, capsys: Capture) -> None:
    words = line.replace("LENGTHS", lengths).split()
    for form in ([], ["--format", "json"]):
        code, out, err = run(capsys, *words, *form)
        assert code == 0
        assert said in " ".join((out + err).split())


def test_traffic_asks_an_engine_for_its_ranks(lengths: str, capsys: Capture) -> None:
    code, _, err = run(capsys, "traffic", "qwen3-8b", "--lengths", lengths, "--engine", "mlx",
                       "--tp", "2")  # fmt: skip
    assert (code, "mlx-lm: how it divides a model among devices" in err) == (2, True)


def test_tiers_hold_the_need_and_the_pool_to_what_was_asked(capsys: Capture) -> None:
    """8,200 tokens of Qwen3-8B: 36 layers * 8 heads * 128 * 2 bytes of K and V in fp8, 73,728 a token;
    129 blocks of 64 tokens on the GPU."""
    line = (
        "tiers qwen3-8b --host 100GiB --context 8200 --kv-dtype fp8 --block-size 64 --format json"
    )
    gpu = json.loads(run(capsys, *line.split())[1])["gpu"]
    assert gpu["logical_bytes"] == 8200 * 73728
    assert gpu["session_bytes"] == 129 * 64 * 73728


def test_another_attention_in_the_place_of_an_expanded_latent(capsys: Capture) -> None:
    """DeepSeek-V2-Lite as MHA in mlx-lm: 27 layers, 16 heads, keys of 192 and values of 128, in steps of
    256 positions: 2,048 of them."""
    line = "estimate deepseek-v2-lite --attention mha --engine mlx --context 2000 --format json"
    code, out, _ = run(capsys, *line.split())
    assert code == 0
    assert json.loads(out)["cache"]["bytes"] == 27 * 16 * (192 + 128) * 2048 * 2


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("fit llama-3-8b --gpu rtx-4090 --dtype q4_k_m --state-dtype bf16", "has no --state-dtype"),
        ("fit t5-small --ram 64GiB --encoder-context 777", "has no --encoder-context"),
        ("fit llama-3-8b --ram 64GiB --dtype q4_k_m --tp 2", "--tp and --pp count devices"),
        ("fit qwen3-8b --gpu m3-max-64gb --engine mlx --lora-rank 16 --max-loras 2", "--max-loras"),
        ("fit qwen3-8b --gpu m3-max-64gb --engine mlx --state-dtype bf16", "--state-dtype"),
        ("fit qwen3-8b --gpu h100 --engine llama.cpp --engine-version 0.24.0", "those of v0.5.0"),
        ("estimate qwen3-8b --engine lmdeploy --state-dtype bf16", "has no --state-dtype"),
        ("estimate qwen3-8b --engine onnxruntime-genai --state-dtype bf16", "has no --state-dtype"),
        ("estimate qwen3-8b --engine tpu-inference --state-dtype bf16", "has no --state-dtype"),
        ("capacity qwen3-8b --engine llama.cpp --gpu h100 --dtype q4_k_m --ctx-size 8192 --dp 2",
         "has no --dp"),
        ("capacity qwen3-8b --engine llama.cpp --gpu h100 --dtype q4_k_m --ctx-size 8192 "
         "--available 20GiB", "has no --available"),
        ("estimate glm-4.5 --draft qwen3-0.6b --mtp-layers 1", "a server drafts by one of them"),
        ("capacity glm-4.5 --available 20GiB --draft qwen3-0.6b --mtp-layers 1",
         "a server drafts by one of them"),
    ],
)  # fmt: skip
def test_what_says_nothing_of_an_engine_is_refused(line: str, said: str, capsys: Capture) -> None:
    code, _, err = run(capsys, *line.split())
    assert (code, said in err) == (2, True), err


def test_fit_says_what_decides_nothing_of_the_model(capsys: Capture) -> None:
    out = run(
        capsys,
        *["fit", "qwen3-8b", "--gpu", "h100", "--state-dtype", "bf16", "--encoder-context", "9"],
    )[1]
    assert STATE in " ".join(out.split())
    assert "--encoder-context decides nothing here" in " ".join(out.split())

"""``kvcalc estimate``: the contract's JSON, exit status, streams."""

import json
from typing import Any

import pytest

from kvcalc.cli.app import main


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as stop:
        main(list(arguments))
    captured = capsys.readouterr()
    return int(stop.value.code or 0), captured.out, captured.err


def answer(capsys: pytest.CaptureFixture[str], *arguments: str) -> Any:
    status, out, _ = run(capsys, "estimate", *arguments, "--format", "json")
    assert status == 0
    return json.loads(out)


def test_the_contract_object(capsys: pytest.CaptureFixture[str]) -> None:
    result = answer(capsys, "llama-3-8b", "--context", "8k")
    # The command-line contract's own example; totals as on the model card, cache as measured on
    # transformers' DynamicCache.
    assert result["schema_version"] == 2
    assert result["model"]["name"] == "llama-3-8b"
    assert result["model"]["spec"] == "model_specs/llama/llama-3-8b.yaml"
    assert result["workload"] == {
        "context_tokens": 8192, "batch_size": 1, "encoder_tokens": 0, "beams": 1,
        "dtype": "bf16", "kv_dtype": "bf16", "state_dtype": "fp32",
    }  # fmt: skip
    assert result["engine"] == "logical"
    assert result["parallelism"] == {"tensor": 1, "pipeline": 1}
    assert result["parameters"]["total"] == 8030261248
    assert result["parameters"]["active"] == 8030261248
    assert result["parameters"]["active_without_embedding"] == 7504924672
    assert sum(result["parameters"]["by_component"].values()) == 8030261248
    assert set(result["parameters"]["by_component"]) == {
        "embedding", "attention", "ffn", "experts", "router", "norm", "head", "other",
    }  # fmt: skip
    assert result["weights"]["bytes"] == 16060522496
    assert result["weights"]["per_device_bytes"] == [16060522496]
    cache = result["cache"]
    assert (cache["bytes"], cache["bytes_per_token"]) == (1073741824, 131072)
    assert cache["fixed_bytes_per_sequence"] == 0
    group = cache["groups"][0]
    assert (group["layers"], group["count"]) == ([0, 31], 32)
    assert (group["block"], group["mechanism"]) == ("decoder", "gqa")
    key = group["tensors"][0]
    assert key["shape"] == [1, 8, 8192, 128]
    assert (key["name"], key["dtype"], key["bytes"]) == ("key", "bf16", 16777216)
    assert result["total_bytes"] == 17134264320


def test_several_models_are_a_list(capsys: pytest.CaptureFixture[str]) -> None:
    results = answer(capsys, "llama-3-8b", "gemma-3-1b", "--context", "8k")
    assert [result["model"]["name"] for result in results] == ["llama-3-8b", "gemma-3-1b"]


def test_what_if_mha_names_the_real_cache(capsys: pytest.CaptureFixture[str]) -> None:
    # The primer's example: 2 * 2 * 8192 * 32 * 32 * 128.
    result = answer(capsys, "llama-3-8b", "--context", "8192", "--attention", "mha")
    assert result["cache"]["bytes"] == 4294967296
    assert "with 8 KV heads, takes 1,073,741,824 bytes" in result["assumptions"][0]


def test_a_hub_id_is_found_without_network(capsys: pytest.CaptureFixture[str]) -> None:
    result = answer(capsys, "meta-llama/Meta-Llama-3-8B", "--context", "1k")
    assert result["model"]["name"] == "llama-3-8b"


@pytest.mark.parametrize(
    ("kv_dtype", "cache_bytes"),
    [
        ("fp8", 536870912),
        ("q8_0", 570425344),  # 544 MiB, as llama.cpp logs for 8192 cells of a Llama-3-8B
        ("q8_0:bf16", 822083584),
        ("q4_0", 301989888),
        ("fp8_per_token_head", 553648128),
    ],
)
def test_cache_formats(capsys: pytest.CaptureFixture[str], kv_dtype: str, cache_bytes: int) -> None:
    result = answer(capsys, "llama-3-8b", "--context", "8k", "--kv-dtype", kv_dtype)
    assert result["cache"]["bytes"] == cache_bytes


def test_kv_heads_are_copied_when_ranks_outnumber_them(capsys: pytest.CaptureFixture[str]) -> None:
    # 8 KV heads on 16 ranks: one head on each, so the sum is twice the cache.
    result = answer(capsys, "llama-3-8b", "--context", "8k", "--tp", "16")
    assert result["cache"]["per_device_bytes"] == [134217728] * 16


def test_set_changes_a_field(capsys: pytest.CaptureFixture[str]) -> None:
    path = "blocks.decoder.attention.num_key_value_heads"
    result = answer(capsys, "llama-3-8b", "--context", "8k", "--set", f"{path}=4")
    assert result["cache"]["bytes"] == 536870912


@pytest.mark.parametrize(
    ("arguments", "status", "words"),
    [
        (["lama-3-8b"], 2, "did you mean llama-3-8b"),
        (["llama-3-8b", "--context", "8x"], 2, "not a token count"),
        (["llama-3-8b", "--context", "-1"], 2, "not a token count"),
        (["llama-3-8b", "--kv-dtype", "bf61"], 2, "did you mean 'bf16'"),
        (["llama-3-8b", "--kv-dtype", "fp8_ds_mla"], 2, "layout of MLA latents"),
        (["llama-3-8b", "--tp", "3"], 2, "cannot be divided among 3 ranks"),
        (["llama-3-8b", "--pp", "33"], 2, "32 layers cannot fill 33"),
        (["llama-3-8b", "--set", "blocks.decoder.attention.num_key_value_heads=5"], 2, "KV201"),
        (["llama-3-8b", "--set", "blocks.decoder.attention.num_kv=5"], 2, "unknown key"),
        (["llama-3-8b", "--nonsense"], 2, "no such option: --nonsense"),
        (["no/such/file.yaml"], 2, "no such file"),
    ],
)
def test_errors_go_to_stderr_with_status(
    capsys: pytest.CaptureFixture[str], arguments: list[str], status: int, words: str
) -> None:
    found, out, err = run(capsys, "estimate", *arguments)
    assert found == status
    assert not out
    assert words in err
    assert "Traceback" not in err


def test_errors_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    status, out, _ = run(capsys, "estimate", "lama-3-8b", "--format", "json")
    assert status == 2
    error = json.loads(out)["error"]
    assert (error["kind"], error["problems"]) == ("not_found", [])
    status, out, _ = run(capsys, "estimate", "llama-3-8b", "--nonsense", "--format=json")
    assert (status, json.loads(out)["error"]["kind"]) == (2, "usage")


@pytest.mark.parametrize("format", ["table", "markdown", "csv"])
def test_other_formats_hold_the_bytes(capsys: pytest.CaptureFixture[str], format: str) -> None:
    status, out, _ = run(capsys, "estimate", "llama-3-8b", "--context", "8k", "--format", format)
    assert status == 0
    assert ("1,073,741,824" if format != "csv" else "536870912") in out
    assert "\x1b" not in out


def test_the_table_says_what_its_workspace_is(capsys: pytest.CaptureFixture[str]) -> None:
    _, out, _ = run(capsys, "estimate", "gpt-oss-20b")
    assert "workspace: largest buffers of a step of 8,192 tokens, as engines cut a prefill\n" in out
    assert "attention scores" not in out
    _, out, _ = run(capsys, "estimate", "gpt-oss-20b", "--workspace")
    assert "workspace: largest buffers of one unchunked prefill, not at the same time\n" in out
    assert "a score: 2 bytes in bf16, 4 cast to fp32, 4 of the fp32 softmax\n" in out
    # The publisher's 3.6 B active parameters are without the token table.
    rows = [line.split() for line in out.splitlines()]
    assert ["active", "per", "token", "4,187,440,704"] in rows
    assert ["without", "the", "token", "table", "3,608,307,264"] in rows


def test_a_group_names_all_its_layers(capsys: pytest.CaptureFixture[str]) -> None:
    groups = answer(capsys, "gpt-oss-20b")["cache"]["groups"]
    assert groups[0]["layers"] == [0, 22]
    assert groups[0]["indices"] == [0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22]


def test_csv_has_the_bytes_of_a_layer_and_of_all(capsys: pytest.CaptureFixture[str]) -> None:
    _, out, _ = run(capsys, "estimate", "gpt-oss-20b", "--format", "csv")
    lines = out.splitlines()
    assert lines[0] == "model,part,name,layers,shape,dtype,bytes_per_layer,bytes,parameters,formula"
    assert "gpt-oss-20b,cache,full.key,12,1x8x8192x64,bf16,8388608,100663296,," in lines
    assert "gpt-oss-20b,weights,norm,,,checkpoint,,282240,141120," in lines


def test_every_format_says_what_devices_hold(capsys: pytest.CaptureFixture[str]) -> None:
    # A rank of eight: an eighth of the cache, 2^30 bytes, and of all weights but the 65 norms.
    asked = ("estimate", "llama-3-8b", "--tp", "8", "--format")
    lines = run(capsys, *asked, "csv")[1].splitlines()
    assert "llama-3-8b,device weights,7,,,,,2008031232,," in lines
    assert "llama-3-8b,device cache,7,,,,,134217728,," in lines
    _, out, _ = run(capsys, *asked, "markdown")
    assert "| fullest of 8 devices | 2,142,248,960 | 2.00 GiB |" in out
    assert "| cache | 134,217,728 | 128.00 MiB |" in out
    assert "device" not in run(capsys, *asked[:2], "--format", "csv")[1]


def test_markdown_says_the_encoder_s_tokens(capsys: pytest.CaptureFixture[str]) -> None:
    _, out, _ = run(capsys, "estimate", "whisper-tiny", "--format", "markdown")
    assert out.startswith("### whisper-tiny: 448 tokens x 1, encoder 1500\n")


def test_gpus_without_a_compute_capability_are_alike_by_name(
    capsys: pytest.CaptureFixture[str],
) -> None:
    asked = ("estimate", "llama-3-8b", "--engine", "vllm", "--tp", "2", "--gpu", "mi300x", "--gpu")
    assert run(capsys, *asked, "mi300x")[0] == 0
    status, _, said = run(capsys, *asked, "rx-7900-xtx")
    assert (status, "different compute capabilities, or none" in said) == (2, True)

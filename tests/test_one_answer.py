"""One question, one answer: every command, every format and the library say the same weights.

A model is what its source says it is. For one model of each source the same bytes are asked of all
roads, on one device and over two ranks, and again of the YAML that ``import`` writes.
"""

import csv
import io
import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from gguf import GGMLQuantizationType as Type

import kvcalc
from kvcalc.cli.app import main
from tests.convert.gguf_files import of_spec, write
from tests.convert.safetensors_files import CONFIG, Tensors, llama, save

BLOCK = {"quant_method": "fp8", "weight_block_size": [128, 128],
         "modules_to_not_convert": ["lm_head", "model.layers.1.mlp.down_proj"]}  # fmt: skip
# Layer 1's down projection, and of layer 0 the values, in q6_K, as llama.cpp's mixtures do.
WIDER = ("blk.0.attn_v.weight", "blk.1.ffn_down.weight", "output.weight")


def gguf_file(folder: Path) -> Path:
    keys, tensors = of_spec(kvcalc.load("qwen3-0.6b"), "qwen3", Type.Q4_K)
    mixed = [(name, shape, Type.Q6_K if name in WIDER else kind) for name, shape, kind in tensors]
    return write(folder / "model.gguf", "qwen3", keys, mixed)


def checkpoint(folder: Path) -> Path:
    wider: Tensors = {"lm_head.weight": ("F32", [100, 64])}
    (folder / "config.json").write_text(json.dumps(CONFIG), "utf-8")
    save(folder / "model.safetensors", llama() | wider)
    return folder


def bare_file(folder: Path) -> Path:
    return checkpoint(folder) / "model.safetensors"


def scaled(folder: Path) -> Path:
    path = folder / "config.json"
    weights = {"num_bits": 8, "type": "float", "strategy": "tensor", "symmetric": True}
    path.write_text(json.dumps(CONFIG | {"quantization_config": {
        "quant_method": "compressed-tensors", "format": "float-quantized", "ignore": ["lm_head"],
        "config_groups": {"group_0": {"targets": ["Linear"], "weights": weights,
                                      "input_activations": {**weights, "dynamic": False}}},
    }}), "utf-8")  # fmt: skip
    return path


def quantised(folder: Path) -> Path:
    path = folder / "config.json"
    path.write_text(json.dumps(CONFIG | {"quantization_config": BLOCK}), "utf-8")
    return path


# Source -> its bytes by hand. GGUF: see below. The checkpoint: test_safetensors' 149,120 with a head of
# 25,600 for 12,800. Block fp8: 12,288 + 18,432 matrix elements a layer at one byte, layer 1's down
# projection (6,144) at two, a fp32 scale for each of 13 matrices; tables of 6,400, norms in bf16.
SOURCES: dict[str, tuple[Callable[[Path], Path], int | None]] = {
    "gguf": (gguf_file, None),
    "folder": (checkpoint, 161_920),
    "safetensors": (bare_file, 161_920),
    "scaled": (scaled, 2 * 30_720 + 14 * 4 + 2 * (2 * 6_400 + 5 * 64)),
    "config": (quantised, 2 * 30_720 + 6_144 + 13 * 4 + 2 * (2 * 6_400 + 5 * 64)),
}


def said(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    capsys.readouterr()
    with pytest.raises(SystemExit) as caught:
        main([*arguments])
    out = capsys.readouterr()
    assert caught.value.code in (0, None), out
    return out.out


@pytest.mark.parametrize("source", SOURCES)
def test_every_road_gives_the_same_weights(
    source: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made, by_hand = SOURCES[source]
    path = str(made(tmp_path))
    estimate = json.loads(said(capsys, "estimate", path, "--format", "json", "--context", "512"))
    weights = estimate["weights"]["bytes"]
    assert by_hand is None or weights == by_hand
    assert sum(each["bytes"] for each in estimate["weights"]["types"]) == weights
    assert sum(estimate["weights"]["by_component"].values()) == weights
    # The library.
    answer = kvcalc.estimate(path, context_tokens=512)
    assert answer.weight_bytes == weights
    assert [vars(each) for each in answer.weight_types] == estimate["weights"]["types"]
    # Formats of the estimate.
    rows = csv.DictReader(io.StringIO(said(capsys, "estimate", path, "--format", "csv")))
    totals = {row["bytes"] for row in rows if row["part"] == "weights total" and row["bytes"]}
    assert totals == {str(weights)}
    # compare, fit, and the YAML that import writes.
    rows = csv.DictReader(
        io.StringIO(said(capsys, "compare", path, "--format", "csv", "--context", "512"))
    )
    assert {row["weight_bytes"] for row in rows} == {str(weights)}
    # What the pool of capacity loses to the weights as vLLM loads them, beside those of bf16.
    asked: tuple[tuple[str, ...], ...] = ((), ("--dtype", "bf16"))
    loaded = []
    for more in asked:
        answer_ = json.loads(said(capsys, "estimate", path, "--context", "512", "--engine", "vllm",
                                  "--gpu", "h100-80gb", "--format", "json", *more))["weights"]  # fmt: skip
        # Where vLLM's own figure is not known, the checkpoint's stands for it.
        taken = sum(answer_["loaded_bytes_per_device"] or [answer_["bytes"]])
        loaded.append(taken + sum(answer_["buffer_bytes_per_device"] or ()))
    pools = [
        json.loads(said(capsys, "capacity", path, "--gpu", "h100-80gb", "--max-model-len", "512",
                        "--format", "json", *more))["pool"]["available_bytes"]
        for more in asked
    ]  # fmt: skip
    assert pools[0] - pools[1] == loaded[1] - loaded[0]
    fit = said(capsys, "fit", path, "--gpu", "h100-80gb", "--context", "512", "--format", "json")
    assert str(loaded[0]) in re.findall(r"\d+", fit)
    yaml = tmp_path / "written" / "model.yaml"
    yaml.parent.mkdir()
    said(capsys, "import", path, "-o", str(yaml))
    again = json.loads(said(capsys, "estimate", str(yaml), "--format", "json", "--context", "512"))
    assert again["weights"]["bytes"] == weights
    assert again["weights"]["by_component"] == estimate["weights"]["by_component"]
    # Two ranks of each.
    divided = [
        json.loads(said(capsys, "estimate", str(one), "--tp", "2", "--format", "json"))
        for one in (path, yaml)
    ]
    assert divided[0]["weights"]["per_device_bytes"] == divided[1]["weights"]["per_device_bytes"]
    # Norms alone stand whole on both.
    norms = estimate["weights"]["by_component"]["norm"]
    assert sum(divided[0]["weights"]["per_device_bytes"]) >= weights + norms
    page = tmp_path / "page.html"
    said(capsys, "report", path, "-o", str(page), "--quiet")
    assert str(weights) in page.read_text("utf-8")


def test_a_mixed_gguf_by_hand(tmp_path: Path) -> None:
    # Qwen3-0.6B: 28 layers of (2,048 + 2 x 1,024) x 1,024 + 1,024 x 2,048 attention and 3 x 1,024 x 3,072
    # elements at 144 bytes per 256, a tied table of 151,936 x 1,024, norms of fp32 (57 of 1,024 and 56
    # of 128); two tensors of 1,048,576 and 3,145,728 elements at 210 bytes per 256.
    layers, table = 28 * (6_291_456 + 9_437_184), 151_936 * 1_024
    wider = 1_048_576 + 3_145_728
    norms = 4 * (57 * 1_024 + 56 * 128)
    expected = (layers + table) * 144 // 256 + wider * (210 - 144) // 256 + norms
    found = kvcalc.estimate(str(gguf_file(tmp_path)), context_tokens=512)
    assert found.weight_bytes == expected
    types = {each.type: (each.tensors, each.bytes) for each in found.weight_types}
    assert types["q6_K"] == (2, wider * 210 // 256)
    assert types["f32"] == (113, norms)


@pytest.mark.parametrize("source", SOURCES)
def test_check_holds_budgets_to_the_same_weights(
    source: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = SOURCES[source][0](tmp_path)
    if path.is_dir():
        path /= "model.safetensors"
    weights = kvcalc.estimate(str(path), context_tokens=512).weight_bytes
    for bound, status in ((weights, 0), (weights - 1, 1)):
        policy = tmp_path / "kvcalc.yaml"
        policy.write_text(
            f"budgets:\n  - {{models: '*', context: 512, weights: {bound}}}\n", "utf-8"
        )
        with pytest.raises(SystemExit) as caught:
            main(["check", str(path), "--policy", str(policy)])
        assert (caught.value.code or 0) == status, capsys.readouterr()

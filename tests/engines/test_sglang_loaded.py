"""What SGLang's own classes allocated on the meta device, replayed: sglang_loaded.jsonl, byte for byte.

Each line is a model (shipped, drawn, or quantised as a checkpoint of it is), a GPU, and for tensor ranks
of 1, 2, 4 and 8 the bytes of parameters and of buffers that one rank's module had; null where SGLang
refused. ``tests.engines.sglang_loaded`` writes it.
"""

import json
from pathlib import Path
from typing import Any

import pytest

from kvcalc.convert.hf import spec_from_config
from kvcalc.deployment.hardware import find
from kvcalc.engines.loaded import Loaded
from kvcalc.engines.sglang.loaded import DROPPED
from kvcalc.engines.sglang.loading import loaded
from kvcalc.errors import UnsupportedError
from kvcalc.frozen import changed
from kvcalc.memory.layout import Layout
from kvcalc.spec import hub_ids
from kvcalc.spec.catalog import load
from tests.engines import sglang_loaded, vllm_loaded
from tests.engines.test_vllm_loaded import spec_of

LINES = (Path(__file__).parent / "sglang_loaded.jsonl").read_text("utf-8").splitlines()
HEAD, ROWS = json.loads(LINES[0]), [json.loads(line) for line in LINES[1:]]


def name_of(row: dict[str, Any]) -> str:
    model = row.get("shipped") or row.get("drawn") or row["made"]
    return f"{model}-{row.get('quantised', 'bf16')}-{row['gpu']}-{row.get('replicas', 1)}"


@pytest.mark.parametrize("row", ROWS, ids=name_of)
def test_a_rank_holds_what_sglangs_class_makes(row: dict[str, Any]) -> None:
    spec, dtype = spec_of(row)
    replicas = row.get("replicas", 1)
    for tensor, sizes in zip(HEAD["tensor"], row["sizes"], strict=True):
        if sizes is None:
            continue
        layout = Layout(tensor // replicas, data=replicas, expert=row.get("expert", False))
        found = loaded(spec, dtype, layout, None, find(row["gpu"]))
        assert isinstance(found, Loaded), found
        parameters, buffers, *grown = sizes
        for size in grown:
            # Copies of latent attention's matrix are made by the class's loader, not by its method.
            dropped = [each.bytes for each in found.after if each.name == DROPPED]
            assert sum(dropped) == size * layout.tensor
        assert found.bytes_per_device == (parameters,) * layout.tensor
        assert found.buffer_bytes_per_device in (None, (buffers,) * layout.tensor)
        reasons = sum(reason.bytes for reason in found.reasons)
        assert found.checkpoint_bytes + reasons == sum(found.bytes_per_device)
        assert all(reason.why for reason in found.reasons)


def test_the_table_is_wide_enough() -> None:
    assert len({row["shipped"] for row in ROWS if "shipped" in row}) >= 40
    assert len({row["drawn"] for row in ROWS if "drawn" in row}) >= 30
    assert {row.get("replicas") for row in ROWS} == {None, 2, 8}


# Mixed layers of Qwen3-MoE: SGLang's class makes experts in all. Llama's attention has no replicas.
# Falcon: "has no SGlang implementation and the Transformers implementation is not compatible".
@pytest.mark.parametrize(
    ("name", "layout", "said"),
    [("falcon-7b", Layout(), "SGLang 0.5.23 has no class"), ("llama-3.1-8b", Layout(1, data=2), "--dp"),
     ("t5-base", Layout(), "was not built here"), ("gpt-oss-20b", Layout(4), "needs --gpu")],
)  # fmt: skip
def test_what_is_not_known_is_said(name: str, layout: Layout, said: str) -> None:
    spec = load(name)
    found = loaded(spec, spec.own_dtype, layout, None, None)
    assert isinstance(found, str)
    assert said in found


# Parameters of one rank as the same classes made them, built as the table's rows were, on an H100.
MORE = [
    ("kimi-k2", "nvfp4", 3, 26_291_199_192, 6_600_318_168),
    ("kimi-k2", "fp8_static", 3, 39_319_437_528, 9_872_277_720),
    ("kimi-k2", "fp8", 3, 39_319_431_300, 9_872_271_492),
    ("kimi-k2", "gptq", 3, 22_681_021_696, 5_878_109_440),
    ("kimi-k2", "awq", 3, 22_690_073_856, 5_698_559_232),
    ("kimi-k2", "ct_nvfp4", 3, 24_177_269_976, 6_071_835_864),
    ("minimax-m2.5", "nvfp4", 2, 7_044_145_232, 1_765_788_752),
    ("minimax-m2.5", "gptq", 2, 6_280_728_576, 1_616_231_424),
    ("minimax-m2.5", "awq", 2, 6_275_936_256, 1_573_727_232),
    ("minimax-m2.5", "ct_int4", 2, 6_266_159_184, 1_580_723_280),
    ("minimax-m2.5", "modelopt_fp8", 2, 9_800_587_344, 2_454_897_744),
    ("qwen2.5-7b", "modelopt_fp8", 2, 2_646_135_936, 661_560_960),
    ("qwen2.5-7b", "nvfp4", 2, 2_442_220_672, 610_582_144),
    ("deepseek-v3", "ct_fp8", 5, 28_500_526_416, 7_198_799_184),
    ("mixtral-8x7b", "ct_fp8", 2, 3_429_097_488, 857_624_592),
    ("llama-3.1-8b", "ct_fp8", 2, 2_537_938_960, 634_564_624),
]


@pytest.mark.parametrize(("name", "word", "layers", "one", "four"), MORE)
def test_more_quantised_checkpoints(name: str, word: str, layers: int, one: int, four: int) -> None:
    config = vllm_loaded.quantised(name, word, layers)
    if word.startswith("ct_"):
        # With scales of a declared cache, which most classes have beside their attention.
        declared = {"num_bits": 8, "type": "float", "strategy": "tensor", "dynamic": False}
        config["quantization_config"]["kv_cache_scheme"] = declared
    spec = spec_from_config(config, name, "made").spec
    for ranks, size in ((1, one), (4, four)):
        found = loaded(spec, "checkpoint", Layout(ranks), None, find("h100-80gb"))
        assert isinstance(found, Loaded), found
        assert set(found.bytes_per_device) == {size}


def test_an_id_of_a_shipped_shape_is_as_published() -> None:
    base, found = load("qwen3-30b-a3b"), hub_ids.find("Qwen/Qwen3-30B-A3B-GPTQ-Int4")
    assert found is not None
    made = loaded(found.of(base), "checkpoint", Layout(2), None, find("h100-80gb"))
    assert isinstance(made, Loaded), made


# What differed when it was built, and is not accounted for.
@pytest.mark.parametrize(
    ("name", "word"),
    [("mixtral-8x7b", "nvfp4"), ("mixtral-8x7b", "modelopt_fp8"), ("glm-4.5-air", "modelopt_fp8"),
     ("phi-3-mini-4k", "fp8"), ("deepseek-v3", "gptq")],
)  # fmt: skip
def test_what_was_not_built_is_said(name: str, word: str) -> None:
    spec = spec_from_config(vllm_loaded.quantised(name, word, 3), name, "made").spec
    found = loaded(spec, "checkpoint", Layout(), None, find("h100-80gb"))
    assert isinstance(found, str)
    assert "not built" in found


# quantization/__init__.py has no plain GPTQ on CUDA; model_overrides/qwen3_moe.py takes the method by its
# own name on Blackwell; the W8A8Int8 scheme of experts is implemented "only for NPU".
@pytest.mark.parametrize(
    ("name", "word", "gpu", "stated", "said"),
    [
        ("llama-3.1-8b", "gptq", "h100-80gb", {"sym": False}, "not symmetric"),
        ("qwen3-30b-a3b", "gptq", "b200", {}, "on Blackwell"),
        ("qwen3-30b-a3b", "ct_int8", "h100-80gb", {}, "on NPUs alone"),
    ],
)  # fmt: skip
def test_what_sglang_refuses(
    name: str, word: str, gpu: str, stated: dict[str, Any], said: str
) -> None:
    config = vllm_loaded.quantised(name, word, 2)
    config["quantization_config"] |= stated
    spec = spec_from_config(config, name, "made").spec
    with pytest.raises(UnsupportedError, match=said):
        loaded(spec, "checkpoint", Layout(), None, find(gpu))


def test_the_page_is_written_from_the_table() -> None:
    said = "python -m tests.engines.sglang_loaded page"
    assert sglang_loaded.PAGE.read_text("utf-8") == sglang_loaded.page(), said


def test_tables_of_a_towered_model_that_does_not_ship_are_not_known() -> None:
    # What stretches its positions is not in a spec, and makes more rows.
    other = changed(load("gemma-3-4b"), name="another")
    found = loaded(other, "bf16", Layout(), None, find("h100-80gb"))
    assert isinstance(found, Loaded)
    assert found.buffer_bytes_per_device is None

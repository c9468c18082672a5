"""Which row a format's name means: attention x GPU x release, as the engines' own code has it.

Read, not run, in the wheels of vLLM 0.11.0 to 0.33.0 and SGLang 0.5.23; ``source`` is where. Bytes are of
one token and layer: 656 = 512 + 4 * 4 + 2 * 64, 576 = 512 + 64, 352 = 256 + 64 + 32.
"""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from kvcalc.convert.locate import locate
from kvcalc.engines.request import Available
from kvcalc.engines.sglang.flags import SglangFlags
from kvcalc.engines.sglang.pool import capacity as sglang_capacity
from kvcalc.engines.vllm.flags import VllmFlags
from kvcalc.engines.vllm.plan import Plan
from kvcalc.engines.vllm.pool import capacity as vllm_capacity
from kvcalc.errors import KvcalcError, UnsupportedError, UsageError
from kvcalc.memory.layout import Layout
from kvcalc.spec.catalog import load

CANON = "mla_attention.py, _canonicalize_sparse_mla_kv_cache_dtype"
GLM = "models/config.py, GlmMoeDsaForCausalLM"
V32 = "models/config.py, DeepseekV32ForCausalLM"
SM90 = "flashinfer_mla_sparse_sm90.py"
SM120 = "flashinfer_mla_sparse.py, FlashInferMLASparseSM120Backend"
FLASH = "flashmla_sparse.py, FlashMLASparseBackend"
ROCM = "rocm_aiter_mla_sparse.py"
V4 = "deepseek_v4/attention.py, _resolve_dsv4_kv_cache_dtype"
PRIORITY = "platforms/cuda.py, _get_backend_priorities"

# model, release, compute capability, backend, format, bytes of a row (None: refused), source
VLLM = [
    ("glm-5.2", "0.33.0", 90, None, "auto", 1152, FLASH),
    ("glm-5.2", "0.33.0", 90, None, "bfloat16", 1152, FLASH),
    ("glm-5.2", "0.33.0", 90, None, "fp8", 656, CANON),
    ("glm-5.2", "0.33.0", 90, None, "fp8_ds_mla", 656, CANON),
    ("glm-5.2", "0.33.0", 90, None, "fp8_e4m3", 576, SM90),
    ("glm-5.2", "0.29.0", 90, None, "fp8_e4m3", None, FLASH),
    ("glm-5.2", "0.33.0", 90, None, "nvfp4_ds_mla", None, FLASH),
    ("glm-5.2", "0.33.0", 100, None, "auto", 576, GLM),
    ("glm-5.2", "0.33.0", 103, None, "auto", 576, GLM),
    ("glm-5.2", "0.29.0", 100, None, "auto", 576, GLM),
    ("glm-5.2", "0.28.0", 100, None, "auto", 1152, GLM),
    ("glm-5.2", "0.33.0", 100, None, "bfloat16", 1152, GLM),
    ("glm-5.2", "0.33.0", 100, None, "fp8", 576, PRIORITY),
    ("glm-5.2", "0.33.0", 100, None, "fp8_ds_mla", 656, FLASH),
    ("glm-5.2", "0.33.0", 100, None, "nvfp4_ds_mla", 352, FLASH),
    ("glm-5.2", "0.33.0", 100, "FLASHMLA_SPARSE", "fp8", 656, CANON),
    ("glm-5.2", "0.33.0", 100, "FLASHINFER_MLA_SPARSE", "fp8", 576, CANON),
    ("glm-5.2", "0.33.0", 120, None, "auto", 656, SM120),
    ("glm-5.2", "0.33.0", 121, None, "fp8", 656, SM120),
    ("glm-5.2", "0.33.0", 120, None, "fp8_e4m3", 656, SM120),
    ("glm-5.2", "0.33.0", 120, None, "bfloat16", None, SM120),
    ("glm-5.2", "0.24.0", 120, None, "auto", 656, SM120),
    ("glm-5.2", "0.23.0", 120, None, "auto", None, PRIORITY),
    ("glm-5.2", "0.33.0", 80, None, "auto", None, PRIORITY),
    ("glm-5.2", "0.33.0", 89, None, "fp8", None, PRIORITY),
    ("glm-5.2", "0.33.0", 0, None, "auto", 1152, ROCM),
    ("glm-5.2", "0.33.0", 0, None, "fp8", 576, ROCM),
    ("glm-5.2", "0.33.0", 0, None, "fp8_ds_mla", None, ROCM),
    ("glm-5.2", "0.33.0", None, None, "fp8", 576, "as it stands"),
    ("deepseek-v3.2", "0.33.0", 100, None, "auto", 1152, GLM),
    ("deepseek-v3.2", "0.33.0", 100, None, "fp8", 576, PRIORITY),
    ("deepseek-v3.2", "0.33.0", 90, None, "fp8", 656, CANON),
    ("deepseek-v3.2", "0.33.0", 120, None, "bfloat16", 656, V32),
    ("deepseek-v3.2", "0.11.0", 90, None, "auto", 656, V32),
    ("deepseek-v3.2", "0.12.0", 90, None, "auto", 1152, V32),
    ("deepseek-v3.2", "0.16.0", 100, None, "fp8", 656, V32),
    ("deepseek-v3.2", "0.18.0", 100, None, "fp8", 576, PRIORITY),
    ("deepseek-v3", "0.33.0", 90, None, "fp8", 576, "flashmla.py"),
    ("deepseek-v3", "0.33.0", 80, None, "auto", 1152, "triton_mla.py"),
    ("deepseek-v3", "0.33.0", 90, None, "fp8_ds_mla", None, "flashmla.py"),
    ("deepseek-v4-flash", "0.33.0", 90, None, "auto", 584, V4),
    ("deepseek-v4-flash", "0.33.0", 100, None, "fp8", 584, V4),
    ("deepseek-v4-flash", "0.33.0", 120, None, "fp8_e4m3", 584, V4),
    ("deepseek-v4-flash", "0.33.0", 100, None, "bfloat16", None, V4),
    ("deepseek-v4-flash", "0.33.0", 100, "FLASHINFER_MLA_SPARSE_DSV4", "auto", 1024, V4),
    ("deepseek-v4-flash", "0.33.0", 100, "FLASHINFER_MLA_SPARSE_DSV4", "fp8", 512, V4),
    # One head of 128 and 128: windows, hybrids and full attention keep the same rows on every GPU.
    ("qwen3-8b", "0.33.0", 80, None, "auto", 4096, "FullAttentionSpec"),
    ("qwen3-8b", "0.33.0", 100, None, "fp8_e5m2", 2048, "FullAttentionSpec"),
    ("qwen3-8b", "0.33.0", 100, None, "nvfp4_4over6", 1152, "flashinfer.py, customize_spec"),
    ("qwen3-8b", "0.27.0", 100, None, "nvfp4_4over6", None, "config/cache.py, CacheDType"),
    ("qwen3-8b", "0.33.0", 0, None, "ultraquant_4bit", 1088, "ultraquant/format.py, slot_size"),
    ("qwen3-8b", "0.33.0", 0, None, "octave_k3v3_compact", None, "rocm_octave_attn.py"),
    ("qwen3.6-27b", "0.33.0", 0, None, "octave_k3v3_compact", 784, "rocm_octave.py, slot_bytes"),
    ("qwen3.6-27b", "0.32.0", 0, None, "octave_k3v3_compact", None, "config/cache.py, CacheDType"),
    ("gpt-oss-20b", "0.33.0", 90, None, "fp8", 1024, "FullAttentionSpec"),
    ("minicpm3-4b", "0.33.0", 90, None, "auto", 15360, "minicpm3.py, MiniCPM3Attention"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("model", "release", "gpu", "backend", "name", "row", "source"), VLLM, ids=str
)
def test_a_row_of_vllm(
    model: str, release: str, gpu: int | None, backend: str | None, name: str, row: int | None,
    source: str,
) -> None:  # fmt: skip
    request = VllmFlags(
        engine_version=release, compute_capability=gpu, kv_dtype=name, max_model_len=4096,
        attention_backend=backend,
    )  # fmt: skip
    if row is None:
        with pytest.raises(KvcalcError):
            Plan(load(model), request)
        return
    kinds = ("full", "window", "latent", "latent_window")
    pages = [entry.own for entry in Plan(load(model), request).entries if entry.own.kind in kinds]
    middle = [page for page in pages[6:-6] if page.name != "compressor state"]
    assert {page.token_bytes for page in middle} == {row}


# model, compute capability, backend, format, bytes of a row (None: refused), release where not 0.5.23
SGLANG: list[tuple[Any, ...]] = [
    ("glm-5.2", 100, None, "fp8_e4m3", 576, "0.5.11"),
    ("glm-5.2", 100, None, "fp8_e4m3", 656, "0.5.9"),
    ("glm-5.2", 100, None, "auto", 1152, "0.5.3"),
    ("glm-5.2", 120, None, "fp8_e4m3", 576, "0.5.16"),
    ("glm-5.2", 90, None, "auto", 1152),
    ("glm-5.2", 90, None, "fp8_e4m3", 656),
    ("glm-5.2", 100, None, "auto", 576),
    ("glm-5.2", 103, None, "fp8_e4m3", 576),
    ("glm-5.2", 103, None, "bfloat16", 1152),
    ("glm-5.2", 103, "flashmla_kv", "fp8_e4m3", 656),
    ("glm-5.2", 90, "tilelang", "fp8_e4m3", 576),
    ("glm-5.2", 120, None, "auto", 656),
    ("deepseek-v3.2", 120, None, "auto", 576),
    ("deepseek-v3.2", 0, None, "fp8_e4m3", 576),
    ("deepseek-v3.2", 0, None, "auto", 1152),
    ("deepseek-v3.2", 90, None, "fp8_e5m2", None),
    ("deepseek-v3.2", 90, None, "nvfp4", None),
    ("deepseek-v3", 100, None, "auto", 1152),
    ("deepseek-v3", 100, None, "fp8_e4m3", 576),
    ("qwen3-8b", 90, None, "nvfp4", None),
    ("qwen3-8b", 90, None, "fp4_mx_block16", 1152),
    ("qwen3-8b", 90, None, "mxfp8", None),
]  # fmt: skip


@pytest.mark.parametrize("case", SGLANG, ids=str)
def test_a_row_of_sglang(case: tuple[Any, ...]) -> None:
    """arg_groups/overrides.py (_dsa_kv_cache_dtype_default, _dsa_split_backend_resolution) and
    kv_cache_configurator.py (calculate_mla_kv_cache_dim) of 0.5.23."""
    model, gpu, backend, name, row, *release = case
    request = SglangFlags(
        compute_capability=gpu, attention_backend=backend, kv_dtype=name, tokens=6400,
        engine_version=release[0] if release else None,
    )  # fmt: skip
    if row is None:
        with pytest.raises(KvcalcError):
            sglang_capacity(load(model), request)
        return
    [full] = [
        cache for cache in sglang_capacity(load(model), request).caches if cache.name == "full"
    ]
    page = 64 if model in ("glm-5.2", "deepseek-v3.2") else 1
    assert full.bytes == row * (6400 + page) * full.layers


def test_rows_are_named_where_no_gpu_is() -> None:
    available = Available.parse("40GiB")
    request = VllmFlags(kv_dtype="fp8", available=available, max_model_len=4096)
    notes = " ".join(vllm_capacity(load("glm-5.2"), request).notes)
    assert (
        "a cache of format fp8 is fp8_ds_mla on Hopper, Blackwell, SM 12.x; fp8 on Blackwell, SM 10.x, "
        "AMD: fp8 was taken here; --gpu says which" in notes
    )
    notes = " ".join(sglang_capacity(load("glm-5.2"), SglangFlags(tokens=64)).notes)
    assert "raw fp8 (576 bytes) on Blackwell, SM 10.x" in notes


@pytest.mark.parametrize(
    ("flags", "said"),
    [({"kv_dtype": "fp32"}, "no KV-cache format 'fp32'"), ({"kv_dtype": "half"}, "'half'"),
     ({"attention_backend": "FLASHMLA_SPARS"}, "FLASHMLA_SPARSE"),
     ({"kv_dtype": "octave_k3v4"}, "rotary width")],
)  # fmt: skip
def test_names_that_vllm_has_not(flags: dict[str, Any], said: str) -> None:
    with pytest.raises((UsageError, UnsupportedError), match=said):
        Plan(load("glm-5.2" if "attention_backend" in flags else "qwen3.6-27b"),
             VllmFlags(max_model_len=4096, **flags))  # fmt: skip


def test_cohere2_s_window_is_a_token_wider() -> None:
    """commandr.py: ``config.sliding_window + 1``, run on vLLM 0.33: 508 blocks a group of 4,097 + 4,001
    tokens, one fewer with 4,096. Up to 0.28.0 it is the config's."""

    def blocks(release: str) -> int:
        request = VllmFlags(
            engine_version=release, max_model_len=8192, max_num_batched_tokens=4001,
            async_scheduling=False,
        )  # fmt: skip
        plan = Plan(load("command-r7b"), request)
        [window] = {group.page for group in plan.groups if group.page.kind == "window"}
        return plan.schedule.blocks(window, 8192)

    assert (blocks("0.33.0"), blocks("0.28.0")) == (508, 507)


def test_minicpm3_keeps_no_latents_in_vllm() -> None:
    """62 layers x 40 heads x (96 + 96) elements of two bytes, run on vLLM 0.33."""
    request = VllmFlags(available=Available.parse("20GiB"), max_model_len=32768)
    pool = vllm_capacity(load("minicpm3-4b"), request).pool
    assert (pool.num_blocks, pool.tokens) == (1409, 22544)


def test_the_server_stops_where_requests_are_more_than_states() -> None:
    """config/compilation.py: "max_num_seqs exceeds available Mamba cache blocks"."""
    spec = load("qwen3.6-27b")

    def notes(**flags: Any) -> str:
        request = VllmFlags(available=Available.parse("10GiB"), max_model_len=16384, **flags)
        return " ".join(vllm_capacity(spec, request).notes)

    assert "--max-num-seqs 208 or less, or --enforce-eager" in notes(max_num_seqs=256)
    assert "256 on GPUs below 70 GiB" in notes()
    for flags in ({"max_num_seqs": 208}, {"max_num_seqs": 256, "eager": True},
                  {"max_num_seqs": 256, "engine_version": "0.18.0"}):  # fmt: skip
        assert "does not start" not in notes(**flags)


FP8 = {"dynamic": False, "num_bits": 8, "type": "float"}


@pytest.mark.parametrize(
    ("stated", "declared", "vllm", "sglang"),
    [
        ({"quant_method": "modelopt", "quant_algo": "FP8", "kv_cache_quant_algo": "FP8"},
         {"modelopt": "fp8"}, 2048, 2048),
        ({"quant_method": "modelopt", "quant_algo": "FP8", "kv_cache_scheme": FP8},
         {"modelopt": "fp8"}, 2048, 2048),
        ({"quant_method": "modelopt", "quant_algo": "FP8", "kv_cache_quant_algo": "NVFP4"},
         {"modelopt": "nvfp4"}, 1152, 4096),
        ({"quant_method": "modelopt", "quant_algo": "FP8"}, {}, 4096, 4096),
    ],
)  # fmt: skip
def test_auto_takes_what_the_checkpoint_declares(
    tmp_path: Path, stated: dict[str, Any], declared: dict[str, str], vllm: int, sglang: int
) -> None:
    """resolve_kv_cache_dtype_string (vLLM 0.33.0, utils/torch_utils.py), configure_kv_cache_dtype
    (SGLang 0.5.23, mem_cache/kv_cache_dtype.py): 8 heads of 128 and 128 elements."""
    config = {
        "model_type": "qwen3", "hidden_size": 4096, "intermediate_size": 12288, "vocab_size": 151936,
        "num_hidden_layers": 36, "num_attention_heads": 32, "num_key_value_heads": 8, "head_dim": 128,
        "max_position_embeddings": 40960, "tie_word_embeddings": False, "torch_dtype": "bfloat16",
        "quantization_config": {**stated, "ignore": ["lm_head"]},
    }  # fmt: skip
    (tmp_path / "config.json").write_text(json.dumps(config))
    spec = locate(str(tmp_path / "config.json")).spec
    assert spec.declared_cache == declared
    plan = Plan(spec, VllmFlags(max_model_len=4096))
    assert {entry.page.token_bytes for entry in plan.entries} == {vllm}
    [full] = sglang_capacity(spec, SglangFlags(tokens=100)).caches
    assert full.bytes == sglang * 36 * 101
    before = Plan(spec, VllmFlags(max_model_len=4096, engine_version="0.12.0"))
    assert {entry.page.token_bytes for entry in before.entries} == {4096}


def test_the_estimate_sets_the_null_block_aside() -> None:
    """vLLM 0.33, v1/core/kv_cache_planning.py: both checks of a server reserve it before they estimate,
    so 16,384 tokens' memory gives one block less."""
    spec = load("qwen3-8b")
    memory = Available.exactly(1024 * 16 * 36 * 4096)
    request = VllmFlags(available=memory, max_model_len=40960)
    assert vllm_capacity(spec, request).pool.estimated_max_model_len == 16368


def test_modules_draft_in_turn() -> None:
    """config/speculative.py: num_speculative_tokens must be divisible by n_predict."""
    whole = load("deepseek-v3")
    assert whole.mtp is not None
    spec = replace(whole, mtp=replace(whole.mtp, num_layers=3))
    with pytest.raises(UsageError, match="multiples of 3; use 3 or 6"):
        Plan(spec, VllmFlags(max_model_len=4096, speculative_tokens=4, mtp_layers=3))
    request = VllmFlags(max_model_len=4096, speculative_tokens=2, mtp_layers=3)
    assert Plan(spec, request).stack.draft_tokens == 2


def test_draft_layers_of_sparse_mla_have_an_indexer() -> None:
    """deepseek_v2.py since 0.24.0: MTP layers always build one; up to 0.23.0 every layer."""
    request = VllmFlags(layout=Layout(8), max_model_len=4096, mtp_layers=1, speculative_tokens=1)
    index = [
        entry for entry in Plan(load("glm-5.2"), request).entries if entry.page.kind == "index"
    ]
    assert (len(index), index[-1].layer) == (22, 78)

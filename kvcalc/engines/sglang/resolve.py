"""Which row a ``--kv-cache-dtype`` means in SGLang: for an attention, a GPU, a backend, a release.

auto is fp8_e4m3 where the checkpoint's quantisation declares FP8 for its cache (ModelOpt's and fp8's
    kv_cache_quant_algo; configure_kv_cache_dtype, mem_cache/kv_cache_dtype.py), else the model's format.
Sparse MLA (DSA), as arg_groups/overrides.py resolves it (_dsa_kv_cache_dtype_default,
    _dsa_split_backend_resolution) and mem_cache/kv_cache_configurator.py lays it out
    (calculate_mla_kv_cache_dim): bf16 and fp8_e4m3 alone;
    auto       fp8_e4m3 from compute capability 10 on, bf16 below (since 0.5.5, absent 0.5.3)
    SM 9.0     fp8_e4m3 by flashmla_kv: 656 bytes, scales and a bf16 rotary key included
    SM 10.x    fp8_e4m3 by trtllm: raw rows of 576 bytes (since 0.5.11, absent 0.5.9: as on 9.0)
    SM 12.x    the same, except GLM's by flashinfer_sparse_mla: 656 bytes (since 0.5.18, absent 0.5.16)
    AMD        raw rows
    A backend asked for (--dsa-decode-backend) says the layout: trtllm and tilelang raw, flashmla_kv,
    flashmla_sparse and flashinfer_sparse_mla with scales.
mxfp8 and nvfp4 need Blackwell (arg_groups/kv_cache_hook.py).

Where the GPU is not known fp8_e4m3 has its scales and auto is the model's format; a note says so.
"""

from kvcalc.dtypes import CacheDtypes
from kvcalc.engines.sglang.flags import SglangFlags
from kvcalc.engines.sglang.versions import Rules
from kvcalc.errors import UnsupportedError, UsageError
from kvcalc.frozen import changed, frozen
from kvcalc.names import hint
from kvcalc.spec.model import ModelSpec

# kv_cache_dtype of the command line -> kvcalc's format of a row. fp4_e2m1 is the word of releases before
# nvfp4 and fp4_mx_block16; both have a byte per 16 elements. fp8_raw is kvcalc's own: fp8 without scales.
KV_DTYPES = {
    "bf16": "bf16", "bfloat16": "bf16", "fp16": "fp16", "float16": "fp16",
    "fp8": "fp8", "fp8_e4m3": "fp8", "fp8_e5m2": "fp8", "fp8_raw": "fp8",
    "fp4_e2m1": "nvfp4", "nvfp4": "nvfp4", "fp4_mx_block16": "nvfp4", "mxfp8": "mxfp8",
}  # fmt: skip
_RAW = ("trtllm", "tilelang")
_SCALED = ("flashmla_kv", "flashmla_sparse", "flashinfer_sparse_mla", "fa3")
_FAMILIES = ((90, "Hopper"), (100, "Blackwell, SM 10.x"), (120, "Blackwell, SM 12.x"), (0, "AMD"))


@frozen
class Resolved:
    """row: the cache's formats. index: of index keys. rules, notes: what made them, what else could be."""

    row: CacheDtypes
    index: CacheDtypes
    rules: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


def model_dtype(request: SglangFlags) -> str:
    """The model's format, which convolutions and an ``auto`` cache take."""
    return KV_DTYPES.get(request.model_dtype, "bf16")


def resolve(spec: ModelSpec, request: SglangFlags, rules: Rules, dsa: bool) -> Resolved:
    """The row of the format asked for. dsa: whether the model has an indexer beside its latents.

    Raises UsageError for a name or a backend that SGLang has not, UnsupportedError where it refuses
    the format for this model or GPU.
    """
    name = (request.kv_dtype or "auto").strip().lower()
    if name != "auto" and name not in KV_DTYPES:
        near = hint(name, KV_DTYPES)
        raise UsageError(
            f"--kv-dtype {name}: SGLang has auto, {', '.join(KV_DTYPES)} (fp8_raw: rows without "
            f"scales, as TRT-LLM and TileLang DSA kernels take them){near and '; '}{near}"
        )
    _check(request, dsa, name)
    index = "fp8_ds_mla" if dsa else model_dtype(request)
    row, why = _row(name, spec, request, rules, dsa)
    notes = _could_be(name, row, spec, request, rules) if dsa else ()
    return Resolved(CacheDtypes(row, row), CacheDtypes(index, index), why, notes)


def _check(request: SglangFlags, dsa: bool, name: str) -> None:
    backend, gpu = request.attention_backend, request.compute_capability
    if backend is not None and not dsa:
        raise UsageError(
            f"--attention-backend {backend}: this model's rows do not depend on it; leave it out"
        )
    known = (*_RAW, *_SCALED)
    if backend is not None and backend not in known:
        near = hint(backend, known)
        raise UsageError(
            f"--attention-backend {backend}{near and ': '}{near}; DSA's are {', '.join(known)}"
        )
    if name in ("mxfp8", "nvfp4") and gpu is not None and gpu < 100:
        raise UnsupportedError(
            f"SGLang keeps {name} on Blackwell alone (arg_groups/kv_cache_hook.py)"
            + ("; fp4_mx_block16 elsewhere" if name == "nvfp4" else "")
        )


def _row(
    name: str, spec: ModelSpec, request: SglangFlags, rules: Rules, dsa: bool
) -> tuple[str, tuple[str, ...]]:
    """(kvcalc's format of a row, what made it of the name)."""
    if not dsa:
        if name != "auto":
            return KV_DTYPES[name], ()
        stated = spec.declared_cache
        if "fp8" in (stated.get("modelopt"), stated.get("fp8")):
            return "fp8", ("auto is fp8_e4m3, as the checkpoint declares for its cache",)
        return model_dtype(request), ()
    gpu = request.compute_capability
    if name == "fp8_raw":
        return "fp8", ()
    if name not in ("auto", "bf16", "bfloat16", "fp8", "fp8_e4m3"):
        raise UnsupportedError(
            f"SGLang keeps sparse MLA in bf16 or fp8_e4m3, not in {name} (_dsa_kv_cache_dtype_default)"
        )
    if name == "auto":
        if gpu is None or gpu < 100 or not rules.sparse_auto_is_fp8:
            return (model_dtype(request) if gpu is None else "bf16"), ()
        row, _ = _row("fp8_e4m3", spec, request, rules, dsa)
        return row, (
            f"auto is fp8_e4m3 for sparse MLA on compute capability {gpu // 10}.{gpu % 10}",
        )
    if name in ("bf16", "bfloat16"):
        return "bf16", ()
    if request.attention_backend is not None:
        raw = request.attention_backend in _RAW
        return ("fp8" if raw else "fp8_ds_mla"), ()
    if gpu is None:
        return "fp8_ds_mla", ()
    glm = rules.glm_rows_on_sm12 and spec.model_type == "glm_moe_dsa" and gpu // 10 == 12
    raw = gpu == 0 or (rules.raw_on_blackwell and gpu >= 100 and not glm)
    said = "raw, 576 bytes" if raw else "with scales, 656 bytes"
    return ("fp8" if raw else "fp8_ds_mla"), (
        f"fp8_e4m3 rows of sparse MLA are {said} on this GPU",
    )


def _could_be(
    name: str, row: str, spec: ModelSpec, request: SglangFlags, rules: Rules
) -> tuple[str, ...]:
    """The rows of the same name on other GPUs, where none was named."""
    if request.compute_capability is not None or request.attention_backend is not None:
        return ()
    found: dict[str, list[str]] = {}
    for gpu, family in _FAMILIES:
        there = _row(name, spec, changed(request, compute_capability=gpu), rules, True)[0]
        found.setdefault(_words(there), []).append(family)
    if set(found) == {_words(row)}:
        return ()
    said = "; ".join(f"{row} on {', '.join(families)}" for row, families in found.items())
    return (f"a cache of format {name} is {said}: {_words(row)} was taken here; --gpu says which",)


def _words(row: str) -> str:
    return {"fp8": "raw fp8 (576 bytes)", "fp8_ds_mla": "fp8 with scales (656 bytes)"}.get(row, row)

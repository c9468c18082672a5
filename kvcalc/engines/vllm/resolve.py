"""Which row a ``--kv-cache-dtype`` means: for an attention, a GPU, a backend and a release of vLLM.

A name is not its bytes. Read in the wheels of 0.11.0 to 0.33.0; "absent" below is the newest release
that was read without a rule, "since" the oldest with it.

auto takes what a ModelOpt checkpoint declares (resolve_kv_cache_dtype_string, utils/torch_utils.py;
    absent 0.12.0, since 0.14.0), and what a compressed-tensors one does where keys and values are kept
    per head (Attention.__init__, kv_cache_scheme); else the activations' format.
Sparse MLA (an indexer beside the latents; ``_canonicalize_sparse_mla_kv_cache_dtype`` in
    layers/attention/mla_attention.py, ``_get_backend_priorities`` in platforms/cuda.py, and what each
    backend supports):
    to 0.16.0  fp8 of DeepSeek-V3.2 is fp8_ds_mla on every GPU; in 0.11.0 auto, too
               (DeepseekV32ForCausalLM.verify_and_update_config, models/config.py; absent 0.18.0)
    SM 9.0     FLASHMLA_SPARSE: fp8 is fp8_ds_mla, 656 bytes. fp8_e4m3 is not among its names, and since
               0.30.0 (absent 0.29.0) FLASHINFER_MLA_SPARSE_SM90 keeps it plain, 576 bytes
    SM 10.x    FLASHINFER_MLA_SPARSE keeps fp8 and fp8_e4m3 plain; fp8_ds_mla and nvfp4_ds_mla are
               FLASHMLA_SPARSE's. GLM's auto is fp8_e4m3 since 0.29.0 (absent 0.28.0;
               GlmMoeDsaForCausalLM.verify_and_update_config)
    SM 12.x    since 0.24.0 FLASHINFER_MLA_SPARSE_SM120: auto, fp8 and fp8_e4m3 are fp8_ds_mla
    AMD        ROCM_AITER_MLA_SPARSE keeps fp8 plain
DeepSeek-V4 (_resolve_dsv4_kv_cache_dtype, models/deepseek_v4/attention.py): auto and fp8 of any kind are
    fp8_ds_mla; FLASHINFER_MLA_SPARSE_DSV4 on SM 10.x keeps plain rows, bf16 or fp8.
Other MLA has no packed rows: no backend takes fp8_ds_mla.

Where the GPU is not known a name is taken as it stands, and a note says what else it could be.
"""

from collections.abc import Iterator

from kvcalc.engines.vllm.flags import VllmFlags
from kvcalc.engines.vllm.formats import KvFormat
from kvcalc.engines.vllm.pages import indexer_of
from kvcalc.engines.vllm.versions import Rules
from kvcalc.errors import UnsupportedError, UsageError
from kvcalc.frozen import changed, frozen, remembered
from kvcalc.names import hint
from kvcalc.spec.model import ModelSpec

_FP8 = ("fp8", "fp8_e4m3")
_PACKED = ("fp8_ds_mla", "nvfp4_ds_mla")
# GPUs that a note names: a compute capability of each family, and the family in words.
_FAMILIES = ((90, "Hopper"), (100, "Blackwell, SM 10.x"), (120, "Blackwell, SM 12.x"), (0, "AMD"))
_BACKENDS = (
    "FLASHMLA_SPARSE", "FLASHINFER_MLA_SPARSE", "FLASHINFER_MLA_SPARSE_SM90",
    "FLASHINFER_MLA_SPARSE_SM120", "FLASHINFER_MLA_SPARSE_DSV4", "FLASHMLA_SPARSE_DSV4",
    "ROCM_AITER_MLA_SPARSE",
)  # fmt: skip


@frozen
class Resolved:
    """kv: the row. rules: what made it of the name. notes: what else the name could be."""

    kv: KvFormat
    rules: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


def resolve(spec: ModelSpec, request: VllmFlags, rules: Rules) -> Resolved:
    """The row that vLLM keeps for the format asked for.

    Raises UsageError for a name or a backend that it has not, UnsupportedError where it has no
    backend for the format on this GPU.
    """
    _check_backend(request.attention_backend)
    asked = KvFormat.parse(request.kv_dtype, "auto", rules.number)
    name, why = asked.name, []
    if name == "auto":
        declared = _declared(spec, rules)
        if declared is not None:
            name = declared
            why.append(f"auto is {name}, as the checkpoint declares for its cache")
    kind = _kind(spec)
    if kind == "heads":
        if request.attention_backend is not None:
            raise UsageError(
                f"--attention-backend {request.attention_backend}: formats of {spec.name} do not "
                "depend on it; leave it out"
            )
        return Resolved(KvFormat(_plain(name, request.model_dtype)), tuple(why))
    found = _row(kind, name, spec, request, rules)
    if found != name:
        why.append(f"{name} is {found} for {_WORDS[kind]}{_on(request)}")
    kv = KvFormat(_plain(found, request.model_dtype))
    return Resolved(kv, tuple(why), tuple(_could_be(kind, name, kv, spec, request, rules)))


_WORDS = {"v4": "DeepSeek-V4", "sparse": "sparse MLA", "mla": "MLA"}


@remembered
def _kind(spec: ModelSpec) -> str:
    kinds = {getattr(block.attention, "kind", "") for block in spec.blocks.values()}
    if kinds & {"csa", "hca", "v4_window"}:
        return "v4"
    if "mla" not in kinds or spec.model_type == "minicpm3":
        return "heads"
    return "sparse" if indexer_of(spec) is not None else "mla"


def _plain(name: str, model_dtype: str) -> str:
    return model_dtype if name == "auto" else name


def _on(request: VllmFlags) -> str:
    backend, gpu = request.attention_backend, request.compute_capability
    if backend is not None:
        return f" with {backend}"
    return "" if not gpu else f" on compute capability {gpu // 10}.{gpu % 10}"


def _check_backend(name: str | None) -> None:
    if name is not None and name not in _BACKENDS:
        near = hint(name, _BACKENDS)
        raise UsageError(
            f"--attention-backend {name}{near and ': '}{near}; those that decide a format: "
            f"{', '.join(_BACKENDS)}"
        )


def _declared(spec: ModelSpec, rules: Rules) -> str | None:
    """What ``auto`` takes from the checkpoint."""
    stated = spec.declared_cache
    if "modelopt" in stated and rules.declared_by_modelopt:
        return {"fp8": "fp8_e4m3", "nvfp4": "nvfp4"}.get(stated["modelopt"])
    if stated.get("compressed-tensors") == "fp8" and _kind(spec) == "heads":
        return "fp8"
    return None


def _row(kind: str, name: str, spec: ModelSpec, request: VllmFlags, rules: Rules) -> str:
    """The format that the layers keep; ``auto`` stays where it is the activations'."""
    if kind == "v4":
        return _deepseek_v4(name, request)
    if kind == "mla":
        if name in _PACKED:
            raise UnsupportedError(
                f"vLLM keeps {name} rows for sparse MLA alone (DeepSeek-V3.2, GLM-5), by "
                "FLASHMLA_SPARSE; use fp8"
            )
        return name
    if not rules.rows_by_backend:
        packed = name.startswith("fp8") or (name == "auto" and rules.sparse_auto_is_fp8)
        return "fp8_ds_mla" if packed and spec.model_type == "deepseek_v32" else name
    gpu = request.compute_capability
    if request.attention_backend is not None:
        return _by_backend(request.attention_backend, name)
    if gpu is None:
        return name
    if gpu == 0:
        if name in _PACKED:
            raise UnsupportedError(
                f"vLLM has no {name} rows on AMD (ROCM_AITER_MLA_SPARSE); use fp8"
            )
        return name
    return _by_gpu(gpu, name, spec, rules)


def _by_gpu(gpu: int, name: str, spec: ModelSpec, rules: Rules) -> str:
    """By compute capability, as ``_get_backend_priorities`` tries the backends."""
    match gpu // 10:
        case 9:
            if name in _FP8 and not (name == "fp8_e4m3" and rules.plain_fp8_on_hopper):
                if name == "fp8_e4m3":
                    raise UnsupportedError(
                        f"vLLM {rules.version} has no sparse MLA for fp8_e4m3 on Hopper; fp8 is kept "
                        "as fp8_ds_mla (FlashMLASparseBackend.supported_kv_cache_dtypes)"
                    )
                return "fp8_ds_mla"
            if name == "nvfp4_ds_mla":
                raise UnsupportedError("vLLM keeps nvfp4_ds_mla rows on SM 10.x alone")
            return name
        case 10:
            if name == "auto" and spec.model_type == "glm_moe_dsa" and rules.glm_auto_is_fp8:
                return "fp8_e4m3"
            # The FlashInfer kernel's widths (FlashInferMLASparseBackend.supports_combination).
            return "fp8_ds_mla" if name == "fp8" and not _flashinfer_takes(spec) else name
        case 12 if rules.sparse_on_sm12:
            if name in ("auto", *_FP8, "fp8_ds_mla"):
                return "fp8_ds_mla"
            if name in ("bf16", "bfloat16") and spec.model_type == "deepseek_v32":
                return "fp8_ds_mla"  # its config turns bfloat16 into auto
            raise UnsupportedError(
                f"vLLM keeps sparse MLA on SM 12.x in fp8_ds_mla alone, not in {name} "
                "(FlashInferMLASparseSM120Backend)"
            )
    raise UnsupportedError(
        f"vLLM {rules.version} has no sparse MLA for compute capability {gpu // 10}.{gpu % 10}: its "
        f"backends take 9.0, 10.x{' and 12.x' if rules.sparse_on_sm12 else ''} (platforms/cuda.py)"
    )


def _flashinfer_takes(spec: ModelSpec) -> bool:
    widths = {getattr(block.attention, "qk_nope_head_dim", 128) for block in spec.blocks.values()
              if getattr(block.attention, "kind", "") == "mla"}  # fmt: skip
    return widths <= {128, 192}


def _by_backend(backend: str, name: str) -> str:
    """What a backend that was asked for makes of a name."""
    if backend == "FLASHMLA_SPARSE" and name == "fp8":
        return "fp8_ds_mla"
    if backend == "FLASHINFER_MLA_SPARSE_SM120" and name in ("auto", *_FP8):
        return "fp8_ds_mla"
    packed = {"FLASHMLA_SPARSE": _PACKED, "FLASHINFER_MLA_SPARSE_SM120": _PACKED[:1]}
    plain = ("fp8_e4m3",) if backend == "FLASHMLA_SPARSE" else ()
    if (name in _PACKED and name not in packed.get(backend, ())) or name in plain:
        raise UnsupportedError(f"{backend} has no {name} rows; leave --attention-backend out")
    return name


def _deepseek_v4(name: str, request: VllmFlags) -> str:
    plain_rows = request.attention_backend == "FLASHINFER_MLA_SPARSE_DSV4" and (
        (request.compute_capability or 100) // 10 == 10
    )
    if plain_rows:
        if name in _PACKED:
            raise UnsupportedError(
                f"FLASHINFER_MLA_SPARSE_DSV4 keeps plain rows on SM 10.x, not {name}"
            )
        return name
    if name == "auto" or name.startswith("fp8"):
        return "fp8_ds_mla"
    raise UnsupportedError(
        f"vLLM keeps DeepSeek-V4 in fp8_ds_mla, not in {name}; FLASHINFER_MLA_SPARSE_DSV4 "
        "(--attention-backend) keeps bf16 and plain fp8 on SM 10.x"
    )


def _could_be(
    kind: str, name: str, kv: KvFormat, spec: ModelSpec, request: VllmFlags, rules: Rules
) -> Iterator[str]:
    """The rows of the same name on other GPUs, where none was named."""
    if kind != "sparse" or request.compute_capability is not None or request.attention_backend:
        return
    rows: dict[str, list[str]] = {}
    for gpu, family in _FAMILIES:
        try:
            row = _row(kind, name, spec, changed(request, compute_capability=gpu), rules)
        except UnsupportedError:
            rows.setdefault("refused", []).append(family)
            continue
        rows.setdefault(_plain(row, request.model_dtype), []).append(family)
    if set(rows) - {kv.name, "refused"}:
        said = "; ".join(f"{row} on {', '.join(families)}" for row, families in rows.items())
        yield (
            f"a cache of format {name} is {said}: {kv.name} was taken here; --gpu says which "
            "(--attention-backend where it is given)"
        )

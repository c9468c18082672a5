"""LightLLM: how many tokens its memory managers hold, release 1.2.0.

Files are of lightllm.

* a pool of single tokens of every layer, for all requests together; no pages, and windows are masks. It has
  a token more than it gives out (common/kv_cache_mem_manager/mem_manager.py, _init_buffers);
* tokens: the space that is left after the weights, by the bytes of a token (profile_size), or
  --max_total_token_num;
* keys and values in --data_type, 16 bits here. int8kv and int4kv: a byte or half of one, and a number in
  that format for every 8 channels of a head (ppl_int8kv_mem_manager.py, ppl_int4kv_mem_manager.py).
  fp8kv_sph and fp8kv_spt take a file of scales, and are not accounted for;
* MLA: the latent and the rotary key on every rank, in 16 bits whatever --llm_kv_type is
  (deepseek2_mem_manager.py, mem_utils.py). Mixtral's are in 16 bits as well (models/mixtral/model.py);
* KV heads: divided evenly; qwen2 and its heirs copy them where there are fewer than ranks; gemma's and
  gpt_bigcode's are whole on every rank (each models/<type>/model.py, _verify_params, _init_mem_manager);
* some classes take hidden_size / num_attention_heads for head_dim whatever the config says.

Worked number: llama-3-8b, 32 layers, 8 heads of 128: 2 * 8 * 128 * 2 * 32 = 131,072 bytes a token; int8kv
32 * (2 * 8 * 128 + 2 * 8 * 16 * 2) = 81,920.
"""

from fractions import Fraction
from math import prod

from kvcalc.engines import pages
from kvcalc.engines.holding import Holding, Part
from kvcalc.engines.lightllm.flags import RELEASE, LightllmFlags
from kvcalc.engines.pages import Kept
from kvcalc.engines.result import CapacityResult, Pool
from kvcalc.errors import UnsupportedError, UsageError
from kvcalc.memory.inventory import CacheGroup, groups_of
from kvcalc.spec.model import ModelSpec

# Types whose classes were made here, by what ranks do with KV heads.
_DIVIDED = ("bloom", "gpt_oss", "llama", "mistral", "mixtral", "phi3", "stablelm", "starcoder2")
_COPIED = ("qwen2", "qwen3", "qwen3_moe")
_WHOLE = ("gemma", "gpt_bigcode")
_LATENT = ("deepseek_v2", "deepseek_v3", "glm4_moe_lite")
_ABSENT = {
    "deepseek_v32": "its index keys lie in a row of 144 bytes beside the latent",
    "qwen3_next": "its states lie in a pool of their own",
    "qwen3_5": "its states lie in a pool of their own",
    "qwen3_5_moe": "its states lie in a pool of their own",
}
# Whose classes do not read head_dim.
_QUOTIENT = ("bloom", "gemma", "gpt_bigcode", "mixtral", "starcoder2")
_FORMATS = {
    "auto": 16,
    "None": 16,
    "bf16": 16,
    "fp16": 16,
    "int8kv": 8,
    "int8": 8,
    "int4kv": 4,
    "int4": 4,
}
_LEFT = (
    "--available is what the weights leave, less what --mem_fraction (0.9) keeps free of the device"
)
# Channels of a head that share a scale.
_GROUP = 8


def kept_of(spec: ModelSpec, request: LightllmFlags) -> tuple[Kept, ...]:
    """What each layer keeps on a rank. Raises UnsupportedError and UsageError."""
    version, kind = request.engine_version, spec.model_type or ""
    if version is not None and version.removeprefix("v") != RELEASE:
        raise UnsupportedError(f"LightLLM {version}: its pool is accounted for in {RELEASE}")
    if request.layout.pipeline > 1:
        raise UnsupportedError("LightLLM has no pipeline ranks")
    if kind not in (*_DIVIDED, *_COPIED, *_WHOLE, *_LATENT):
        said = _ABSENT.get(kind, "no class of it was made here")
        raise UnsupportedError(f"{spec.name}: LightLLM {RELEASE}, model_type '{kind}': {said}")
    return tuple(_kept(spec, kind, group, request) for group in groups_of(spec))


def _kept(spec: ModelSpec, kind: str, group: CacheGroup, request: LightllmFlags) -> Kept:
    bits = _bits(request)
    latent, window = kind in _LATENT, None
    if group.mechanism not in (("mla",) if latent else ("mha", "mqa", "gqa")):
        raise UnsupportedError(
            f"{spec.name}: LightLLM's pool of {group.mechanism} is not accounted for"
        )
    rows: list[tuple[str, Part, int, int]] = []
    queries = getattr(spec.blocks[group.block].attention, "num_attention_heads", 1)
    ranks = request.layout.tensor
    if queries % ranks:
        raise UnsupportedError(
            f"{spec.name}: LightLLM divides {queries} query heads evenly: not over {ranks} ranks"
        )
    for tensor in group.tensors:
        window = getattr(tensor.extent, "size", window)
        if latent or kind == "mixtral":
            size = (
                2
                * prod(tensor.shape)
                // (1 if latent else _divisor(spec, kind, tensor.shape[0], ranks))
            )
        else:
            heads, width = tensor.shape
            if kind in _QUOTIENT and width * queries != spec.hidden_size:
                raise UnsupportedError(
                    f"{spec.name}: LightLLM's class of {kind} takes heads of hidden_size / "
                    f"num_attention_heads, and these are {width} wide"
                )
            size = heads // _divisor(spec, kind, heads, ranks) * _head(spec, width, bits)
        rows.append((tensor.name, "kv", size, size))
    return Kept(block=group.block, mechanism=group.mechanism, layers=group.layers, rows=tuple(rows),
                window=window, masked=window is not None)  # fmt: skip


def _bits(request: LightllmFlags) -> int:
    name = request.kv_dtype or "auto"
    if name.startswith("fp8kv"):
        raise UnsupportedError(
            f"--kv-dtype {name}: LightLLM reads its scales from a file: not accounted for"
        )
    if name not in _FORMATS:
        raise UsageError(f"--kv-dtype {name}: LightLLM has auto, int8kv and int4kv")
    return _FORMATS[name]


def _head(spec: ModelSpec, width: int, bits: int) -> int:
    """Bytes of one head of a token."""
    if bits == 16:
        return 2 * width
    if width % _GROUP:
        raise UnsupportedError(
            f"{spec.name}: LightLLM quantises groups of {_GROUP} channels, not {width}"
        )
    return width * bits // 8 + width // _GROUP * 2


def _divisor(spec: ModelSpec, kind: str, heads: int, ranks: int) -> int:
    """Among how many ranks KV heads are divided."""
    if kind in _WHOLE:
        return 1
    if heads % ranks == 0:
        return ranks
    if kind in _COPIED and ranks % heads == 0:
        return heads
    raise UnsupportedError(
        f"{spec.name}: LightLLM divides {heads} KV heads evenly: not over {ranks} ranks"
    )


def hold(spec: ModelSpec, request: LightllmFlags) -> Holding:
    """Tokens of one sequence of max_model_len. Raises as ``kept_of`` does."""
    kept = kept_of(spec, request)
    return pages.hold(
        (kept,), request.max_model_len or 1, 1,
        version=RELEASE,
        formats={"kv": "rows as LightLLM stores them: scales beside each head", "index": "", "state": ""},
        rules=("a token at a time, of all layers (MemoryManager)",),
        notes=_notes(spec, request, kept),
    )  # fmt: skip


def _notes(spec: ModelSpec, request: LightllmFlags, kept: tuple[Kept, ...]) -> tuple[str, ...]:
    said = []
    if spec.model_type in ("mixtral", *_LATENT) and _bits(request) < 16:
        said.append(f"LightLLM keeps {spec.model_type} in 16 bits, whatever --llm_kv_type says")
    if any(one.masked for one in kept):
        said.append("windows are masks: every layer keeps every token")
    return tuple(said)


def capacity(spec: ModelSpec, request: LightllmFlags) -> CapacityResult:
    """The tokens of a memory. Raises UsageError where nothing says it, or it holds none."""
    kept = kept_of(spec, request)
    cell = sum(one.row_bytes * len(one.layers) for one in kept)
    memory, tokens = request.available, request.tokens
    if memory is not None and tokens is not None:
        raise UsageError("--tokens is the whole pool, whatever --available says: give one of them")
    if tokens is None:
        if memory is None:
            raise UsageError(
                "say how large the cache is: --tokens N (max_total_token_num), or --available SIZE"
            )
        tokens = memory.bytes // cell
        if not tokens:
            raise UsageError(f"{memory} holds no token of {cell:,} bytes")
    longest = request.max_model_len or spec.max_position_embeddings
    return CapacityResult(
        engine="lightllm",
        version=RELEASE,
        model=spec.name,
        pool=Pool(
            available_bytes=memory.bytes if memory else None,
            block_tokens=1,
            bytes_per_block=cell,
            num_blocks=tokens,
            tokens=tokens,
            max_concurrency=Fraction(tokens, longest) if longest else None,
            blocks_per_request=longest,
            bytes_per_request=longest * cell if longest else None,
            estimated_max_model_len=tokens,
            bytes=(tokens + 1) * cell,
        ),
        max_model_len=longest,
        logical_bytes_per_request=pages.need(spec, longest),
        groups=pages.paged(kept, 1),
        rules=("the tokens that a memory holds, and one that is never given out (MemoryManager)",),
        notes=(_LEFT, *_notes(spec, request, kept)),
    )  # fmt: skip

"""What one pipeline rank of TensorRT-LLM holds: bytes of a token by window, bytes of a state."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from kvcalc.dtypes import CacheDtypes
from kvcalc.engines.pooled import refuse_ngrams, refuse_pools
from kvcalc.engines.tensorrt_llm.flags import TensorrtLlmFlags
from kvcalc.errors import UnsupportedError, UsageError
from kvcalc.memory.cache import tensor_bytes
from kvcalc.spec.layers import decoder_layers
from kvcalc.spec.model import Block, ModelSpec
from kvcalc.tensors import CacheTensor, Chunk, EveryToken, Window

BLOCK_TOKENS = 32
KV_DTYPES = {
    "bf16": "bf16", "bfloat16": "bf16", "fp16": "fp16", "float16": "fp16", "fp8": "fp8",
    "fp32": "fp32", "float32": "fp32", "int8": "int8", "nvfp4": "nvfp4", "fp4": "nvfp4",
}  # fmt: skip
_ATTENTION = {"mha", "mqa", "gqa", "mla"}
_RECURRENT = {"mamba2", "gated_deltanet", "kda"}


@dataclass
class Rank:
    """What one pipeline rank holds. windows: window (None: all tokens) -> layers and their bytes.

    conv, state: bytes of one request's states. rounded_up: what rounding heads up adds to a token.
    """

    windows: dict[int | None, "OfWindow"] = field(default_factory=dict)
    state_layers: int = 0
    conv: int = 0
    state: int = 0
    rounded_up: int = 0


@dataclass
class OfWindow:
    mechanism: str
    layers: int = 0
    k: int = 0
    v: int = 0
    index: int = 0

    @property
    def token_bytes(self) -> int:
        return self.k + self.v + self.index


def stages_of(spec: ModelSpec, ranks: int) -> Iterator[range]:
    """numpy.array_split: the first ranks get what is left over (Mapping.pp_layers)."""
    layers = len(decoder_layers(spec))
    if ranks > layers:
        raise UsageError(f"{layers} layers cannot fill {ranks} pipeline ranks")
    share, rest = divmod(layers, ranks)
    start = 0
    for rank in range(ranks):
        stop = start + share + (rank < rest)
        yield range(start, stop)
        start = stop


def declared(spec: ModelSpec) -> str | None:
    """What ``auto`` takes of hf_quant_config.json (pyexecutor/model_loader.py,
    validate_and_set_kv_cache_quant: "Using checkpoint KV quantization")."""
    return {"fp8": "fp8", "nvfp4": "nvfp4"}.get(spec.declared_cache.get("modelopt", ""))


def dtypes_of(spec: ModelSpec, request: TensorrtLlmFlags) -> tuple[CacheDtypes, CacheDtypes]:
    """The formats of keys and values, and of convolutions and states."""
    model = KV_DTYPES.get(request.model_dtype, "bf16")
    name = request.kv_dtype or "auto"
    name = declared(spec) or model if name == "auto" else name
    if name not in KV_DTYPES:
        raise UsageError(f"--kv-dtype {name}: TensorRT-LLM has auto, {', '.join(KV_DTYPES)}")
    chosen = KV_DTYPES[name]
    return CacheDtypes(chosen, chosen, request.state_dtype), CacheDtypes(
        model, model, request.state_dtype
    )


def rank_of(spec: ModelSpec, request: TensorrtLlmFlags, stage: range) -> Rank:
    if spec.encoder is not None or spec.recursion is not None:
        raise UnsupportedError(f"TensorRT-LLM's pools for {spec.name} are not accounted for")
    rank = Rank()
    layers = decoder_layers(spec)
    for name, count in Counter(layer.block for layer in layers if layer.index in stage).items():
        _add_layer(spec, spec.blocks[name], count, request, rank)
    if request.mtp_layers and stage.stop == len(layers):
        # get_pp_layers: the last rank holds the layers that speculate.
        if spec.mtp is None:
            raise UsageError(f"{spec.name} has no MTP layers: leave --mtp-layers out")
        attention = spec.blocks[spec.mtp.block].attention
        _add_attention(
            spec, attention, request.mtp_layers, dtypes_of(spec, request)[0], request, rank
        )
    if not rank.windows:
        raise UnsupportedError(f"TensorRT-LLM's cache without attention layers ({spec.name})")
    return rank


def one_layer(spec: ModelSpec, block: Block, request: TensorrtLlmFlags) -> Rank:
    """What a rank holds of one layer of this block."""
    rank = Rank()
    _add_layer(spec, block, 1, request, rank)
    return rank


def _add_layer(
    spec: ModelSpec, block: Block, count: int, request: TensorrtLlmFlags, rank: Rank
) -> None:
    kv, states = dtypes_of(spec, request)
    refuse_ngrams("TensorRT-LLM", block)
    if block.cross_attention is not None:
        raise UnsupportedError("TensorRT-LLM's cross-attention pool is not accounted for")
    if block.attention is not None:
        _add_attention(spec, block.attention, count, kv, request, rank)
    if block.recurrent is not None:
        _add_state(block.recurrent, count, states, request, rank)


def _add_attention(
    spec: ModelSpec, attention: Any, count: int, kv: CacheDtypes, request: TensorrtLlmFlags,
    rank: Rank,
) -> None:  # fmt: skip
    if attention.kind not in _ATTENTION:
        raise UnsupportedError(f"TensorRT-LLM's pool for {attention.kind} is not accounted for")
    if getattr(attention, "shared_kv", None) is not None:
        raise UnsupportedError(f"TensorRT-LLM's pools for layers that share K and V ({spec.name})")
    refuse_pools("TensorRT-LLM", attention)
    tensors = tuple(attention.cache())
    if not tensors:
        raise UnsupportedError("TensorRT-LLM keeps nothing for bidirectional layers")
    window = _window_of(tensors[0], request)
    own = rank.windows.setdefault(window, OfWindow(attention.kind))
    own.layers += count
    for tensor in tensors:
        if tensor.role == "index":
            width = tensor.shape[0]
            own.index += (width + width // 128 * 4) * count
            continue
        one = _rank_bytes(tensor, kv, request.layout.tensor)
        if tensor.role == "value":
            own.v += one * count
        else:
            own.k += one * count
        if tensor.shard is not None and request.layout.tensor > 1:
            total = tensor_bytes(tensor, kv)
            rank.rounded_up += (one - total // request.layout.tensor) * count


def _rank_bytes(tensor: CacheTensor, kv: CacheDtypes, ranks: int) -> int:
    """Bytes of one token on a rank: heads are rounded up, never refused."""
    if tensor.shard is None or ranks == 1:
        return tensor_bytes(tensor, kv)
    heads = tensor.shape[0]
    return tensor_bytes(tensor, kv) // heads * -(-heads // ranks)


def _window_of(tensor: CacheTensor, request: TensorrtLlmFlags) -> int | None:
    match tensor.extent:
        case EveryToken():
            return None
        case Window(size) | Chunk(size):
            longest = request.max_model_len
            whole = request.hybrid_manager is False or (longest is not None and size >= longest)
            return None if whole else size
    raise UnsupportedError(f"TensorRT-LLM keeps no such positions: {tensor.extent}")


def _add_state(
    mixer: Any, count: int, states: CacheDtypes, request: TensorrtLlmFlags, rank: Rank
) -> None:
    if mixer.kind not in _RECURRENT:
        raise UnsupportedError(f"TensorRT-LLM's states of {mixer.kind} are not accounted for")
    rank.state_layers += count
    for tensor in mixer.cache():
        num_bytes = tensor_bytes(tensor, states, request.layout.tensor) * count
        if tensor.role == "conv":
            rank.conv += num_bytes
        else:
            rank.state += num_bytes

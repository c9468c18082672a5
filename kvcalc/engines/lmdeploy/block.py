"""One block of lmdeploy's PyTorch engine on one rank, release 0.18.0.

Files are of lmdeploy/pytorch.

* 64 tokens of every layer, keys and values apart, each rounded up to 256 bytes (engine/cache_engine/
  schema.py, CacheDesc; layout.py, PackedBlockCacheLayout); windows of gpt-oss are masks: all layers
  keep all tokens;
* int8 and int4: a scale and a zero a token and head in the model's format for keys and for values;
  turbo_quant: keys of 4 bits with two numbers, values of 2 bits with one (build_quant_cache_descs); fp8 one
  byte, its scale per tensor;
* MLA: one head of kv_lora_rank + qk_rope_head_dim as keys, nothing as values but their scales, whole on
  every rank (configurations/deepseek_v2.py). MiniCPM3 keeps keys and values of every head, as wide as
  the keys;
* KV heads: divided, or copied where there are fewer than ranks (configurations/builder.py,
  update_num_kv_heads);
* gated DeltaNet: a slot a request, convolutions of K columns and states in the model's format, of
  max_batch_size and two more (engine/executor/base.py, _get_state_cache_mem).

Worked number: llama-3-8b, 32 layers, 8 heads of 128: 64 * 2 * 8 * 128 * 2 * 32 = 8,388,608 bytes; in int4
64 * 2 * 8 * (64 + 4) * 32 = 2,228,224.
"""

from math import prod

from kvcalc.engines.admission import up
from kvcalc.engines.holding import Part
from kvcalc.engines.lmdeploy.flags import LmdeployFlags
from kvcalc.engines.lmdeploy.models import check_model
from kvcalc.engines.pages import Kept
from kvcalc.errors import UnsupportedError, UsageError
from kvcalc.memory.inventory import CacheGroup, groups_of
from kvcalc.spec.model import ModelSpec

BLOCK, ALIGNED = 64, 256
# Bits of keys and values, and numbers a token and head beside them.
_POLICIES = {
    "int8": (8, 8, 2, 2), "int4": (4, 4, 2, 2), "turbo_quant": (4, 2, 2, 1),
    "fp8": (8, 8, 0, 0), "fp8_e5m2": (8, 8, 0, 0),
}  # fmt: skip
# As --quant-policy takes them, too.
_NUMBERS = {
    "none": "auto", "0": "auto", "4": "int4", "8": "int8", "16": "fp8", "17": "fp8_e5m2", "42":
    "turbo_quant",
    "fp8_e4m3": "fp8",
}  # fmt: skip
_MODEL = ("auto", "bf16", "fp16", "bfloat16", "float16")


def kept_of(spec: ModelSpec, request: LmdeployFlags) -> tuple[Kept, ...]:
    """What each layer keeps on a rank. Raises UnsupportedError and UsageError."""
    check_model(spec, request.engine_version)
    if request.layout.pipeline > 1:
        raise UnsupportedError("lmdeploy's PyTorch engine has no pipeline ranks")
    return tuple(_kept(spec, group, request) for group in groups_of(spec))


def _kept(spec: ModelSpec, group: CacheGroup, request: LmdeployFlags) -> Kept:
    if group.mechanism == "gated_deltanet":
        return _slot(group, request)
    heads, width, values = _heads(spec, group, request)
    asked = request.kv_dtype or "auto"
    name = _NUMBERS.get(asked, asked)
    if name not in _POLICIES and name not in _MODEL:
        raise UsageError(f"--kv-dtype {name}: lmdeploy has auto, {', '.join(_POLICIES)}")
    k_bits, v_bits, k_more, v_more = _POLICIES.get(name, (16, 16, 0, 0))
    sizes = (
        ("k", width * k_bits // 8), ("v", values * v_bits // 8),
        ("scales of k", 2 * k_more), ("scales of v", 2 * v_more),
    )  # fmt: skip
    rows: list[tuple[str, Part, int, int]] = []
    for part, each in sizes:
        if each:
            block = request.block_size or BLOCK
            taken, rest = divmod(up(each * heads * block, ALIGNED), block)
            if rest:
                raise UsageError(
                    f"--block-size {block}: blocks of 16, 32, 64 or 128 tokens are accounted for"
                )
            rows.append((part, "kv", taken, each * heads))
    window = next((getattr(one.extent, "size", None) for one in group.tensors), None)
    return Kept(block=group.block, mechanism=group.mechanism, layers=group.layers, rows=tuple(rows),
                window=window, masked=window is not None)  # fmt: skip


def _heads(spec: ModelSpec, group: CacheGroup, request: LmdeployFlags) -> tuple[int, int, int]:
    """(heads on a rank, width of a key head, of a value head)."""
    ranks = request.layout.tensor
    queries = getattr(spec.blocks[group.block].attention, "num_attention_heads", ranks)
    if queries % ranks:
        raise UnsupportedError(f"{spec.name}: lmdeploy divides {queries} query heads evenly: not over "
                               f"{ranks} ranks (ModelConfig.from_hf_config)")  # fmt: skip
    shapes = {tensor.name: tensor.shape for tensor in group.tensors}
    if group.mechanism == "mla" and spec.model_type != "minicpm3":
        return 1, sum(prod(shape) for shape in shapes.values()), 0
    if group.mechanism == "mla":
        own = spec.blocks[group.block].attention
        heads = own.num_attention_heads  # type: ignore[union-attr]
        width = values = own.qk_nope_head_dim + own.qk_rope_head_dim  # type: ignore[union-attr]
    elif group.mechanism in ("mha", "mqa", "gqa"):
        (heads, width), (_, values) = shapes["key"], shapes["value"]
    else:
        raise UnsupportedError(
            f"{spec.name}: lmdeploy's cache of {group.mechanism} is not accounted for"
        )
    if heads % ranks and ranks % heads:
        raise UnsupportedError(f"{spec.name}: lmdeploy divides {heads} KV heads over ranks, or copies them "
                               f"to a multiple: not over {ranks} (ModelConfig.from_hf_config)")  # fmt: skip
    return max(1, heads // ranks), width, values


def _slot(group: CacheGroup, request: LmdeployFlags) -> Kept:
    rows: list[tuple[str, Part, int, int]] = []
    if request.layout.tensor > 1:
        raise UnsupportedError("lmdeploy's states over tensor parallel ranks are not accounted for")
    for tensor in group.tensors:
        values = prod(tensor.shape)
        columns = tensor.shape[-1] if tensor.role == "conv" else 0
        taken = values // columns * (columns + 1) if columns else values
        rows.append((tensor.name, "state", 2 * taken, 2 * values))
    return Kept(block=group.block, mechanism=group.mechanism, layers=group.layers, rows=tuple(rows),
                once=True)  # fmt: skip


def block_bytes(kept: tuple[Kept, ...], block: int) -> int:
    """Of a block on a rank."""
    return sum(one.row_bytes * block * len(one.layers) for one in kept if not one.once)


def slot_bytes(kept: tuple[Kept, ...]) -> int:
    """Of a request's states."""
    return sum(one.row_bytes * len(one.layers) for one in kept if one.once)

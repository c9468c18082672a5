"""Pages, blocks and sectors of transformers' ``PagedAttentionCache``, release 5.24.0.

Files are of transformers/generation/continuous_batching.

* a page is ``page_size`` tokens (256) of one layer, keys and values (cache_allocators/full_attention.py,
  get_bytes_per_page); a block is a page of every layer of a kind, full or sliding; a model has at most
  two kinds, and layers that read another layer's keys and values are counted among theirs
  (cache.py, group_layers_by_attn_type);
* a sector is the least common multiple of the kinds' blocks and 128 bytes; it is given to one kind, all of
  it, and two more that are never given out lead the tensor (PagedAttentionCache.__init__);
* a sequence has ceil(tokens / page) blocks of full layers, and of sliding ones a ring of
  ceil(min(tokens, W) / page) (sliding_attention.py, _compute_blocks_needed);
* tensor parallelism divides the KV heads evenly or not at all, as the class's plan says
  (distributed.py, are_kv_heads_tp_ed);
* one width of heads for all layers (utils.py, find_head_dim, find_num_key_value_heads).

Worked number: gemma-3-1b, one KV head of 256, 22 sliding and 4 full layers, bf16: a page is 262,144
bytes, blocks are 22 and 4 pages, a sector is lcm(22, 4) = 44 pages, 11 MiB; one token takes two of them.
"""

from math import lcm
from typing import Any

from kvcalc.attention.mha_mqa_gqa import SoftmaxAttention
from kvcalc.engines.pages import Kept
from kvcalc.engines.transformers_cb.flags import TransformersCbFlags
from kvcalc.engines.transformers_cb.models import UNDIVIDED, check_model
from kvcalc.errors import UnsupportedError, UsageError
from kvcalc.frozen import frozen
from kvcalc.spec.layers import decoder_layers
from kvcalc.spec.model import ModelSpec

PAGE_TOKENS = 256
# What every sector is a multiple of, and the sectors that are never given out.
ALIGNED, TRASH = 128, 2
_FORMATS = {
    "auto": "", "bf16": "bf16", "bfloat16": "bf16", "fp16": "fp16", "float16": "fp16",
    "fp32": "fp32", "float32": "fp32",
}  # fmt: skip


@frozen
class Kind:
    """Full layers, or sliding ones. window: tokens of the ring. layers: of this kind."""

    window: int | None
    layers: int

    def blocks(self, tokens: int, page: int) -> int:
        """Blocks of a sequence."""
        rows = tokens if self.window is None else min(tokens, self.window)
        return -(-rows // page)


@frozen(kw_only=True)
class Paged:
    """A model's cache on one rank. heads, head_dim: of keys, as each of values."""

    page: int
    heads: int
    query_heads: int
    head_dim: int
    element: int
    kinds: tuple[Kind, ...]
    kept: tuple[Kept, ...]

    @property
    def page_bytes(self) -> int:
        return 2 * self.heads * self.head_dim * self.element * self.page

    @property
    def sector_bytes(self) -> int:
        return lcm(*(kind.layers * self.page_bytes for kind in self.kinds), ALIGNED)

    def blocks_per_sector(self, kind: Kind) -> int:
        return self.sector_bytes // (kind.layers * self.page_bytes)

    def sectors(self, tokens: int, sequences: int = 1) -> int:
        """Sectors that equal sequences take of an empty cache."""
        return sum(
            -(-sequences * kind.blocks(tokens, self.page) // self.blocks_per_sector(kind))
            for kind in self.kinds
        )

    def rest_bytes(self, tokens: int, sequences: int) -> int:
        """What the sectors hold beyond the sequences' own blocks."""
        own = sum(kind.blocks(tokens, self.page) * kind.layers for kind in self.kinds)
        return (
            self.sectors(tokens, sequences) * self.sector_bytes - own * self.page_bytes * sequences
        )


def element_bytes(request: TransformersCbFlags) -> int:
    """Of the cache, which is in the model's format. Raises UsageError for another one."""
    name = _FORMATS.get(request.kv_dtype or "auto")
    if name is None:
        raise UsageError(
            f"--kv-dtype {request.kv_dtype}: continuous batching keeps keys and values in the model's "
            "format: bf16, fp16 or fp32"
        )
    return 4 if (name or request.model_dtype) == "fp32" else 2


def paged(spec: ModelSpec, request: TransformersCbFlags) -> Paged:
    """The cache's geometry on a rank.

    Raises UnsupportedError for a model that continuous batching does not run and for pipeline ranks,
    UsageError for flags that it refuses.
    """
    check_model(spec, request.engine_version)
    page = request.block_size or PAGE_TOKENS
    if page < 4:
        raise UsageError("--block-size: page_size must be at least 4 (check_cb_values_bounds)")
    if request.layout.pipeline > 1:
        raise UnsupportedError("continuous batching has no pipeline ranks")
    first, found = _layers(spec)
    heads = first.num_key_value_heads
    ranks = 1 if spec.model_type in UNDIVIDED else request.layout.tensor
    if heads % ranks:
        raise UnsupportedError(
            f"{spec.name}: continuous batching divides KV heads evenly: --tp that divides {heads}, "
            f"not {ranks} (PagedAttentionCache.__init__)"
        )
    element = element_bytes(request)
    row = heads // ranks * first.head_dim * element
    counts: dict[int | None, int] = {}
    for window, _, layers, _ in found:
        counts[window] = counts.get(window, 0) + len(layers)
    return Paged(
        page=page, heads=heads // ranks, query_heads=first.num_attention_heads // ranks,
        head_dim=first.head_dim, element=element,
        kinds=tuple(Kind(window, count) for window, count in counts.items()),
        kept=tuple(
            Kept(block=block, mechanism=first.kind, layers=layers, window=window, idle=idle,
                 rows=(("k", "kv", row, row), ("v", "kv", row, row)))
            for window, block, layers, idle in found
        ),
    )  # fmt: skip


def _layers(
    spec: ModelSpec,
) -> tuple[SoftmaxAttention, list[tuple[int | None, str, tuple[int, ...], bool]]]:
    """A layer's attention, which all resemble; (window, block, layers, reads another's) of each block."""
    blocks: dict[str, list[int]] = {}
    for layer in decoder_layers(spec):
        blocks.setdefault(layer.block, []).append(layer.index)
    wide: dict[tuple[int, int, int], Any] = {}
    found: list[tuple[int | None, str, tuple[int, ...], bool]] = []
    for name, layers in blocks.items():
        own: Any = spec.blocks[name].attention
        if own is None or own.kind not in ("mha", "mqa", "gqa", "differential"):
            raise UnsupportedError(
                f"{spec.name}: continuous batching has no pages for block {name}"
            )
        values = getattr(own, "v_head_dim", None) or own.head_dim
        wide.setdefault((own.num_key_value_heads, own.head_dim, values), own)
        reads = getattr(own, "shared_kv", None) is not None
        found.append((getattr(own, "sliding_window", None), name, tuple(layers), reads))
    (_, keys, values), first = next(iter(wide.items()))
    if len(wide) > 1 or keys != values:
        raise UnsupportedError(
            f"{spec.name}: continuous batching has one width of heads for all layers, keys and values "
            "(find_head_dim)"
        )
    if len({window for window, *_ in found if window is not None}) > 1:
        raise UnsupportedError(f"{spec.name}: continuous batching has one window for all layers")
    return first, found

"""DeepSeek-V4's pages: a window, compressed entries, index keys and the compressors' states.

Each layer has several caches, each with a block of its own (vllm/models/deepseek_v4/attention.py,
compressor.py, and v1/attention/backends/mla/sparse_swa.py):

    window            584 B a token, blocks of 64                     DeepseekV4SWACache
    entries           584 B per 4 (CSA) or 128 (HCA) tokens           DeepseekV4Attention
    index keys        132 B per 4 tokens (CSA)                        DeepseekV4IndexerCache
    compressor state  fp32, blocks of 4 tokens (CSA, and its indexer) CompressorStateCache
                      or 8 (HCA), a window of 8 or 128 tokens

584 = 448 e4m3 + 64 bf16 + 8 scales (``fp8_ds_mla``); pages are rounded up to 576 bytes, without
that layout to 512. Entries of CSA: 64 * 584 = 37,376, a page of 37,440 bytes.

The blocks of all these caches come from one pool. Up to 0.28 (``group_and_unify_kv_cache_specs``,
``_get_kv_cache_groups_uniform_groups``) a block has room for n "tuples" of one page of each size of
entries, 37,440 + 1,728 + 8,640 = 47,808 bytes; n makes the least padding over the groups' layer
counts (``_approximate_gcd``): DeepSeek-V4-Flash has 21 CSA, 20 HCA and 43 window layers, so n = 22
and a block takes 1,051,776 bytes. The pool packs pages already since 0.24: 1,039,680 bytes, and
1,002,240 since 0.27, while needs were counted in tuples. Since 0.29
(``_get_packed_kv_cache_groups``) both are as wide as the widest group, 1,002,240 bytes there.

Worked number: two GH200, 30,000 tokens: 118 + 2 * 259 + 4,099 + 2,065 = 6,800 blocks of 1,051,776
bytes are 6.66 GiB (github.com/vllm-project/vllm/issues/44376).
"""

from collections import Counter
from collections.abc import Iterator
from typing import Any

from kvcalc.engines.vllm.formats import KvFormat, index_key_bytes
from kvcalc.engines.vllm.page import Entry, Page, paged
from kvcalc.errors import UnsupportedError
from kvcalc.frozen import changed

_WINDOW_BLOCK = 64
_ROW_BYTES = 584


def _padded(page: Page, packed: bool) -> Page:
    alignment = 576 if packed else 512
    return page.with_page(-(-page.page_bytes // alignment) * alignment)


def pages(attention: Any, tokens: int, kv: KvFormat) -> Iterator[Page]:
    """The pages of one layer, entries first, with main blocks of ``tokens``."""
    packed = kv.name == "fp8_ds_mla"
    if not packed and kv.plain_bytes is None:
        raise UnsupportedError(
            f"vLLM keeps DeepSeek-V4 in fp8_ds_mla, bf16 or fp8, not in {kv.name}"
        )
    row = _ROW_BYTES if packed else attention.head_dim * (kv.plain_bytes or 0)
    name = attention.kind
    if attention.kind != "v4_window":
        rate = attention.compress_rate
        if rate > tokens:
            raise UnsupportedError(
                f"vLLM: a block of {tokens} tokens holds no entry of {name} with a compress_rate of {rate}"
            )
        yield _padded(
            paged("latent", name, row, tokens, tokens_per_state=rate, layout=(rate, kv.name)),
            packed,
        )
        overlap = 2 if attention.kind == "csa" else 1
        if attention.kind == "csa":
            width = attention.index_head_dim
            yield _padded(
                paged("index", "indexer", index_key_bytes(width), tokens,
                      tokens_per_state=rate, layout=(width,)), packed)  # fmt: skip
            yield _state(attention.index_head_dim, rate, overlap, packed)
        yield _state(attention.head_dim, rate, overlap, packed)
    yield _padded(
        paged("latent_window", f"{name} window", row, _WINDOW_BLOCK,
              window=attention.sliding_window, layout=(kv.name,)), packed)  # fmt: skip


def _state(width: int, rate: int, overlap: int, packed: bool) -> Page:
    """A compressor's values and gates in fp32; its window is one block, or two that overlap."""
    num_bytes = 2 * overlap * width * 4
    block = 4 if overlap == 2 else 8
    return _padded(
        paged("latent_window", "compressor state", num_bytes, block,
              window=overlap * rate, layout=(width, "fp32")), packed)  # fmt: skip


def approximate_gcd(values: list[int], lower: int) -> int:
    """The size of a share that pads the counts least; the largest of equals (_approximate_gcd)."""

    def padding(share: int) -> int:
        return sum(-value % share for value in values)

    return min(
        range(lower, max(max(values), lower) + 1), key=lambda share: (padding(share), -share)
    )


def _per_size(entries: list[Entry]) -> dict[int, list[Entry]]:
    sizes: dict[int, list[Entry]] = {}
    for entry in entries:
        sizes.setdefault(entry.page.page_bytes, []).append(entry)
    return sizes


def _most_common(entries: list[Entry]) -> int:
    return max(Counter(entry.page.page_bytes for entry in entries).values())


def tuple_groups(entries: list[Entry]) -> tuple[list[list[Entry]], int]:
    """Groups and bytes of a block up to 0.28: (groups, bytes per block)."""
    main = [entry for entry in entries if entry.page.kind in ("latent", "index")]
    others: dict[tuple[int, int | None], list[Entry]] = {}
    for entry in entries:
        if entry.page.kind == "latent_window":
            others.setdefault((entry.page.block_tokens, entry.page.window), []).append(entry)
    sizes = sorted({entry.page.page_bytes for entry in main})
    counts = [_most_common(main), *(_most_common(group) for group in others.values())]
    share = approximate_gcd(counts, counts[0])
    groups = [main]
    for group in others.values():
        aligned = [changed(entry, page=_up_to(entry.page, sizes)) for entry in group]
        by_size = _per_size(aligned)
        parts = -(-len(next(iter(by_size.values()))) // share)
        rows = list(zip(*by_size.values(), strict=True))
        groups += [[entry for row in rows[part::parts] for entry in row] for part in range(parts)]
    return groups, sum(sizes) * max(_most_common(group) for group in groups)


def slot_bytes(groups: list[list[Entry]]) -> int:
    """A block with as many pages of each size as some group has (_get_kv_cache_config_packed)."""
    most: Counter[int] = Counter()
    for group in groups:
        most |= Counter(entry.page.page_bytes for entry in group)
    return sum(size * count for size, count in most.items())


def _up_to(page: Page, sizes: list[int]) -> Page:
    larger = [size for size in sizes if size >= page.page_bytes]
    if not larger:
        raise UnsupportedError(
            f"a page of {page.page_bytes} bytes is larger than any page of entries"
        )
    return page.with_page(larger[0])


def packed_groups(entries: list[Entry]) -> tuple[list[list[Entry]], int]:
    """Groups and bytes of a block since 0.29, where pages lie side by side in a block."""
    buckets: dict[tuple[Any, ...], list[Entry]] = {}
    for entry in entries:
        buckets.setdefault((entry.page.block_tokens, *entry.page.family), []).append(entry)
    sized = [(bucket, _per_size(bucket)) for bucket in buckets.values()]
    balanced = [len({len(group) for group in sizes.values()}) == 1 for _, sizes in sized]
    lower = max(
        (_most_common(bucket) for (bucket, sizes), even in zip(sized, balanced, strict=True)
         if even and len(sizes) > 1), default=0)  # fmt: skip
    repeats = 0
    if lower:
        counts = [_most_common(b) for (b, _), even in zip(sized, balanced, strict=True) if even]
        repeats = approximate_gcd(counts, lower)
    groups: list[list[Entry]] = []
    for (bucket, sizes), even in zip(sized, balanced, strict=True):
        parts = -(-_most_common(bucket) // repeats) if even and repeats else 1
        rows = list(zip(*sizes.values(), strict=True)) if parts > 1 else []
        if parts == 1:
            groups.append(bucket)
        groups += [[e for row in rows[part::parts] for e in row] for part in range(parts) if rows]
    widest = max(sum(entry.page.page_bytes for entry in group) for group in groups)
    return groups, widest

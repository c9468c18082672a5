"""How layers share blocks: groups, one page size, padding layers (``get_kv_cache_groups``).

All groups draw block ids from one pool, so a block is as large as the widest group's pages of one
block. In order (v1/core/kv_cache_planning.py; kv_cache_utils.py before 0.29):

1. equal layers, or layers of one kind with equal blocks, are one group; a block holds each layer's
   own page (``_get_kv_cache_groups_uniform_spec``, ``_get_kv_cache_groups_uniform_type``);
2. DeepSeek-V4: see deepseek_v4.py;
3. else pages are brought to the largest: attention takes longer blocks where that divides, anything
   else is padded (``unify_kv_cache_spec_page_size``);
4. and layers are dealt into groups of equal size, the count of the rarest kind, or of the most
   frequent one where that is less than 1.5 times it. What is missing is padding: slots that own
   memory and that no layer uses (``_get_kv_cache_groups_uniform_page_size``).

Without the hybrid manager windows and chunks are billed as full attention
(``unify_hybrid_kv_cache_specs``); vLLM turns it off by itself for chunked attention, and stops where
that does not make all layers one kind.
"""

from collections.abc import Iterable, Sequence
from functools import cached_property

from kvcalc.engines.vllm import deepseek_v4
from kvcalc.engines.vllm.page import Entry, Kind, Page
from kvcalc.engines.vllm.versions import Rules
from kvcalc.errors import UnsupportedError
from kvcalc.frozen import changed, frozen, remembered


@frozen
class Group:
    """Layers with one block table. padding: slots beside them that no layer uses."""

    entries: tuple[Entry, ...]
    padding: int = 0

    @property
    def page(self) -> Page:
        """The page that decides how many blocks a request takes: they all agree."""
        return self.entries[0].page


@frozen
class Layout:
    """All groups of a model.

    fixed_bytes: of a block, where it does not follow from the groups. pool_bytes: of a block of the
    pool, where that differs from the block in which needs are counted.
    """

    groups: tuple[Group, ...]
    rules: tuple[str, ...]
    fixed_bytes: int | None = None
    pool_bytes: int | None = None

    @cached_property
    def pages(self) -> tuple[Page, ...]:
        """What decides the blocks of each group."""
        return tuple([group.page for group in self.groups])

    def bytes_per_block(self, layers: Iterable[int] | None = None) -> int:
        """Bytes of a block on a worker that has these layers (all of them when None)."""
        if self.fixed_bytes is not None:
            return self.fixed_bytes
        mine = None if layers is None else frozenset(layers)
        if mine not in self._widths:
            widths = [0] * len(self.groups)
            for layer in self._pages if mine is None else self._pages.keys() & mine:
                for group, page_bytes in self._pages[layer]:
                    widths[group] += page_bytes
            self._widths[mine] = max(widths)
        return self._widths[mine]

    @cached_property
    def _pages(self) -> dict[int, list[tuple[int, int]]]:
        """For each layer its pages: the group's number, and bytes."""
        pages: dict[int, list[tuple[int, int]]] = {}
        for number, group in enumerate(self.groups):
            for entry in group.entries:
                pages.setdefault(entry.layer, []).append((number, entry.page.page_bytes))
        return pages

    @cached_property
    def _widths(self) -> dict[frozenset[int] | None, int]:
        """What was asked for so far, by the layers."""
        return {}

    def width(self, layers: Iterable[int]) -> int:
        """Bytes of a block of the pool on a worker that has these layers."""
        return self.pool_bytes or self.bytes_per_block(layers)


def promote(entries: Sequence[Entry], rules: Rules) -> list[Entry]:
    """Windows and chunks beside full attention, billed as full attention.

    Raises UnsupportedError where vLLM does: other kinds remain, or the windows differ in size
    (``FullAttentionSpec.merge_window_sizes``).
    """
    kinds: dict[Kind, Kind] = {"window": "full", "chunk": "full", "latent_window": "latent"}
    promoted = list(entries)
    if any(entry.page.kind in ("full", "latent") for entry in entries):
        promoted = [
            changed(entry, page=changed(entry.page, kind=kinds[entry.page.kind], window=None))
            if entry.page.kind in kinds
            else entry
            for entry in entries
        ]
    if rules.hybrid_pool:
        sizes = {
            (e.page.kind, e.page.window) for e in entries if e.page.kind in ("window", "chunk")
        }
        if len({entry.page.family for entry in promoted}) > 1:
            raise UnsupportedError(
                "vLLM needs its hybrid KV cache manager for this model: without it all layers must be "
                "of one kind (unify_hybrid_kv_cache_specs)"
            )
        if len(sizes) > 1:
            raise UnsupportedError(
                "vLLM cannot bill windows of different sizes as full attention: leave the hybrid "
                "manager on (FullAttentionSpec.merge)"
            )
    return promoted


def group_layers(entries: tuple[Entry, ...], rules: Rules) -> Layout:
    """Deal layers into groups. Raises UnsupportedError where vLLM cannot make one page size."""
    made = _grouped(entries)
    if rules not in made:
        made[rules] = _group(entries, rules)
    return made[rules]


@remembered
def _grouped(entries: tuple[Entry, ...]) -> dict[Rules, Layout]:
    """What was asked for so far: many schedules have the same entries."""
    return {}


def _group(entries: tuple[Entry, ...], rules: Rules) -> Layout:
    pages = {entry.page for entry in entries}
    if len(pages) == 1:
        return Layout((Group(tuple(entries)),), ("all layers alike: one group, a block holds a page "
                      "of each (_get_kv_cache_groups_uniform_spec)",))  # fmt: skip
    if len({(page.family, page.block_tokens) for page in pages}) == 1 and rules.uniform_types:
        whole = sum(entry.page.page_bytes for entry in entries)
        return Layout((Group(tuple(entries)),), ("layers of one kind with different pages: one "
                      "group, a block holds a page of each (UniformTypeKVCacheSpecs)",),
                      whole if rules.stages_have_whole_block else None)  # fmt: skip
    if any(page.tokens_per_state > 1 for page in pages):
        return _deepseek_v4(list(entries), rules)
    unified, how = _one_page_size(entries, rules)
    groups, dealt = _deal(unified, rules)
    return Layout(groups, (*how, dealt))


def _deepseek_v4(entries: list[Entry], rules: Rules) -> Layout:
    pool = None
    if rules.packed_pages:
        lists, num_bytes = deepseek_v4.packed_groups(entries)
        rule = "pages of different sizes side by side, a block as wide as the widest group " \
            "(_get_packed_kv_cache_groups)"  # fmt: skip
    else:
        lists, num_bytes = deepseek_v4.tuple_groups(entries)
        rule = (
            "a block holds n tuples of one page of each size (_get_kv_cache_groups_uniform_groups)"
        )
        if rules.packed_layers:
            pool = max(sum(entry.page.page_bytes for entry in part) for part in lists)
        elif rules.packed_slots:
            pool = deepseek_v4.slot_bytes(lists)
    return Layout(tuple(Group(tuple(part)) for part in lists), (rule,), num_bytes, pool)


def _one_page_size(entries: Sequence[Entry], rules: Rules) -> tuple[list[Entry], list[str]]:
    sizes = sorted({entry.page.page_bytes for entry in entries})
    largest = sizes[-1]
    if len(sizes) > 1 and not rules.unify_pages:
        raise UnsupportedError(
            f"before 0.12 vLLM has one page size for all layers; this model's are {sizes} bytes. Turn "
            f"the hybrid manager off (--no-hybrid-manager), or ask for a newer --engine-version"
        )
    unified, stretched, padded = [], False, False
    for entry in entries:
        page = entry.page
        if page.page_bytes == largest:
            unified.append(entry)
        elif page.kind != "state" and largest % page.page_bytes == 0:
            longer = page.block_tokens * (largest // page.page_bytes)
            unified.append(changed(entry, page=page.with_block(longer)))
            stretched = True
        elif page.kind == "state" or (
            rules.pad_attention_pages and page.kind not in ("latent", "latent_window", "index")
        ):
            unified.append(changed(entry, page=page.with_page(largest)))
            padded = True
        else:
            raise UnsupportedError(
                f"vLLM {rules.version} cannot bring the page of {page.name} ({page.page_bytes} bytes) "
                f"to the largest ({largest}): it does not divide it. Turn the hybrid manager off "
                f"(--no-hybrid-manager), or use another --kv-dtype"
            )
    how = []
    if stretched:
        how.append(
            "smaller pages take longer blocks, to one page size (unify_kv_cache_spec_page_size)"
        )
    if padded:
        how.append("smaller pages are padded to the largest (unify_kv_cache_spec_page_size)")
    return unified, how


def _deal(entries: Sequence[Entry], rules: Rules) -> tuple[tuple[Group, ...], str]:
    buckets: dict[Page, list[Entry]] = {}
    for entry in entries:
        buckets.setdefault(entry.page, []).append(entry)
    counts = [len(bucket) for bucket in buckets.values()]
    size, which = min(counts), "the count of the rarest kind"
    if rules.group_ratio is not None and max(counts) < min(counts) * rules.group_ratio:
        size, which = max(counts), "the largest count, as the counts are close"
    groups: list[Group] = []
    for bucket in buckets.values():
        parts = -(-len(bucket) // size)
        for part in range(parts):
            members = tuple(bucket[part::parts])
            groups.append(Group(members, size - len(members)))
    return tuple(groups), (
        f"{len(groups)} groups of {size} layers, {which} (_get_kv_cache_groups_uniform_page_size)"
    )

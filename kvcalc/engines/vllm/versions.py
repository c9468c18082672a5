"""Which rules a version of vLLM follows. Each boundary was read in the releases' own sources.

V0 (0.1.7, 0.2.0, 0.4.0, 0.5.4, 0.6.4, 0.7.3; before 0.8): every layer of a model has a page in every
    block, windows included (CacheEngine.get_cache_block_size). MLA was kept as keys and values of every
    head (absent in 0.6.4: get_head_size), then as latents whose rows were aligned to 256 bytes (0.7.3).
0.9.1: hybrid KV cache manager (PR 17996): layer groups of one page size share one pool.
0.10.0: chunked attention has pages of its own kind (absent in 0.9.2: plain full attention), and
    recurrent layers have pages at all.
0.11.0: layers of one kind may have pages of different sizes; before, such a model is refused.
0.12.0: pages of different sizes are brought to one size; before, such a model is refused.
0.12.0: when the largest kind has fewer than 1.25 times the layers of the smallest, groups take the
    largest count (PR 29303); 1.5 times since 0.18.0 (0.17.1 still has 1.25).
0.12.0: the attention block of a hybrid with MLA is a multiple of 64; 128 since 0.28.0.
0.14.0: "KV cache is needed" counts groups with their padding; before, each layer by itself. Up to
    0.16 the whole model was checked against one pipeline stage; since 0.17 each stage's own layers.
    Layers of one kind with different pages had the whole model's block on every stage as long.
    Up to 0.18 only the blocks of the first group are counted (0.19.0 adds them up).
0.15.0: prefix caching of recurrent states in ``align`` mode: two states a request and one per
    draft token (PR 30877); on by default since 0.28.0 (0.26.0 still turns it off for hybrids).
0.20.1: "GPU KV cache size" is int(concurrency * max_model_len); before, blocks // groups * block.
0.21.0: the memory of CUDA graphs is set aside before the pool is sized; before, the pool left it out.
0.20.0: DFlash drafts (absent 0.18.0), all of whose layers are full attention up to 0.24.0
    (qwen3_dflash.py has no windows before 0.25.0). 0.25.0: DSpark. 0.28.0: DFlash2 (absent 0.27.0).
    0.22.0: Gemma 4's assistants (absent 0.20.0).
    0.33.0 drops Medusa; MLP speculators have been out of the registry since 0.11.0 (models/registry.py).
0.24.0: attention pages that do not divide the largest are padded to it (0.23.0 refuses them).
0.14.0, 0.17.0, 0.24.0, 0.29.0, 0.30.0: which row a format's name means; see resolve.py.
0.19.0: the server stops where it may run more requests than there are blocks of states (absent 0.18.0,
    read in 0.20.0).
0.29.0: Cohere2's windows are one token wider (commandr.py; absent 0.28.0).
0.24.0: only layers that own an indexer have index keys; up to 0.23.0 every layer of such a model has
    (DeepseekV2MLAAttention.__init__), and draft layers always do.
0.24.0: DeepSeek-V4's pool has only the slots that some group uses; 0.27.0: it is as wide as the widest
    group. What a request needs is still counted in whole tuples, up to 0.28.
0.27.0: concurrency adds up the blocks of all groups; before, DeepSeek-V4's bytes were divided by the
    first group's block.
0.25.0: the block grows where layers of a turboquant cache keep the model's format.
0.26.0: windows and chunks reserve every batch in flight (PR 47728); before, one batch.
0.28.0: where several MTP modules draft in turn, windows keep one token more for each but the first
    (SlidingWindowSpec.extra_retained_tokens; absent 0.27.0).
0.29.0: the admission check sets the null block aside; DeepSeek-V4's pages are packed side by side.
0.32.0: Mamba-2 keeps one state more in ``align`` mode, for prefill checkpoints. 0.33.0: so do gated
    delta networks where FlashInfer prefills them (see stack.py).
"""

import re
from collections.abc import Callable
from fractions import Fraction
from functools import cache

from kvcalc.errors import UsageError
from kvcalc.frozen import frozen

OLDEST, NEWEST = "0.1.7", "0.33.0"
_Version = tuple[int, int, int, int]


@frozen(kw_only=True)
class Rules:
    """What differs between versions; see the module's docstring.

    group_ratio: below this ratio of layer counts a group takes the largest count.
    """

    version: str
    v0: bool
    hybrid_pool: bool
    chunks: bool
    recurrent: bool
    tokens_from_concurrency: bool
    graphs_set_aside: bool
    concurrency_from_tokens: bool
    need_by_group: bool
    need_of_first_group: bool
    need_of_whole_model: bool
    stages_have_whole_block: bool
    group_ratio: Fraction | None
    uniform_types: bool
    unify_pages: bool
    pad_attention_pages: bool
    align_skipped_layers: bool
    batches_in_flight: bool
    pipeline_plus_one: bool
    null_block_in_check: bool
    retains_for_modules: bool
    mla_hybrid_alignment: int
    align_mode: bool
    prefix_caching_of_hybrids: bool
    prefill_checkpoint: bool
    flashinfer_checkpoint: bool
    packed_slots: bool
    packed_layers: bool
    packed_pages: bool
    nemotron_fp32_states: bool
    only_owners_index: bool
    number: tuple[int, int, int, int]
    drafts: tuple[str, ...]
    draft_windows: bool
    declared_by_modelopt: bool
    sparse_auto_is_fp8: bool
    rows_by_backend: bool
    sparse_on_sm12: bool
    plain_fp8_on_hopper: bool
    glm_auto_is_fp8: bool
    window_plus_one: bool
    blocks_for_graphs: bool


def is_untagged(version: str) -> bool:
    """Whether a version is what setuptools-scm makes of a tree without tags: 0.1.dev20073+g8e685d198."""
    return version.startswith("0.1.dev")


def _parse(text: str) -> _Version:
    """``0.20.1rc1.dev16+g7a`` is before 0.20.1; ``0.24`` is 0.24.0; ``v0`` is 0.7."""
    cleaned = text.strip().lower().lstrip("~v")
    if cleaned == "0":
        return (0, 7, 0, 0)
    if is_untagged(cleaned):
        raise UsageError(
            f"--engine-version {text}: a build of a source tree without tags, which may be of any age: "
            "write the release that it was made after"
        )
    match = re.match(r"(\d+)\.(\d+)(?:\.(\d+))?(.*)", cleaned)
    if match is None:
        raise UsageError(
            f"--engine-version {text}: write a release of vLLM such as 0.10.2 (newest known: {NEWEST})"
        )
    before_release = re.match(r"\.?(a|b|rc|dev|x)", match[4]) is not None
    return (int(match[1]), int(match[2]), int(match[3] or 0), -1 if before_release else 0)


@cache
def rules_for(version: str | None) -> Rules:
    """The rules of a version; of the newest known one when none is named."""
    shown = version or NEWEST
    number = _parse(shown)

    def since(*release: int) -> bool:
        return number >= (*release, *(0,) * (4 - len(release)))

    ratio = Fraction(3, 2) if since(0, 18) else Fraction(5, 4) if since(0, 12) else None
    return Rules(
        version=shown,
        v0=not since(0, 8),
        hybrid_pool=since(0, 9, 1),
        chunks=since(0, 10),
        recurrent=since(0, 10),
        tokens_from_concurrency=since(0, 20, 1),
        graphs_set_aside=since(0, 21),
        concurrency_from_tokens=not since(0, 9, 1),
        need_by_group=since(0, 14),
        need_of_first_group=since(0, 14) and not since(0, 19),
        need_of_whole_model=since(0, 14) and not since(0, 17),
        stages_have_whole_block=since(0, 11) and not since(0, 17),
        group_ratio=ratio,
        uniform_types=since(0, 11) or not since(0, 8),
        unify_pages=since(0, 12),
        pad_attention_pages=since(0, 24),
        align_skipped_layers=since(0, 25),
        batches_in_flight=since(0, 26),
        pipeline_plus_one=since(0, 30),
        null_block_in_check=since(0, 29),
        retains_for_modules=since(0, 28),
        mla_hybrid_alignment=128 if since(0, 28) else 64 if since(0, 12) else 16,
        align_mode=since(0, 15),
        prefix_caching_of_hybrids=since(0, 28),
        prefill_checkpoint=since(0, 32),
        flashinfer_checkpoint=since(0, 33),
        packed_slots=since(0, 24),
        packed_layers=since(0, 27),
        packed_pages=since(0, 29),
        nemotron_fp32_states=since(0, 13),
        only_owners_index=since(0, 24),
        number=number,
        drafts=_drafts(since),
        draft_windows=since(0, 25),
        declared_by_modelopt=since(0, 14),
        sparse_auto_is_fp8=not since(0, 12),
        rows_by_backend=since(0, 17),
        sparse_on_sm12=since(0, 24),
        plain_fp8_on_hopper=since(0, 30),
        glm_auto_is_fp8=since(0, 29),
        window_plus_one=since(0, 29),
        blocks_for_graphs=since(0, 19),
    )


def _drafts(since: Callable[..., bool]) -> tuple[str, ...]:
    """The kinds of drafts that a release has a class for."""
    kinds = {
        "eagle": True, "eagle3": True, "dflash": since(0, 19), "dflash2": since(0, 28),
        "dspark": since(0, 25), "gemma4_assistant": since(0, 22), "medusa": not since(0, 33),
        "mlp_speculator": not since(0, 11),
    }  # fmt: skip
    return tuple(kind for kind, there in kinds.items() if there)

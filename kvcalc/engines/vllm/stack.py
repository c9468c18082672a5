"""A model's layers as pages: block sizes, the block that recurrent states inflate, draft layers.

A hybrid's attention block grows until its page holds a whole recurrent state, and the state is
padded to that page (``_align_hybrid_block_size``, platforms/interface.py; before 0.21
HybridAttentionMambaModelConfig, models/config.py):

    block = align * cdiv(state bytes, align * attention bytes of a token)

align: 16; with MLA 64, and 128 since 0.28; at least --block-size. Since 0.33 a gated delta network
that FlashInfer prefills has blocks of 64 and a state more for its checkpoint (QwenGatedDeltaNetAttention,
get_prefill_checkpoint_alignment): on Hopper, and on Blackwell with the CUDA 13 of its wheels where a key
head is 128 wide (_resolve_gdn_prefill_backend). Triton's kernel is assumed where the GPU is not known.

MTP and EAGLE layers are further attention layers of the same pool, on the last pipeline stage.
Every stage has the layers of ``get_pp_indices`` (distributed/utils.py), or of
VLLM_PP_LAYER_PARTITION.
"""

from collections.abc import Iterator
from functools import cached_property
from itertools import pairwise
from math import lcm
from typing import Any

from kvcalc.engines.drafts import check_kind
from kvcalc.engines.vllm.flags import VllmFlags
from kvcalc.engines.vllm.formats import KvFormat
from kvcalc.engines.vllm.page import Entry, Page
from kvcalc.engines.vllm.pages import PageMaker, state_layers
from kvcalc.engines.vllm.resolve import resolve
from kvcalc.engines.vllm.versions import Rules
from kvcalc.errors import UnsupportedError, UsageError
from kvcalc.frozen import changed, remembered
from kvcalc.memory.beside import mtp_modules
from kvcalc.memory.stages import pipeline_stages, refuse_split_cache
from kvcalc.recurrent.gated_deltanet import GatedDeltaNet
from kvcalc.spec.layers import decoder_layers
from kvcalc.spec.model import Block, ModelSpec

KERNEL_BLOCK = 16
_CHECKPOINT_BLOCK = 64  # FLASHINFER_GDN_CHECKPOINT_ALIGNMENT


@remembered
def default_block(spec: ModelSpec) -> int:
    """Tokens of a block when none are asked for: what the attention backends of each kind take."""
    kinds = {getattr(block.attention, "kind", "") for block in spec.blocks.values()}
    if kinds & {"csa", "hca", "v4_window"}:
        return 256
    sparse = any(
        getattr(block.attention, "kind", "") == "mla" and getattr(block.attention, "indexer", None)
        for block in spec.blocks.values()
    )
    return 64 if sparse else KERNEL_BLOCK


def check_block(spec: ModelSpec, block: int) -> None:
    """Refuse a block that the attention kernels cannot read."""
    step = default_block(spec)
    if block % step:
        below, above = block // step * step, -(-block // step) * step
        near = f"{below} or {above}" if below else str(above)
        raise UsageError(
            f"--block-size {block}: this model's kernels take multiples of {step}; use {near}"
        )


def check_heads(spec: ModelSpec, ranks: int) -> None:
    """Refuse a tensor parallelism that does not divide the query heads or the KV heads."""
    for (heads, own), name in _heads(spec).items():
        kv_heads = own or ranks
        if not _divides(ranks, heads, kv_heads):
            fits = [n for n in range(1, heads + 1) if _divides(n, heads, kv_heads)]
            kv = "" if own is None else f" and {kv_heads} KV heads"
            raise UnsupportedError(
                f"--tp {ranks} does not divide the {heads} query heads{kv} of block '{name}'; "
                f"these do: {', '.join(map(str, fits))}"
            )


@remembered
def _heads(spec: ModelSpec) -> dict[tuple[int, int | None], str]:
    """(query heads, KV heads; None of an attention without) -> the first block that has so many."""
    found: dict[tuple[int, int | None], str] = {}
    for name, block in spec.blocks.items():
        heads = getattr(block.attention, "num_attention_heads", None)
        if heads is not None:
            own = getattr(block.attention, "num_key_value_heads", None)
            found.setdefault((heads, own), name)
    return found


def _divides(ranks: int, heads: int, kv_heads: int) -> bool:
    return heads % ranks == 0 and (kv_heads % ranks == 0 or ranks % kv_heads == 0)


@remembered
def _made(spec: ModelSpec) -> dict[tuple[Any, ...], tuple[Entry, ...]]:
    """What was asked for so far, by what pages depend on."""
    return {}


class Stack:
    """The pages of every layer for one request.

    entries: pages of all layers, draft layers last. stages: layers of each pipeline rank.
    """

    def __init__(self, spec: ModelSpec, request: VllmFlags, rules: Rules) -> None:
        if spec.recursion is not None:
            raise UnsupportedError("vLLM has no mixture of recursions")
        self.spec, self.request, self.rules = spec, request, rules
        resolved = resolve(spec, request, rules)
        self.kv = resolved.kv
        self.notes: list[str] = list(resolved.notes)
        self.rules_applied: list[str] = list(resolved.rules)
        self.hybrid = state_layers(spec)
        self.prefix_caching = self._prefix_caching()
        maker = PageMaker(spec, request, rules, self.kv)
        self.draft_tokens = maker.draft_tokens
        self.block = request.block_size or default_block(spec)
        check_block(spec, self.block)
        states = self._align(maker)
        self.entries = self._lay_out(maker, states)
        self.stages = self._stages()

    def _is_v4(self) -> bool:
        return default_block(self.spec) == 256

    def _prefix_caching(self) -> bool:
        asked = self.request.prefix_caching
        attention = any(block.attention is not None for block in self.spec.blocks.values())
        # ModelConfig.is_prefix_caching_supported: never for models without attention.
        default = not self.hybrid or (attention and self.rules.prefix_caching_of_hybrids)
        if asked is None and self.hybrid and attention:
            self.notes.append(
                f"prefix caching {'on' if default else 'off'}, as this version has it for hybrids; "
                f"--{'no-' if default else ''}prefix-caching changes that"
            )
        return default if asked is None else asked

    @property
    def may_checkpoint(self) -> bool:
        """Delta networks alone, which FlashInfer prefills where the GPU lets it."""
        mixers = [block.recurrent for block in self.spec.blocks.values() if block.recurrent]
        return (
            self.rules.flashinfer_checkpoint and self.prefix_caching and bool(mixers)
            and all(mixer.kind == "gated_deltanet" for mixer in mixers)
            and self.spec.model_type != "olmo_hybrid"
        )  # fmt: skip

    @property
    def checkpoint(self) -> bool:
        """FlashInfer prefills the delta networks of this model on this GPU."""
        gpu = self.request.compute_capability or 0
        return self.may_checkpoint and (
            gpu == 90
            or (
                gpu // 10 in (10, 12)
                and all(
                    mixer.linear_key_head_dim == 128
                    for block in self.spec.blocks.values()
                    if isinstance(mixer := block.recurrent, GatedDeltaNet)
                )
            )
        )

    def _attention_blocks(self) -> list[Block]:
        """One block of each kind that has attention pages, in the order of the layers."""
        found: dict[str, Block] = {}
        for layer in decoder_layers(self.spec):
            found.setdefault(layer.block, self.spec.blocks[layer.block])
        return list(found.values())

    def _align(self, maker: PageMaker) -> dict[str, Page]:
        """Pages of recurrent states by block name; lengthens the attention block to hold one."""
        states = {
            name: maker.state_page(block.recurrent)
            for name, block in self.spec.blocks.items()
            if block.recurrent is not None
        }
        if not states and not self.kv.skips_ends:
            return {}
        tokens = [page for block in self._attention_blocks() for page in maker.attention_pages(block, 1)
                  if page.kind not in ("index", "cross")] if not self._is_v4() else []  # fmt: skip
        if not states or not tokens:
            if self.kv.skips_ends and tokens:
                self._skipped(maker, tokens)
            return {
                name: changed(page, block_tokens=self.max_model_len)
                for name, page in states.items()
            }
        largest = max(page.page_bytes for page in states.values())
        latent = any(page.kind == "latent" for page in tokens)
        align = max(self.rules.mla_hybrid_alignment if latent else KERNEL_BLOCK, self.block)
        if self.checkpoint:
            align = lcm(align, _CHECKPOINT_BLOCK)
        token_bytes = tokens[0].token_bytes
        needed = align * -(-largest // (align * token_bytes))
        if needed > self.block:
            self.block = needed
            self.rules_applied.append(
                f"attention block of {needed} tokens, so that its page holds a recurrent state: "
                f"{align} * cdiv({largest}, {align} * {token_bytes}) (_align_hybrid_block_size)"
            )
        page_bytes = self.block * token_bytes
        tokens_of_state = self.block if self.prefix_caching else self.max_model_len
        return {
            name: changed(page, page_bytes=page_bytes, block_tokens=tokens_of_state)
            for name, page in states.items()
        }

    def _skipped(self, maker: PageMaker, tokens: list[Page]) -> None:
        """TurboQuant leaves the first and last two layers unquantised; since 0.25 the block grows
        until a page of 16 of their tokens fits (_align_heterogeneous_kv_block_size)."""
        if self.rules.align_skipped_layers:
            plain = changed(maker, kv=KvFormat(self.request.model_dtype))
            wide = max(page.token_bytes for block in self._attention_blocks()
                       for page in plain.attention_pages(block, 1))  # fmt: skip
            own = self.block * tokens[0].token_bytes
            self.block = max(self.block, self.block * -(-(wide * KERNEL_BLOCK) // own))
        self.rules_applied.append(
            f"{self.kv.name} keeps the first and last two layers in the model's format "
            "(TurboQuantConfig.get_boundary_skip_layers)"
        )

    @property
    def max_model_len(self) -> int:
        """As asked, or the longest that the model was made for."""
        asked = self.request.max_model_len or self.spec.max_position_embeddings
        if asked is None:
            raise UsageError(
                "the spec does not say how long a context may be: give --max-model-len"
            )
        return asked

    def _lay_out(self, maker: PageMaker, states: dict[str, Page]) -> tuple[Entry, ...]:
        entries = self._model(maker, states)
        if self.request.draft is not None:
            return (*entries, *self._draft_model(maker, self.request.draft.spec))
        drafts, first = self._draft_block(), len(decoder_layers(self.spec))
        for extra in range(self.num_draft_layers):
            assert drafts is not None
            pages = maker.attention_pages(drafts, self.block, draft=True)
            entries += tuple(Entry(first + extra, page, page) for page in pages)
        return entries

    def _model(self, maker: PageMaker, states: dict[str, Page]) -> tuple[Entry, ...]:
        """The model's own layers, made once for every schedule and number of stages."""
        made, layout = _made(self.spec), self.request.layout
        key = (self.rules, self.kv, self.request.model_dtype, layout.tensor, self.block,
               tuple(states.items()))  # fmt: skip
        if key not in made:
            made[key] = tuple(self._make(maker, states))
        return made[key]

    def _make(self, maker: PageMaker, states: dict[str, Page]) -> Iterator[Entry]:
        layers = decoder_layers(self.spec)
        plain = changed(maker, kv=KvFormat(self.request.model_dtype))
        made: dict[tuple[str, bool], list[Page]] = {}
        for layer in layers:
            at_end = not 2 <= layer.index < len(layers) - 2
            wide = self.kv.skips_ends and not self.hybrid and at_end
            pages = made.get((layer.block, wide))
            if pages is None:
                block = self.spec.blocks[layer.block]
                pages = list((plain if wide else maker).attention_pages(block, self.block))
                if block.recurrent is not None:
                    pages.append(states[layer.block])
                made[layer.block, wide] = pages
            yield from (Entry(layer.index, page, page) for page in pages)

    @property
    def num_draft_layers(self) -> int:
        """As asked, or a draft's."""
        if self.request.draft is not None:
            return len(decoder_layers(self.request.draft.spec))
        return self.request.mtp_layers or 0

    def _draft_model(self, maker: PageMaker, draft: ModelSpec) -> list[Entry]:
        """The layers of a model that drafts, in pages of their own widths: they join the model's pool
        (v1/worker/gpu_model_runner.py, get_kv_cache_spec; the cache's format is the server's)."""
        if self.request.mtp_layers:
            raise UsageError(
                "--draft and --mtp-layers: vLLM drafts in one way: leave one of them out"
            )
        check_kind(draft, self.rules.drafts, f"vLLM {self.rules.version}")
        if self.request.speculative_tokens is None and self.hybrid:
            raise UsageError(
                "--draft: this model keeps a state for each draft token: say --speculative-tokens"
            )
        if draft.recursion is not None or state_layers(draft):
            raise UnsupportedError(
                f"--draft {draft.name}: a draft's recurrent states are not accounted for"
            )
        check_heads(draft, self.request.layout.tensor)
        request = changed(self.request, attention_backend=None)
        kv = resolve(draft, request, self.rules).kv
        own, first = changed(maker, spec=draft, kv=kv), len(decoder_layers(self.spec))
        return [
            Entry(first + layer.index, page, page)
            for layer in decoder_layers(draft)
            for page in own.attention_pages(self._drafting(draft, layer.block), self.block)
        ]

    @cached_property
    def layer_names(self) -> dict[int, str]:
        """The block of every layer, those that draft included."""
        layers = decoder_layers(self.spec)
        names = {layer.index: layer.block for layer in layers}
        if self.request.draft is not None:
            draft = decoder_layers(self.request.draft.spec)
            return names | {len(layers) + layer.index: f"draft {layer.block}" for layer in draft}
        return names | {len(layers) + extra: "mtp" for extra in range(self.num_draft_layers)}

    def _drafting(self, draft: ModelSpec, name: str) -> Block:
        """A draft's block as the release's class builds it: DFlash's had no windows at first."""
        block = draft.blocks[name]
        kind = draft.draft.kind if draft.draft is not None else ""
        if self.rules.draft_windows or kind != "dflash" or block.sliding_window is None:
            return block
        return changed(block, attention=changed(block.attention, sliding_window=None))

    def _draft_block(self) -> Block | None:
        """What a draft layer is made from: the spec's mtp block, or the last full attention."""
        if not self.num_draft_layers:
            return None
        if self.spec.mtp is not None:
            mtp_modules(self.spec, self.num_draft_layers)
            return self.spec.blocks[self.spec.mtp.block]
        for layer in reversed(decoder_layers(self.spec)):
            attention = self.spec.blocks[layer.block].attention
            alone = self._is_v4() and getattr(attention, "kind", "") == "v4_window"
            whole = not self._is_v4() and getattr(attention, "sliding_window", None) is None
            if attention is not None and (alone or whole):
                self.notes.append(f"draft layers are like the '{layer.block}' layers")
                return self.spec.blocks[layer.block]
        raise UnsupportedError(
            "--mtp-layers: this model has no attention that a draft layer could copy"
        )

    def _stages(self) -> tuple[tuple[int, ...], ...]:
        count, ranks = len(decoder_layers(self.spec)), self.request.layout.pipeline
        sizes = self.request.pipeline_partition
        if sizes is None:
            stages = [list(stage) for stage in pipeline_stages(count, ranks)]
        else:
            if len(sizes) != ranks or sum(sizes) != count:
                raise UsageError(
                    f"--pp-partition {','.join(map(str, sizes))}: give {ranks} numbers that add up "
                    f"to the model's {count} layers"
                )
            starts = [sum(sizes[:rank]) for rank in range(ranks + 1)]
            stages = [list(range(a, b)) for a, b in pairwise(starts)]
        # A layer whose kv_sharing_target_layer_name is on another rank does not start
        # (attention/utils, validate_kv_sharing_target).
        refuse_split_cache(self.spec, stages)
        stages[-1] += [count + extra for extra in range(self.num_draft_layers)]
        return tuple(tuple(stage) for stage in stages)

"""The page of each layer: what vLLM's ``get_kv_cache_spec`` makes of a layer's mechanism.

A page is one block of one layer on one tensor-parallel rank (v1/kv_cache_interface.py):

    full attention      heads * bytes of a head * block                    FullAttentionSpec
    sliding window      the same page; only fewer blocks                   SlidingWindowSpec
    chunked attention   the same page                                      ChunkedLocalAttentionSpec
    MLA                 one latent without values, on every rank           MLAAttentionSpec
    index keys          132 bytes a token (d_I = 128), on every rank       MLAAttentionSpec (indexer)
    recurrent state     a whole state, whatever the length                 MambaSpec
    cross-attention     as full attention, for the encoder's tokens        CrossAttentionSpec
    DeepSeek-V4         see deepseek_v4.py

A layer whose mechanism keeps nothing (shared K and V, encoders, feed-forward only) has no page.
What tensor parallelism divides is the mechanism's own: ``CacheTensor.per_rank``.
"""

from collections.abc import Iterator
from typing import Any

from kvcalc.engines.pooled import refuse_ngrams, refuse_pools
from kvcalc.engines.vllm.flags import VllmFlags
from kvcalc.engines.vllm.formats import KvFormat, element_bytes, index_key_bytes
from kvcalc.engines.vllm.page import Kind, Page, paged
from kvcalc.engines.vllm.versions import Rules
from kvcalc.errors import UnsupportedError
from kvcalc.frozen import changed, frozen, remembered
from kvcalc.memory.inventory import cache_of
from kvcalc.spec.layers import decoder_layers
from kvcalc.spec.model import Block, ModelSpec
from kvcalc.tensors import CacheTensor, Once

# Mechanisms whose cache vLLM has a layer class for.
_ATTENTION = {"mha", "mqa", "gqa", "mfa", "mla", "csa", "hca", "v4_window"}
# Model types with an indexer that are DeepseekV2's class (model_executor/models/deepseek_v2.py).
_DEEPSEEK_CLASS = {"deepseek_v32", "glm_moe_dsa"}
# Classes that read a kv_lora_rank and keep no latents (model_executor/models/minicpm3.py).
_WITHOUT_LATENTS = {"minicpm3"}
# Classes whose windows also see the token at the window's distance: commandr.py, cohere2_moe.py,
# domyn_edge.py (absent 0.28.0).
_WIDER_BY_ONE = {"cohere2", "cohere2_moe", "cohere2_vision", "aya_vision", "domyn_edge"}
_RECURRENT = {"mamba1", "mamba2", "gated_deltanet", "kda", "lightning", "short_conv"}


@frozen
class PageMaker:
    """Turns blocks of a spec into pages for one request."""

    spec: ModelSpec
    request: VllmFlags
    rules: Rules
    kv: KvFormat

    @property
    def ranks(self) -> int:
        return self.request.layout.tensor

    def attention_pages(self, block: Block, tokens: int, draft: bool = False) -> Iterator[Page]:
        """Pages of a block's attention with blocks of ``tokens``. draft: of a draft layer."""
        attention = block.attention
        refuse_ngrams("vLLM", block)
        if attention is not None:
            yield from self._attention(self._as_built(attention, draft), tokens)
        if block.cross_attention is not None:
            keys = next(iter(block.cross_attention.cache()))
            yield self._heads("cross", block.cross_attention, keys, tokens)

    def _as_built(self, attention: Any, draft: bool) -> Any:
        """A layer of a model with indexers that takes another's top-k has one of its own, too, where
        it drafts, and up to 0.23.0 everywhere (DeepseekV2MLAAttention.__init__)."""
        every = draft or not self.rules.only_owners_index
        if not every or attention.kind != "mla" or self.spec.model_type not in _DEEPSEEK_CLASS:
            return attention
        return changed(attention, indexer=indexer_of(self.spec))

    def _attention(self, attention: Any, tokens: int) -> Iterator[Page]:
        if attention.kind not in _ATTENTION:
            raise UnsupportedError(f"vLLM has no {attention.kind} attention")
        if attention.kind in ("csa", "hca", "v4_window"):
            from kvcalc.engines.vllm.deepseek_v4 import pages

            yield from pages(attention, tokens, self.kv)
            return
        kept = cache_of(attention)
        if not kept:
            return
        refuse_pools("vLLM", attention)
        if attention.kind == "mla" and self.rules.v0:
            raise UnsupportedError(
                "how vLLM kept latent attention before 0.8 is not accounted for: keys and values of every "
                "head at first, then latents whose rows are aligned"
            )
        if attention.kind == "mla" and self.spec.model_type in _WITHOUT_LATENTS:
            yield self._unfolded(attention, tokens)
        elif attention.kind == "mla":
            width = attention.kv_lora_rank, attention.qk_rope_head_dim
            window = attention.sliding_window
            yield paged("latent" if window is None else "latent_window", "mla",
                        self.kv.latent_bytes(*width), tokens, window=window,
                        layout=(*width, self.kv.name))  # fmt: skip
        else:
            chunk = getattr(attention, "attention_chunk_size", None) if self.rules.chunks else None
            window = self._window(attention)
            kind: Kind = "window" if window else "chunk" if chunk else "full"
            if getattr(attention, "sink_tokens", None):
                raise UnsupportedError("vLLM does not keep the first tokens beside a window")
            yield self._heads(kind, attention, kept[0], tokens, window or chunk)
        if getattr(attention, "indexer", None) is not None:
            yield self._index(attention, tokens)

    def _heads(
        self, kind: Kind, attention: Any, keys: CacheTensor, tokens: int, window: int | None = None
    ) -> Page:
        """Attention with keys and values per head; max(1, heads // ranks) on each rank."""
        total = keys.shape[0]
        heads = _on_rank(keys, self.ranks)[0]
        key_dim = keys.shape[1]
        value_dim = getattr(attention, "v_head_dim", None) or key_dim
        head_bytes = self.kv.head_bytes(key_dim, value_dim)
        return paged(kind, attention.kind, heads * head_bytes, tokens, window=window,
                     layout=(heads, key_dim, value_dim, self.kv.name),
                     replicated=(heads * self.ranks, total))  # fmt: skip

    def _window(self, attention: Any) -> int | None:
        """Tokens of a sliding window, as the model's class asks for it."""
        window: int | None = getattr(attention, "sliding_window", None)
        wider = self.rules.window_plus_one and self.spec.model_type in _WIDER_BY_ONE
        return window + 1 if window and wider else window

    def _unfolded(self, attention: Any, tokens: int) -> Page:
        """Keys and values of every head, values padded to a key's width (MiniCPM3Attention)."""
        total = attention.num_attention_heads
        if total % self.ranks:
            raise UnsupportedError(f"--tp {self.ranks} does not divide {total} heads")
        width = attention.qk_nope_head_dim + attention.qk_rope_head_dim
        heads = total // self.ranks
        return paged("full", attention.kind, heads * self.kv.head_bytes(width, width), tokens,
                     layout=(heads, width, self.kv.name))  # fmt: skip

    def _index(self, attention: Any, tokens: int) -> Page:
        """Index keys: e4m3 with scales beside MLA, the activations' format in MiniMax-M3."""
        width = attention.indexer.index_head_dim
        num_bytes = index_key_bytes(width)
        if attention.kind != "mla":
            num_bytes = width * element_bytes(self.request.model_dtype)
        return paged("index", "indexer", num_bytes, tokens, layout=(width,))

    def state_page(self, recurrent: Any) -> Page:
        """A layer's whole state: convolution columns and recurrent matrices (MambaSpec).

        Follows layers/mamba/mamba_utils.py, MambaStateShapeCalculator: a column more in the
        convolution for each draft token (not in Mamba-1), in the activations' format.
        """
        if recurrent.kind not in _RECURRENT:
            raise UnsupportedError(f"vLLM has no {recurrent.kind} layers")
        drafts = 0 if recurrent.kind == "mamba1" else self.draft_tokens
        total = 0
        for tensor in recurrent.cache():
            if not isinstance(tensor.extent, Once):
                raise UnsupportedError(
                    f"vLLM keeps no {tensor.name} per token for {recurrent.kind}"
                )
            shape = list(_on_rank(tensor, self.ranks))
            if tensor.role == "conv":
                shape[-1] += drafts
                width = element_bytes(self.request.model_dtype)
            else:
                width = element_bytes(self.state_dtype(recurrent, tensor))
            elements = 1
            for size in shape:
                elements *= size
            total += elements * width
        return Page(kind="state", name=recurrent.kind, token_bytes=total, block_tokens=1,
                    page_bytes=total, unpadded_bytes=total)  # fmt: skip

    def state_dtype(self, recurrent: Any, tensor: CacheTensor) -> str:
        """What a recurrent matrix is kept in (MambaStateDtypeCalculator, models/config.py).

        ``auto`` is the activations' format, except for KDA (always fp32), Qwen3.5 (its config asks
        for fp32) and Nemotron-H (its config, or fp32).
        """
        if self.request.state_dtype is not None and self.request.state_dtype != "auto":
            return self.request.state_dtype
        model = (self.spec.model_type or "").replace("-", "_")
        own = tensor.dtype or "fp32"
        if recurrent.kind == "kda" or model.startswith(("qwen3_5", "qwen4")):
            return own
        if model.startswith("nemotron_h") and self.rules.nemotron_fp32_states:
            return own
        return self.request.model_dtype

    @property
    def draft_tokens(self) -> int:
        """Draft tokens of a step: as asked, or one per MTP layer."""
        if self.request.speculative_tokens is not None:
            return self.request.speculative_tokens
        return self.request.mtp_layers or 0


def _on_rank(tensor: CacheTensor, ranks: int) -> tuple[int, ...]:
    try:
        return tensor.per_rank(ranks)
    except ValueError as error:
        raise UnsupportedError(
            f"--tp {ranks}: {tensor.name} {list(tensor.shape)}: {error}"
        ) from None


def indexer_of(spec: ModelSpec) -> Any:
    """The indexer of a model whose MLA layers read what it chose; None where it has none."""
    found = (getattr(block.attention, "indexer", None) for block in spec.blocks.values()
             if getattr(block.attention, "kind", "") == "mla")  # fmt: skip
    return next((indexer for indexer in found if indexer is not None), None)


@remembered
def state_layers(spec: ModelSpec) -> bool:
    """Whether any layer of the decoder is recurrent."""
    return any(spec.blocks[layer.block].recurrent is not None for layer in decoder_layers(spec))

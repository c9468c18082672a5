"""How many blocks one request takes from each group (``max_memory_usage_bytes`` of each spec).

    full, latent, index   cdiv(cdiv(L, dcp), block)
    window                cdiv(min(window - 1 + extra + in_flight, L), block) + 1, since a window need
                          not start where a block does (SlidingWindowSpec)
    chunk                 cdiv(min(chunk + in_flight, L), block)   (ChunkedLocalAttentionSpec)
    state                 1 + drafts; with prefix caching 2 + drafts (MambaSpec, mode ``align``)
    cross                 cdiv(encoder tokens, block)              (CrossAttentionSpec)

in_flight: tokens scheduled and not yet freed, max_num_batched_tokens for each batch at once.
"""

from kvcalc.engines.vllm.page import Page
from kvcalc.frozen import frozen


@frozen(kw_only=True)
class Schedule:
    """What decides block counts beside the pages.

    in_flight: tokens of all batches at once. extra: tokens kept below a window for several MTP
    layers. states: blocks of a request in a group of states; None when there is one per block of
    the sequence (prefix caching before 0.15).
    """

    in_flight: int
    extra: int
    context_ranks: int
    encoder_tokens: int
    states: int | None

    def blocks(self, page: Page, tokens: int) -> int:
        """Blocks of a request of ``tokens`` in a group of this page."""
        if page.kind == "state":
            return _ceil(tokens, page.block_tokens) if self.states is None else self.states
        if page.kind == "cross":
            return _ceil(self.encoder_tokens, page.block_tokens)
        return _ceil(self.held(page, tokens), page.block_tokens) + (
            page.kind in ("window", "latent_window")
        )

    def held(self, page: Page, tokens: int) -> int:
        """Tokens that the blocks of an attention layer are counted for."""
        if page.kind in ("window", "latent_window"):
            assert page.window is not None
            return min(page.window - 1 + self.extra + self.in_flight, tokens)
        if page.kind == "chunk":
            assert page.window is not None
            return min(page.window + self.in_flight, tokens)
        return _ceil(tokens, self.context_ranks)


def _ceil(number: int, step: int) -> int:
    return -(-number // step)

"""Engines whose caches of pooled index keys, and of latents without a rotary key, nobody read."""

from typing import Any

from kvcalc.errors import UnsupportedError


def refuse_pools(engine: str, attention: Any) -> None:
    """Refuse, by name, index keys that are pooled over several tokens, and latents alone.

    Both came with GLM-5.3-Flash and Qwen4-Exp: engines keep them in caches of their own.
    Raises UnsupportedError.
    """
    indexer = getattr(attention, "indexer", None)
    if indexer is not None and indexer.index_kpool is not None:
        raise UnsupportedError(
            f"{engine}'s cache of index keys that are pooled over {indexer.index_kpool} tokens is not "
            "accounted for"
        )
    if attention.kind == "mla" and not attention.qk_rope_head_dim:
        raise UnsupportedError(
            f"{engine}'s cache of latents without a rotary key is not accounted for"
        )


def refuse_ngrams(engine: str, block: Any) -> None:
    """Refuse, by name, an n-gram embedding's convolution, which engines keep in a state of its own.

    Raises UnsupportedError.
    """
    if block.ngram is not None:
        raise UnsupportedError(f"{engine}'s state of an n-gram embedding is not accounted for")

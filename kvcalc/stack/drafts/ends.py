"""What drafts of several kinds have: a head over fewer tokens, and tables between both vocabularies."""

from collections.abc import Iterator

from kvcalc.tensors import ParamTensor, Part, Shard


def by_row(rows: int) -> Shard:
    """A table or head whose rows ranks divide, padded."""
    return Shard(0, (Part(rows, rows, pad=True),))


def head(hidden_size: int, rows: int) -> Iterator[ParamTensor]:
    """A head of the draft's own."""
    yield ParamTensor("lm_head.weight", (rows, hidden_size), "head", by_row(rows), quantised=True)


def vocabulary_tables(vocab_size: int, draft_vocab_size: int) -> Iterator[ParamTensor]:
    """d2t, from the draft's tokens to the model's (int64), and t2d, which of the model's tokens the
    draft has (a byte each): buffers, where the draft has fewer tokens."""
    if draft_vocab_size < vocab_size:
        yield ParamTensor("d2t", (draft_vocab_size,), "other", buffer=True)
        yield ParamTensor("t2d", (vocab_size,), "other", buffer=True)

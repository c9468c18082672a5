"""What an answer about llama.cpp has beside its tables; whoever prints any answer knows it without them."""

from kvcalc.frozen import frozen


@frozen(kw_only=True)
class LocalChange:
    """Options to add, and what they do.

    Fields:
        read_bytes_per_token: read of RAM for a token then.
    """

    what: str
    effect: str
    read_bytes_per_token: int


@frozen
class LeftOut:
    """A type that was not asked about, and why."""

    dtype: str
    reason: str

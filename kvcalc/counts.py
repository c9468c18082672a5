"""What a number of a spec counts: the types of the integer fields of mechanisms and models.

    num_attention_heads: Heads          sliding_window: WindowSize | None = None

Whoever reads or sets the field sees an int. From its type follow the bounds that the reader and the
JSON Schema hold it to, how the verifier makes it small (kvcalc/verify/reduce.py), what tensor
parallelism divides there (verify/shards.py), and past which lengths a proof runs (verify/plan.py).
A field that is a plain int fails a test; so a new mechanism is on no list of fields anywhere.

A bound is far above every published model and below what a loop or a table over the number can
take: what a file says must end in an answer or in an error, never in a hang.
"""

from functools import cache
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from kvcalc.frozen import fields_of, frozen

# What a number counts, as far as anybody has to tell numbers apart.
Kind = Literal[
    "heads", "kv_heads", "whole_heads", "width", "scaled", "inner", "window", "chunk", "block",
    "kernel", "stride", "selected", "sinks", "top_tokens", "top_blocks", "experts", "chosen",
    "factors", "rows", "positions", "encoder_tokens", "channels", "fixed",
]  # fmt: skip


@frozen
class Count:
    """What a number counts, and its bounds.

    unit: the plural word for messages. most: the greatest value, and why: what would come of more.
    """

    kind: Kind
    unit: str
    most: int
    why: str
    least: int = 1

    def exceeded(self, number: int | str) -> str:
        """Why ``number`` is too great, in words."""
        return f"must be at most {self.most} {self.unit} ({self.why}), found {number}"


_HEADS = "no published model has a tenth as many"
_WIDTH = "no published model is a tenth as wide"
_TOKENS = "more than any length that kvcalc computes"
_EACH = "each is listed by itself"

# Query heads and state heads: ranks divide them. KV heads and groups: each rank has one at least.
Heads = Annotated[int, Count("heads", "heads", 1 << 14, _HEADS)]
KVHeads = Annotated[int, Count("kv_heads", "heads", 1 << 14, _HEADS)]
# Heads that every rank keeps whole: of an indexer, of convolutions across heads.
WholeHeads = Annotated[int, Count("whole_heads", "heads", 1 << 14, _HEADS)]
# Heads with matrices of their own, each listed by name.
Latents = Annotated[int, Count("kv_heads", "latents", 256, _EACH)]

# A width of a mechanism's own, beside others of it: a head's, a latent's.
Width = Annotated[int, Count("width", "channels", 1 << 20, _WIDTH)]
# A part of a head that models without it state as zero.
Rotary = Annotated[int, Count("width", "channels", 1 << 20, _WIDTH, 0)]
# A width that goes by the model's hidden_size; an inner one is divided among ranks.
Scaled = Annotated[int, Count("scaled", "channels", 1 << 20, _WIDTH)]
Inner = Annotated[int, Count("inner", "channels", 1 << 24, _WIDTH)]

# Positions that a layer sees.
WindowSize = Annotated[int, Count("window", "tokens", 1 << 40, _TOKENS)]
ChunkSize = Annotated[int, Count("chunk", "tokens", 1 << 40, _TOKENS)]
Sinks = Annotated[int, Count("sinks", "tokens", 1 << 40, _TOKENS)]
# Tokens that make one entry: whole blocks, or overlapping ones that begin every stride.
_BLOCKS = "blocks are laid out up to the length at which they begin anew together"
BlockSize = Annotated[int, Count("block", "tokens", 1 << 16, _BLOCKS)]
Kernel = Annotated[int, Count("kernel", "tokens", 1 << 16, _BLOCKS)]
Stride = Annotated[int, Count("stride", "tokens", 1 << 16, _BLOCKS)]
Selected = Annotated[int, Count("selected", "tokens", 1 << 16, _BLOCKS)]
# What a query chooses; it changes no cache.
TopTokens = Annotated[int, Count("top_tokens", "tokens", 1 << 40, _TOKENS)]
TopBlocks = Annotated[int, Count("top_blocks", "blocks", 1 << 40, _TOKENS)]

Experts = Annotated[int, Count("experts", "experts", 1 << 20, _HEADS)]
Chosen = Annotated[int, Count("chosen", "experts", 1 << 20, _HEADS)]
# Experts whose number is that of the heads: it stays where others shrink.
HeadExperts = Annotated[int, Count("fixed", "experts", 1 << 14, _HEADS)]
# Terms of a sum of products, fewer than the heads.
Factors = Annotated[int, Count("factors", "factors", 1 << 14, _HEADS)]

# Rows of tables: of tokens, of positions, and small ones that stay as they are.
Rows = Annotated[int, Count("rows", "rows", 1 << 30, "no published vocabulary has a tenth as many")]
Positions = Annotated[int, Count("positions", "rows", 1 << 30, _TOKENS)]
Table = Annotated[int, Count("fixed", "rows", 1 << 24, "no published table has a tenth as many")]

Taps = Annotated[
    int, Count("fixed", "taps", 1 << 16, "no published convolution is a tenth as long")
]
Channels = Annotated[int, Count("channels", "channels", 1 << 20, _WIDTH)]
Length = Annotated[int, Count("fixed", "tokens", 1 << 40, _TOKENS)]
EncoderTokens = Annotated[int, Count("encoder_tokens", "tokens", 1 << 40, _TOKENS)]

# Numbers of things that are laid out one by one.
Layers = Annotated[int, Count("fixed", "layers", 4096, "larger than any model")]
Modules = Annotated[int, Count("fixed", "modules", 256, _EACH)]
Norms = Annotated[int, Count("fixed", "norms", 64, _EACH, 0)]
Streams = Annotated[int, Count("fixed", "streams", 256, _EACH)]
StreamIndex = Annotated[int, Count("fixed", "streams", 256, "it is one of the streams", 0)]

# What a spec is held to, and workloads.
_TOTAL = "more than any model has"
Parameters = Annotated[int, Count("fixed", "parameters", 10**15, _TOTAL)]
CacheBytes = Annotated[int, Count("fixed", "bytes", 10**15, _TOTAL, 0)]
Sequences = Annotated[int, Count("fixed", "sequences", 1 << 30, "no engine runs a tenth as many")]


def counts(cls: Any) -> dict[str, Count]:
    """What each integer field of a dataclass counts, by name; fields of other types are left out."""
    return _counts(cls)


@cache
def _counts(cls: Any) -> dict[str, Count]:
    found = {name: count_of(kind) for name, kind, _ in fields_of(cls)}
    return {name: count for name, count in found.items() if count is not None}


def count_of(kind: Any) -> Count | None:
    """What a field of this type counts: ``Heads`` or ``Heads | None``; None where it is no number."""
    if get_origin(kind) in (UnionType, Union):
        kind = get_args(kind)[0]
    if get_origin(kind) is Annotated:
        about = kind.__metadata__[0]
        return about if isinstance(about, Count) else None
    return None

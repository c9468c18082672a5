"""Flags of serving engines: what a field means, how the command line spells it.

Each engine has a frozen dataclass of its own flags (``<engine>/flags.py``); its fields are typed by
the words here. ``kvcalc capacity`` makes its options from them, the library its keywords.
"""

from fractions import Fraction
from inspect import get_annotations
from typing import TYPE_CHECKING, Annotated, Literal, get_args

from kvcalc.frozen import frozen

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

Kind = Literal["tokens", "number", "switch", "format", "share", "numbers", "text"]


@frozen(kw_only=True)
class Flag:
    """How one flag is asked for.

    help: what it says, for people. kind: how its value is written. default: what holds where it is
    left out, in words. least: the smallest number. values: formats that it takes, for completion.
    also: the engine's other spellings, a switch's with what turns it off: ``-kvo/-nkvo``.
    """

    help: str
    kind: Kind
    default: str = ""
    least: int = 1
    values: tuple[str, ...] = ()
    also: tuple[str, ...] = ()


def tokens(help: str, default: str = "", *, also: tuple[str, ...] = ()) -> Flag:
    return Flag(help=help, kind="tokens", default=default, also=also)


def number(help: str, least: int = 1, *, also: tuple[str, ...] = ()) -> Flag:
    return Flag(help=help, kind="number", least=least, also=also)


def text(help: str, default: str = "", *, also: tuple[str, ...] = ()) -> Flag:
    return Flag(help=help, kind="text", default=default, also=also)


def switch(help: str, *, also: tuple[str, ...] = ()) -> Flag:
    return Flag(help=help, kind="switch", also=also)


def share(help: str) -> Flag:
    return Flag(help=help, kind="share")


# What several engines have, under one word.
MaxModelLen = Annotated[int | None, tokens("Longest request.", "the model's most")]
EncoderTokens = Annotated[int | None, tokens("Encoder tokens of one sequence.", "as --context")]
KvDtype = Annotated[
    str | None,
    Flag(
        help="Number format of the cache, as the engine names it (SGLang: fp8_raw, too).",
        kind="format",
        default="auto",
    ),
]
AttentionBackend = Annotated[
    str | None,
    Flag(help="Backend, where it decides the cache's rows (sparse MLA).", kind="text",
         default="the GPU's"),
]  # fmt: skip
StateDtype = Annotated[
    str | None,
    Flag(help="Number format of recurrent states.", kind="format", default="the model's, fp32"),
]
BlockSize = Annotated[int | None, number("Tokens of a block.")]
PrefixCaching = Annotated[bool | None, switch("Keep prefixes.")]
HybridManager = Annotated[bool | None, switch("Free what falls out of a window.")]
MaxNumSeqs = Annotated[int | None, number("Requests at once.")]
SpeculativeTokens = Annotated[int | None, number("Draft tokens per step.", least=0)]
MtpLayers = Annotated[int | None, number("MTP layers that draft, each with a cache.", least=0)]
LanguageModelOnly = Annotated[bool | None, switch("Take no media: towers are not loaded.")]
PoolTokens = Annotated[int | None, tokens("Size of the pool in tokens.")]
FreeShare = Annotated[Fraction | None, share("Share of the memory that is free.")]


_FOUND: dict[type, dict[str, Flag]] = {}


def flags_of(cls: "type[DataclassInstance]") -> dict[str, Flag]:
    """Field -> flag, in the order of a dataclass's fields; fields that are no flags are left out."""
    if cls in _FOUND:
        return _FOUND[cls]
    found = _FOUND[cls] = {}
    for each in reversed(cls.__mro__):
        for name, annotation in get_annotations(each).items():
            for item in get_args(annotation)[1:]:
                if isinstance(item, Flag):
                    found[name] = item
    return found


# Where the option is not the field's name.
_SPELT = {
    "encoder_tokens": "--encoder-context",
    "decode_context_parallel": "--dcp",
    "pipeline_partition": "--pp-partition",
}


def option_of(name: str) -> str:
    """How the command line spells a field."""
    return _SPELT.get(name, "--" + name.replace("_", "-"))

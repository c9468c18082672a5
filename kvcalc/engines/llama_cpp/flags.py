"""llama.cpp's flags, under their long names."""

from dataclasses import dataclass
from typing import Annotated

from kvcalc.engines import flags as words
from kvcalc.engines.flags import Flag, number, switch, tokens
from kvcalc.engines.request import CapacityRequest

# common/arg.cpp, kv_cache_types.
CACHE_TYPES = ("fp32", "fp16", "bf16", "q8_0", "q4_0", "q4_1", "iq4_nl", "q5_0", "q5_1")


def _type(letter: str) -> Flag:
    help = f"Format of {letter} (llama.cpp)."
    return Flag(help=help, kind="format", default="fp16", values=CACHE_TYPES)


@dataclass(frozen=True, kw_only=True)
class LlamaCppFlags(CapacityRequest):
    """``llama-server``."""

    ctx_size: Annotated[int | None, tokens("Cells in all (llama.cpp).")] = None
    parallel: Annotated[int | None, number("Slots (llama.cpp).")] = None
    ubatch: Annotated[int | None, number("Physical batch (llama.cpp).")] = None
    cache_type_k: Annotated[str | None, _type("K")] = None
    cache_type_v: Annotated[str | None, _type("V")] = None
    kv_unified: Annotated[bool | None, switch("One stream (llama.cpp).")] = None
    swa_full: Annotated[bool | None, switch("Whole windows (llama.cpp).")] = None
    speculative_tokens: words.SpeculativeTokens = None
    mtp_layers: words.MtpLayers = None

"""mlx-lm's flags, under their long names."""

from dataclasses import dataclass
from typing import Annotated

from kvcalc.engines import flags as words
from kvcalc.engines.flags import number, tokens
from kvcalc.engines.request import CapacityRequest


@dataclass(frozen=True, kw_only=True)
class MlxFlags(CapacityRequest):
    """``mlx_lm.generate``. max_model_len: tokens of the prompt. kv_dtype: mlx-8bit is --kv-bits 8.

    weights: the workload's format of the weights; "" where it is not asked about.
    """

    max_model_len: words.MaxModelLen = None
    kv_dtype: words.KvDtype = None
    weights: str = ""
    max_kv_size: Annotated[int | None, tokens("Most tokens of a rotating cache (mlx-lm).")] = None
    quantized_kv_start: Annotated[
        int | None, number("Tokens from which the cache is quantised (mlx-lm).", least=0)
    ] = None

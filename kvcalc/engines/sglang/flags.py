"""SGLang's flags, under the names of the command line."""

from dataclasses import dataclass
from fractions import Fraction
from typing import Annotated

from kvcalc.engines import flags as words
from kvcalc.engines.flags import share
from kvcalc.engines.request import CapacityRequest


@dataclass(frozen=True, kw_only=True)
class SglangFlags(CapacityRequest):
    """``sglang.launch_server``. state_ratio, window_ratio: how the memory is divided into pools
    (--mamba-full-memory-ratio, --swa-full-tokens-ratio)."""

    max_model_len: words.MaxModelLen = None
    kv_dtype: words.KvDtype = None
    attention_backend: words.AttentionBackend = None
    state_dtype: words.StateDtype = None
    block_size: words.BlockSize = None
    prefix_caching: words.PrefixCaching = None
    hybrid_manager: words.HybridManager = None
    max_num_seqs: words.MaxNumSeqs = None
    speculative_tokens: words.SpeculativeTokens = None
    mtp_layers: words.MtpLayers = None
    language_model_only: words.LanguageModelOnly = None
    tokens: words.PoolTokens = None
    state_ratio: Annotated[
        Fraction | None, share("Share of states to full attention (SGLang).")
    ] = None
    window_ratio: Annotated[Fraction | None, share("Window pool to full pool (SGLang).")] = None

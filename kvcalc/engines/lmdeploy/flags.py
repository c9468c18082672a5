"""lmdeploy's flags, under the words of the command line."""

from dataclasses import dataclass
from typing import Annotated

from kvcalc.engines import flags as words
from kvcalc.engines.flags import tokens
from kvcalc.engines.request import CapacityRequest


@dataclass(frozen=True, kw_only=True)
class LmdeployFlags(CapacityRequest):
    """``lmdeploy serve api_server --backend pytorch``. ``available``: what is free when the weights are
    loaded. memory_utilization: cache_max_entry_count, 0.8. max_num_seqs: max_batch_size. kv_dtype: its
    quant policy. max_num_batched_tokens: max_prefill_token_num, 8,192."""

    max_model_len: words.MaxModelLen = None
    kv_dtype: words.KvDtype = None
    block_size: words.BlockSize = None
    max_num_batched_tokens: Annotated[int | None, tokens("Tokens of one scheduler step.")] = None
    max_num_seqs: words.MaxNumSeqs = None
    memory_utilization: words.FreeShare = None

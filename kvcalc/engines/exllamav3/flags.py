"""exllamav3's ``Cache``, under the words of the command line."""

from dataclasses import dataclass

from kvcalc.engines import flags as words
from kvcalc.engines.request import CapacityRequest


@dataclass(frozen=True, kw_only=True)
class Exllamav3Flags(CapacityRequest):
    """``Cache``. tokens: max_num_tokens. max_num_seqs: max_batch_size, 16. speculative_tokens: max_history.
    kv_dtype: fp16, or q2 to q8, q8:q4 with other bits for values (CacheLayer_quant)."""

    max_model_len: words.MaxModelLen = None
    kv_dtype: words.KvDtype = None
    state_dtype: words.StateDtype = None
    max_num_seqs: words.MaxNumSeqs = None
    speculative_tokens: words.SpeculativeTokens = None
    tokens: words.PoolTokens = None

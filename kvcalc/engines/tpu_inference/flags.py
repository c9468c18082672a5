"""vLLM's flags that tpu-inference's pages follow from."""

from dataclasses import dataclass

from kvcalc.engines import flags as words
from kvcalc.engines.request import CapacityRequest


@dataclass(frozen=True, kw_only=True)
class TpuFlags(CapacityRequest):
    """``vllm serve`` with tpu-inference installed. ``available``: for the cache, on each chip."""

    max_model_len: words.MaxModelLen = None
    kv_dtype: words.KvDtype = None
    block_size: words.BlockSize = None
    max_num_seqs: words.MaxNumSeqs = None

"""TensorRT-LLM's flags, under the names of the command line."""

from dataclasses import dataclass

from kvcalc.engines import flags as words
from kvcalc.engines.request import CapacityRequest


@dataclass(frozen=True, kw_only=True)
class TensorrtLlmFlags(CapacityRequest):
    """``trtllm-serve``. memory_utilization: of the memory that its log calls available, which is
    ``available`` here (free_gpu_memory_fraction)."""

    max_model_len: words.MaxModelLen = None
    kv_dtype: words.KvDtype = None
    state_dtype: words.StateDtype = None
    block_size: words.BlockSize = None
    hybrid_manager: words.HybridManager = None
    max_num_seqs: words.MaxNumSeqs = None
    mtp_layers: words.MtpLayers = None
    tokens: words.PoolTokens = None
    memory_utilization: words.FreeShare = None

"""transformers' continuous batching: ``ContinuousBatchingConfig`` under the words of the command line."""

from dataclasses import dataclass
from typing import Annotated

from kvcalc.engines import flags as words
from kvcalc.engines.flags import switch, tokens
from kvcalc.engines.request import CapacityRequest


@dataclass(frozen=True, kw_only=True)
class TransformersCbFlags(CapacityRequest):
    """``generate_batch``. block_size: page_size. max_num_batched_tokens: max_batch_tokens. max_num_seqs:
    max_requests_per_batch. async_scheduling: use_async_batching. attention_backend: sdpa, eager or a
    flash_attention. ``available`` is what its log calls "Memory available for cache allocation"."""

    max_model_len: words.MaxModelLen = None
    kv_dtype: words.KvDtype = None
    attention_backend: words.AttentionBackend = None
    block_size: words.BlockSize = None
    max_num_batched_tokens: Annotated[int | None, tokens("Tokens of one scheduler step.")] = None
    max_num_seqs: words.MaxNumSeqs = None
    async_scheduling: Annotated[bool | None, switch("Plan ahead.")] = None

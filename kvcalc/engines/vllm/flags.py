"""vLLM's flags, under the names of the command line."""

from dataclasses import dataclass
from typing import Annotated

from kvcalc.engines import flags as words
from kvcalc.engines.flags import Flag, number, switch, text, tokens
from kvcalc.engines.request import CapacityRequest


@dataclass(frozen=True, kw_only=True)
class VllmFlags(CapacityRequest):
    """``vllm serve``. pipeline_partition: layers of each pipeline rank, where stated.

    hybrid_manager: False bills windows as full attention.
    """

    max_model_len: words.MaxModelLen = None
    kv_dtype: words.KvDtype = None
    attention_backend: words.AttentionBackend = None
    state_dtype: words.StateDtype = None
    pipeline_partition: Annotated[
        tuple[int, ...] | None, Flag(help="Layers of each pipeline rank: 16,32.", kind="numbers")
    ] = None
    decode_context_parallel: Annotated[int | None, number("Decode context parallel ranks.")] = None
    block_size: words.BlockSize = None
    prefix_caching: words.PrefixCaching = None
    hybrid_manager: words.HybridManager = None
    max_num_batched_tokens: Annotated[int | None, tokens("Tokens of one scheduler step.")] = None
    max_num_seqs: words.MaxNumSeqs = None
    speculative_tokens: words.SpeculativeTokens = None
    mtp_layers: words.MtpLayers = None
    async_scheduling: Annotated[bool | None, switch("Plan ahead.")] = None
    encoder_tokens: words.EncoderTokens = None
    language_model_only: words.LanguageModelOnly = None
    limit_mm_per_prompt: Annotated[
        str | None, text('Most items of a request: \'{"image": 4, "video": 0}\'.', "no limit")
    ] = None
    mm_encoder_tp_mode: Annotated[
        str | None, text("Towers on tensor ranks: weights (divided) or data (whole).", "weights")
    ] = None
    mm_processor_kwargs: Annotated[
        str | None, text("Bounds on an image: '{\"max_pixels\": 1003520}'.", "the model's own")
    ] = None
    mm_processor_cache_gb: Annotated[
        int | None, number("GiB of host memory for processed media.", least=0)
    ] = None

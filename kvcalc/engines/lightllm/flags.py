"""LightLLM's flags, under the words of the command line."""

from dataclasses import dataclass

from kvcalc.engines import flags as words
from kvcalc.engines.request import CapacityRequest

RELEASE = "1.2.0"


@dataclass(frozen=True, kw_only=True)
class LightllmFlags(CapacityRequest):
    """``lightllm.server.api_server``. ``available``: the space after the weights, as its log states it,
    what --mem_fraction leaves free taken off. tokens: --max_total_token_num. max_model_len:
    --max_req_total_len. kv_dtype: --llm_kv_type."""

    max_model_len: words.MaxModelLen = None
    kv_dtype: words.KvDtype = None
    tokens: words.PoolTokens = None

"""onnxruntime-genai's search options, under the words of the command line."""

from dataclasses import dataclass

from kvcalc.engines import flags as words
from kvcalc.engines.request import CapacityRequest


@dataclass(frozen=True, kw_only=True)
class OnnxruntimeGenaiFlags(CapacityRequest):
    """``GeneratorParams``. max_model_len: max_length. max_num_seqs: batch_size. kv_dtype: of the export's
    inputs and outputs."""

    max_model_len: words.MaxModelLen = None
    kv_dtype: words.KvDtype = None
    max_num_seqs: words.MaxNumSeqs = None

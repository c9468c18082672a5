"""tpu-inference's pool: equal pages of all layers, as many as the memory of a chip holds.

vLLM's planner divides the memory by the page that tpu-inference states as its padded size
(runner/kv_cache_manager.py, _create_attention_spec); one page is vLLM's null block.
"""

from fractions import Fraction

from kvcalc.engines import pages
from kvcalc.engines.holding import Holding
from kvcalc.engines.result import CapacityResult, Pool
from kvcalc.engines.tpu_inference.flags import TpuFlags
from kvcalc.engines.tpu_inference.rows import RELEASE, kept_of, page_tokens
from kvcalc.errors import UsageError
from kvcalc.spec.model import ModelSpec

_NOTE = "rules of tpu-inference's default attention kernels; no environment variable of its own set"


def hold(spec: ModelSpec, request: TpuFlags) -> Holding:
    """Pages of one sequence of max_model_len. Raises as ``kept_of`` and ``page_tokens`` do."""
    page = page_tokens(spec, request)
    return pages.hold(
        (kept_of(spec, request),), request.max_model_len or 1, page,
        version=RELEASE,
        formats={"kv": "keys and values as --kv-dtype says", "index": "", "state": ""},
        padded=("lanes", "heads are rounded up to a word of 32 bits, widths to 128 lanes"),
        rules=(f"pages of {page:,} tokens (get_page_size, for a server of this length and batch)",
               "whole lanes and words (get_kv_cache_shape)"),
        notes=(_NOTE,),
    )  # fmt: skip


def capacity(spec: ModelSpec, request: TpuFlags) -> CapacityResult:
    """Pages of a memory. Raises UsageError where nothing says how much there is."""
    kept, page = kept_of(spec, request), page_tokens(spec, request)
    memory = request.available
    if memory is None:
        raise UsageError("say how much memory there is for the cache on a chip: --available SIZE")
    size = page * sum(one.row_bytes * len(one.layers) for one in kept)
    blocks = memory.bytes // size
    longest = request.max_model_len or spec.max_position_embeddings
    each = -(-longest // page) if longest else None
    return CapacityResult(
        engine="tpu-inference",
        version=RELEASE,
        model=spec.name,
        pool=Pool(
            available_bytes=memory.bytes,
            block_tokens=page,
            bytes_per_block=size,
            num_blocks=blocks,
            tokens=blocks * page,
            max_concurrency=Fraction(blocks, each) if each else None,
            blocks_per_request=each,
            bytes_per_request=each * size if each else None,
            estimated_max_model_len=max(0, blocks - 1) * page,
            bytes=blocks * size,
        ),
        max_model_len=longest,
        logical_bytes_per_request=pages.need(spec, longest),
        groups=pages.paged(kept, page),
        rules=(f"pages of {page:,} tokens of all layers", "whole lanes and words (get_kv_cache_shape)"),
        notes=(_NOTE,),
    )  # fmt: skip

"""What sequences hold of transformers' paged cache: blocks of their own, in whole sectors."""

from kvcalc.engines import pages
from kvcalc.engines.holding import Holding
from kvcalc.engines.transformers_cb.flags import TransformersCbFlags
from kvcalc.engines.transformers_cb.models import RELEASE
from kvcalc.engines.transformers_cb.pages import paged
from kvcalc.frozen import changed
from kvcalc.spec.model import ModelSpec


def hold(spec: ModelSpec, request: TransformersCbFlags) -> Holding:
    """Blocks of one sequence of max_model_len, and what its sectors hold beside. Raises as ``paged``."""
    tokens = request.max_model_len or 1
    cache = paged(spec, request)
    held = pages.hold(
        (cache.kept,), tokens, cache.page,
        version=request.engine_version or RELEASE,
        formats={
            "kv": "keys and values in the model's format", "index": "", "state": "",
        },
        rules=(
            f"pages of {cache.page} tokens of a layer, the sequence's own "
            "(cache_allocators/full_attention.py)",
            f"sectors of {cache.sector_bytes:,} bytes, each of full or of sliding layers (cache.py)",
        ),
        notes=("beside these, two sectors that no request has (capacity counts them)",),
    )  # fmt: skip
    return changed(held, rest=lambda sequences: cache.rest_bytes(tokens, sequences))

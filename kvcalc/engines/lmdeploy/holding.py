"""lmdeploy's blocks for sequences: ceil(tokens / 64) of them, and a slot of states."""

from kvcalc.engines import pages
from kvcalc.engines.holding import Holding
from kvcalc.engines.lmdeploy.block import BLOCK, kept_of
from kvcalc.engines.lmdeploy.flags import LmdeployFlags
from kvcalc.engines.lmdeploy.models import RELEASE
from kvcalc.spec.model import ModelSpec


def hold(spec: ModelSpec, request: LmdeployFlags) -> Holding:
    """Blocks of one sequence of max_model_len. Raises as ``kept_of`` does."""
    block = request.block_size or BLOCK
    return pages.hold(
        (kept_of(spec, request),), request.max_model_len or 1, block,
        version=RELEASE,
        formats={
            "kv": "rows as lmdeploy stores them: scales beside each head, MiniCPM3's for all heads",
            "index": "",
            "state": "states in the model's format",
        },
        padded=("alignment", "each part of a block is rounded up to 256 bytes, and convolutions have a "
                "column more"),
        rules=(f"blocks of {block} tokens of all layers (DefaultBlockManager)",),
        notes=("lmdeploy's PyTorch engine (--backend pytorch): TurboMind's blocks are not accounted for",),
    )  # fmt: skip

"""What one rank of tests/verify/test_parallel.py runs; rank 0 prints what all of them found."""

import json
import os
import sys
import tempfile
import traceback
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent.parent))

import torch
import torch.distributed as dist

from kvcalc.attention.mha_mqa_gqa import SoftmaxAttention
from kvcalc.spec.loader import load_spec_text
from kvcalc.verify import parallel, shards
from kvcalc.verify.parts import Module
from kvcalc.verify.runner import one_thread
from tests.remembered import forget
from tests.verify.specs import FFN, GQA, HEAD, SPECS

MOE = f"""{HEAD.replace("100", "101").replace("true", "false")}blocks:
  a:
    attention: {GQA}
    ffn:
      kind: moe
      num_experts: 8
      num_experts_per_tok: 2
      moe_intermediate_size: 64
      expert_bias: true
      shared_expert_intermediate_size: 64
  b: {{attention: {GQA}, ffn: {FFN}}}
layers:
  - {{repeat: 1, blocks: [a, b]}}
"""


def planted_order() -> None:
    """Ranks get the right number of query heads, in the wrong order."""
    right = shards.cut

    def wrong(tensor: Any, whole: Any, rank: int, ranks: int) -> Any:
        turned = ranks - 1 - rank if tensor.name.endswith("q_proj.weight") else rank
        return right(tensor, whole, turned, ranks)

    shards.cut = wrong


def planted_replication() -> None:
    """Keys stand whole on every rank, the formula says."""
    right = SoftmaxAttention.parameters

    def wrong(self: SoftmaxAttention, hidden_size: int) -> Iterator[Any]:
        for tensor in right(self, hidden_size):
            yield replace(tensor, shard=None) if tensor.name == "k_proj.weight" else tensor

    SoftmaxAttention.parameters = wrong  # type: ignore[method-assign]


def planted_cache() -> None:
    """The cache is not divided, the formula says."""
    right = SoftmaxAttention.cache

    def wrong(self: SoftmaxAttention) -> Iterator[Any]:
        for tensor in right(self):
            yield replace(tensor, shard=None)

    SoftmaxAttention.cache = wrong  # type: ignore[method-assign]


def planted_place() -> None:
    """No module is told which rank it is on."""
    right = shards.connect

    def wrong(model: Any, spec: Any, ranks: Any) -> None:
        right(model, spec, ranks)
        for module in model.modules():
            if isinstance(module, Module):
                module.rank = 0

    parallel.connect = wrong


PLANTED: dict[str, Callable[[], None]] = {
    "planted-order": planted_order,
    "planted-replication": planted_replication,
    "planted-cache": planted_cache,
    "planted-place": planted_place,
}
# The spec that a fault is planted in, where it is not gqa's.
PLANTED_IN = {"planted-place": "lightning"}


def _spec_of(name: str) -> str:
    return PLANTED_IN.get(name, "gqa") if name in PLANTED else name


def found_in(name: str, rank: int, size: int) -> dict[str, Any]:
    text = MOE if name == "experts" else SPECS[_spec_of(name)]
    right = shards.cut, SoftmaxAttention.parameters, SoftmaxAttention.cache
    if name in PLANTED:
        forget()
        PLANTED[name]()
    try:
        spec = load_spec_text(text)
        small = parallel.small_spec(spec, size)
        ranks = shards.Ranks(rank, size, parallel._add, parallel._gather)
        with torch.inference_mode(), one_thread():
            mine = parallel.one_rank(spec, small, ranks, "cpu")
    finally:
        if name in PLANTED:
            forget()
        shards.cut, parallel.connect = right[0], shards.connect
        SoftmaxAttention.parameters = right[1]  # type: ignore[method-assign]
        SoftmaxAttention.cache = right[2]  # type: ignore[method-assign]
    everybody: list[Any] = [None] * size
    dist.all_gather_object(everybody, mine)
    proofs = parallel.proofs(everybody)
    shapes: dict[str, list[Any]] = {}
    for row in proofs[1].rows:
        if row.measured is not None and row.tensor.startswith("layers.0."):
            shapes.setdefault(row.tensor.removeprefix("layers.0."), []).append(row.measured.shape)
    return {
        "passed": [proof.passed for proof in proofs],
        "failures": [failure for proof in proofs for failure in proof.failures],
        "cache": shapes,
    }


def run(rank: int, size: int, names: list[str], meeting: Path) -> None:
    """One rank's part of a group; rank 0 prints a line."""
    dist.init_process_group("gloo", f"file://{meeting}", rank=rank, world_size=size)
    found = {name: found_in(name, rank, size) for name in names}
    dist.destroy_process_group()
    if rank == 0:
        print(json.dumps(found), flush=True)


def group(size: int, names: list[str], meeting: Path) -> bool:
    """Fork the ranks, before this process runs anything, and wait: whether all of them ended well."""
    children = []
    for rank in range(size):
        child = os.fork()
        if child == 0:
            status = 1
            try:
                run(rank, size, names, meeting)
                status = 0
            except BaseException:
                traceback.print_exc()
            os._exit(status)
        children.append(child)
    return sum(os.waitpid(child, 0)[1] for child in children) == 0


def main() -> None:
    """Each argument is a group: its number of ranks, then the names, with commas between."""
    with tempfile.TemporaryDirectory() as folder:
        for word in sys.argv[1:]:
            size, *names = word.split(",")
            if not group(int(size), names, Path(folder) / size):
                sys.exit(f"{size} ranks: one failed")


if __name__ == "__main__":
    main()

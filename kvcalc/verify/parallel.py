"""A model over several ranks: ``torchrun --nproc-per-node N -m kvcalc verify MODEL --tp N``.

*weights*  each rank's modules, made from divided fields: at true size on the meta device, name by
           name against ``ParamTensor.per_rank``, and the bytes against the calculator's device;
*cache*    what each rank kept after a prefill and decode steps, tensor by tensor against
           ``CacheTensor.per_rank``, in bf16;
*outputs*  the ranks together, prefill and decode, against the whole model, float64, within 1e-9.

Small widths, true head counts: a model keeps its number of KV heads, so that ranks hold copies of
one exactly where they would at true size. Rank 0 gets every rank's findings, and it alone reports.
"""

import os
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import timedelta
from itertools import pairwise
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from kvcalc.dtypes import CacheDtypes
from kvcalc.errors import NotFoundError, UsageError
from kvcalc.memory.cache import cache_function
from kvcalc.memory.inventory import parameter_groups
from kvcalc.memory.weights import device_weight_bytes
from kvcalc.proofs import Proof, Row, Verification, proved
from kvcalc.proofs import Tensor as Shown
from kvcalc.spec.model import ModelSpec
from kvcalc.tensors import Chunk
from kvcalc.verify.build import on_meta
from kvcalc.verify.model import ModelCache, ReferenceModel
from kvcalc.verify.places import NAME_OF, inventory, label, place_of
from kvcalc.verify.plan import plan
from kvcalc.verify.prove.small import Run
from kvcalc.verify.prove.sufficient import TOLERANCE, difference
from kvcalc.verify.reduce import HIDDEN, ROWS, reduced
from kvcalc.verify.runner import one_thread
from kvcalc.verify.shards import Ranks, connect, divided, load, of_rank, refuse

Say = Callable[[str], None]
TIMEOUT = timedelta(seconds=120)


def verify(
    spec: ModelSpec, size: int, cuda: bool = False, say: Say = lambda text: None
) -> Verification | None:
    """The findings of all ranks on rank 0, None on the others.

    Raises UsageError outside of torchrun, UnsupportedError for what is not divided here.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) != size or "RANK" not in os.environ:
        raise UsageError(
            f"--tp {size} runs one process per rank: "
            f"torchrun --nproc-per-node {size} -m kvcalc verify {spec.name} --tp {size}"
        )
    if cuda and not torch.cuda.is_available():
        raise NotFoundError(f"--device cuda: torch {torch.__version__} finds no CUDA device here")
    small = small_spec(spec, size)
    started = time.monotonic()
    rank = int(os.environ["RANK"])
    if cuda:
        torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", rank)))
    device = "cuda" if cuda else "cpu"
    dist.init_process_group("nccl" if cuda else "gloo", timeout=TIMEOUT)
    try:
        if rank == 0:
            say(f"{spec.name}: {size} ranks on {device}, {plan(small)}")
        with torch.inference_mode(), one_thread():
            mine = one_rank(spec, small, Ranks(rank, size, _add, _gather), device)
        everybody: list[Any] = [None] * size
        dist.all_gather_object(everybody, mine)
    finally:
        dist.destroy_process_group()
    if rank:
        return None
    return Verification(
        model=spec.name, source=spec.source, device=f"{size} x {device}", against="reference",
        torch_version=torch.__version__, proofs=proofs(everybody),
        changes=_changes(spec, small), plan=str(plan(small)),
        seconds=round(time.monotonic() - started),
    )  # fmt: skip


def is_reporting() -> bool:
    """Whether this process is the one that prints."""
    return os.environ.get("RANK", "0") == "0"


def _add(x: Tensor) -> Tensor:
    """The sum over all ranks, on every rank; half precision is added up in float32."""
    total = x.float() if x.dtype in (torch.bfloat16, torch.float16) else x.clone()
    dist.all_reduce(total)
    return total.to(x.dtype)


def _gather(x: Tensor) -> list[Tensor]:
    """Every rank's tensor, in order of rank."""
    parts = [torch.empty_like(x) for _ in range(dist.get_world_size())]
    dist.all_gather(parts, x.contiguous())
    return parts


# ---------------------------------------------------------------- a small model of true head counts


def small_spec(spec: ModelSpec, ranks: int) -> ModelSpec:
    """Narrow, with the head counts that ranks divide. Raises UnsupportedError by name."""
    refuse(spec, ranks)
    small = reduced(spec).spec
    blocks = {}
    for name, block in small.blocks.items():
        changes: dict[str, Any] = {
            slot: _divisible(part, spec.blocks[name].slots[slot], ranks)
            for slot, part in block.slots.items()
        }
        blocks[name] = replace(block, **changes)
    rest = spec.vocab_size % ranks
    small = replace(small, blocks=blocks, vocab_size=-(-ROWS // ranks) * ranks + rest)
    refuse(small, ranks)
    of_rank(small, ranks)
    return small


def _divisible(small: Any, true: Any, ranks: int) -> Any:
    """A mechanism's small widths with its true head counts and an inner width for every rank."""
    new = {}
    for name, kind in divided(true).items():
        if kind != "inner":
            new[name] = getattr(true, name)
        elif getattr(small, name) and getattr(true, name) % ranks == 0:
            new[name] = -(-getattr(small, name) // (2 * ranks)) * 2 * ranks
    return replace(small, **new)


def _changes(spec: ModelSpec, small: ModelSpec) -> tuple[tuple[str, int, int], ...]:
    return (("hidden_size", spec.hidden_size, HIDDEN),
            ("vocab_size", spec.vocab_size, small.vocab_size))  # fmt: skip


# ---------------------------------------------------------------- what one rank finds


@dataclass
class Findings:
    """One rank's rows and differences of each proof, and its totals (formula, measured)."""

    rank: int
    rows: dict[str, list[Row]]
    failures: dict[str, list[str]]
    totals: dict[str, tuple[int, int]]


def one_rank(spec: ModelSpec, small: ModelSpec, ranks: Ranks, device: str) -> Findings:
    """All three proofs from where one rank stands."""
    names = ("weights", "cache", "outputs")
    found = Findings(ranks.rank, {name: [] for name in names}, {name: [] for name in names}, {})
    _weights(spec, ranks, found)
    run = Run(small)
    whole = dict(run.model.named_parameters()) | dict(run.model.named_buffers())
    model = on_meta(of_rank(small, ranks.size), torch.float64).to_empty(device=device).eval()
    problems = load(model, whole, small, ranks)
    found.failures["weights"] += problems
    # Every rank must take part in every sum, or none may.
    if ranks.add(torch.tensor([float(len(problems))], device=device)).item():
        found.failures["outputs"].append(f"rank {ranks.rank}: not run, the shards do not fit")
        found.failures["cache"].append(f"rank {ranks.rank}: not run, the shards do not fit")
        return found
    connect(model, small, ranks)
    _outputs(run, model, ranks, found, device)
    _cache(run, model.to(torch.bfloat16), ranks, found, device)
    return found


def _weights(spec: ModelSpec, ranks: Ranks, found: Findings) -> None:
    """The rank's modules at true size, against the inventory's shards."""
    model = on_meta(of_rank(spec, ranks.size))
    own = dict(model.named_parameters()) | dict(model.named_buffers())
    listed = set()
    for group in parameter_groups(spec):
        for tensor in group.tensors:
            says = tensor.per_rank(ranks.size)
            bad = ""
            for layer in group.layers or (None,):
                name = (group.prefix if layer is None else group.prefix.format(layer)) + tensor.name
                listed.add(name)
                has = tuple(own[name].shape) if name in own else None
                if has != says and not bad:
                    bad = f"{name}: formula {list(says)} on each rank, measured {has and list(has)}"
            if bad:
                found.failures["weights"].append(f"rank {ranks.rank}: {bad}")
                found.rows["weights"].append(Row(bad.partition(":")[0], group.count, False))
    for name in own.keys() - listed:
        found.failures["weights"].append(f"rank {ranks.rank}: {name}: not in the formula")
    total = sum(p.numel() * p.element_size() for p in model.parameters())
    formula = device_weight_bytes(spec, "bf16", ranks.size, 1)[ranks.rank]
    _total(found, "weights", formula, total, f"{len(listed)} tensors at true size")


def _total(found: Findings, proof: str, formula: int, total: int, what: str) -> None:
    rank = found.rank
    found.totals[proof] = (formula, total)
    found.rows[proof].append(
        Row(f"rank {rank}", 1, formula == total, note=f"{what}: formula {formula} bytes, "
            f"measured {total}")
    )  # fmt: skip
    if formula != total:
        found.failures[proof].append(f"rank {rank}: formula {formula} bytes, measured {total}")


def _stretches(run: Run) -> list[tuple[int, int]]:
    if run.encoder_only:
        return [(0, run.plan.tokens)]
    edges = [0, run.plan.prefill, *range(run.plan.prefill + 1, run.plan.tokens + 1)]
    return list(pairwise(edges))


def _decode(
    run: Run, model: ReferenceModel, device: str, dtype: torch.dtype
) -> tuple[Tensor, ModelCache]:
    cache, outputs = ModelCache(), []
    ids = run.ids.to(device)
    source = run.source
    if source is not None:
        source = source.to(device, dtype) if source.is_floating_point() else source.to(device)
    for start, end in _stretches(run):
        outputs.append(model(ids[:, start:end], cache, source if start == 0 else None))
    return torch.cat(outputs, 1), cache


def _outputs(run: Run, model: ReferenceModel, ranks: Ranks, found: Findings, device: str) -> None:
    """The sharded model's outputs, decoding, against the whole model's in one pass."""
    whole = run.model(run.ids, None, run.source)
    sharded, _ = _decode(run, model, device, torch.float64)
    sharded = sharded.cpu()
    apart = difference(whole, sharded) if whole.shape == sharded.shape else float("inf")
    good = apart <= TOLERANCE
    found.rows["outputs"].append(
        Row(f"rank {ranks.rank}", 1, good, note=f"max difference {apart:.1e} from the whole model")
    )
    if not good:
        found.failures["outputs"].append(
            f"rank {ranks.rank}: outputs differ from the whole model's by {apart:.3g}: "
            "a shard holds the wrong part"
        )


def _cache(run: Run, model: ReferenceModel, ranks: Ranks, found: Findings, device: str) -> None:
    """What the rank keeps, tensor by tensor."""
    _, cache = _decode(run, model, device, torch.bfloat16)
    kept = {(place, name): tensor for place, name, tensor in cache.tensors()}
    tokens, encoder_tokens, dtypes = run.plan.tokens, run.plan.encoder_tokens, CacheDtypes()
    total = sum(tensor.untyped_storage().nbytes() for tensor in kept.values())
    dropped = 0
    for group, tensor in inventory(run.spec):
        share = replace(tensor, shape=tensor.per_rank(ranks.size))
        positions = tensor.extent.positions(tokens, encoder_tokens)
        if isinstance(tensor.extent, Chunk):
            # A chunk is dropped when the next one begins; the formula says the most it comes to.
            held = (tokens - 1) % tensor.extent.size + 1
            dropped += (positions - held) * share.position_bytes(dtypes) * len(group.layers)
            positions = held
        says = Shown(share.full_shape(1, positions), dtypes.format(tensor.role, tensor.dtype).name,
                     positions * share.position_bytes(dtypes))  # fmt: skip
        for layer in group.layers:
            key = (place_of(group, layer), tensor.name)
            got = kept.pop(key, None)
            shown = None
            if got is not None:
                shown = Shown(tuple(got.shape), NAME_OF[got.dtype], got.untyped_storage().nbytes())
            good = shown == says or (shown is None and not says.bytes)
            if not good:
                found.failures["cache"].append(
                    f"rank {ranks.rank}: {label(*key)}: formula {says}; measured {shown or 'nothing'}"
                )
            if layer == group.layers[0] or not good:
                note = f"rank {ranks.rank}, {'every rank' if tensor.shard is None else 'its share'}"
                found.rows["cache"].append(
                    Row(label(*key), len(group.layers), good, says, shown, note)
                )
    for key in kept:
        found.failures["cache"].append(f"rank {ranks.rank}: {label(*key)}: not in the formula")
    formula = cache_function(run.spec, dtypes, ranks.size).at(tokens, encoder_tokens) - dropped
    _total(found, "cache", formula, total, "cache of the small model")


def proofs(everybody: list[Findings]) -> tuple[Proof, ...]:
    """The findings of all ranks, proof by proof."""
    made = []
    for name in ("weights", "cache", "outputs"):
        failures = [failure for found in everybody for failure in found.failures[name]]
        rows = tuple(row for found in everybody for row in found.rows[name])
        totals = [found.totals[name] for found in everybody if name in found.totals]
        formula = sum(total[0] for total in totals) if totals else None
        measured = sum(total[1] for total in totals) if totals else None
        made.append(proved(name, rows, failures, unit="bytes over all ranks" if totals else None,
                           formula_total=formula, measured_total=measured))  # fmt: skip
    return tuple(made)

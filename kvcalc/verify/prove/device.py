"""*requested*, *allocated*, *peak*: what a device's allocator says of the cache and of the passes."""

from dataclasses import replace

from kvcalc.dtypes import CacheDtypes
from kvcalc.memory.workload import Workload
from kvcalc.memory.workspace import WorkspaceItem, workspace
from kvcalc.proofs import Proof, Row, Tensor, proved
from kvcalc.spec.model import ModelSpec
from kvcalc.tensors import CacheTensor, Chunk
from kvcalc.verify.allocator import explained
from kvcalc.verify.bench import Size, Trial, causal
from kvcalc.verify.build import on_meta
from kvcalc.verify.places import inventory, label, place_of
from kvcalc.verify.readings import Measured, Peaks

PERCENT = 2
# Their reference modules score half of the heads, or the chosen ones, at a time.
SCORED_IN_PARTS = ("differential", "moa")
LISTED = 6

Found = list[tuple[Trial, Peaks, Measured]]


def prove_requested(spec: ModelSpec, found: Found, size: Size) -> Proof:
    rows: list[Row] = []
    failures: list[str] = []
    formula = total = 0
    for trial, _, got in found:
        kept = {(place, name): shown for place, name, shown, _ in got.kept}
        wanted = 0
        for group, tensor in inventory(spec):
            if group.stack != "decoder":
                continue
            for layer in (index for index in group.layers if index in trial.layers):
                key = (place_of(group, layer), tensor.name)
                says, shown = _says(tensor, size), kept.pop(key, None)
                wanted += says.bytes
                good = shown == says or (shown is None and not says.bytes)
                if not good:
                    failures.append(f"{label(*key)}: formula {says}; measured {shown or 'nothing'}")
                if not trial.whole or layer == group.layers[0] or not good:
                    count = len(group.layers) if trial.whole else trial.count
                    rows.append(Row(label(*key), count, good, says, shown, trial.name))
        for key, shown in kept.items():
            failures.append(f"{label(*key)}: kept as {shown}, and the formula leaves it out")
            rows.append(Row(label(*key), 1, False, None, shown, trial.name))
        if got.requested != wanted:
            failures.append(f"{trial.name}: the allocator held {got.requested} requested bytes for the "
                            f"cache, the formula says {wanted}")  # fmt: skip
        formula, total = formula + wanted, total + got.requested
    return proved("requested", rows, failures,
                 unit="bytes", formula_total=formula, measured_total=total)  # fmt: skip


def _says(tensor: CacheTensor, size: Size) -> Tensor:
    """What the calculator says of one cached tensor."""
    dtypes = CacheDtypes()
    positions = tensor.extent.positions(size.tokens, size.encoder_tokens)
    if isinstance(tensor.extent, Chunk):
        # Dropped when the next chunk begins; the formula's number is the most it comes to.
        positions = (size.tokens - 1) % tensor.extent.size + 1
    return Tensor(tensor.full_shape(size.batch, positions),
                 dtypes.format(tensor.role, tensor.dtype).name,
                 size.batch * positions * tensor.position_bytes(dtypes))  # fmt: skip


def prove_allocated(found: Found) -> Proof:
    rows: list[Row] = []
    failures: list[str] = []
    formula = total = 0
    for trial, _, got in found:
        blocks = 0
        seen: set[tuple[str, int, int]] = set()
        for place, name, shown, block in got.kept:
            if not shown.bytes:
                continue
            blocks += block
            why = explained(shown.bytes, block)
            if not why:
                failures.append(f"{label(place, name)}: a block of {block} bytes for {shown.bytes}")
            if (name, shown.bytes, block) not in seen or not why:
                seen.add((name, shown.bytes, block))
                same = sum(
                    1 for _, n, s, b in got.kept if (n, s.bytes, b) == (name, shown.bytes, block)
                )
                rows.append(Row(label(place, name), same, bool(why), None, None, why))
        if blocks != got.allocated:
            failures.append(f"{trial.name}: the blocks add up to {blocks} bytes, "
                            f"the allocator says {got.allocated}")  # fmt: skip
        formula, total = formula + blocks, total + got.allocated
    return proved("allocated", rows, failures,
                 unit="bytes", formula_total=formula, measured_total=total)  # fmt: skip


def prove_peak(spec: ModelSpec, found: Found, size: Size) -> Proof:
    rows: list[Row] = []
    failures: list[str] = []
    for trial, expected, got in found:
        for phase, says, shown in (("prefill", expected.prefill, got.peaks.prefill),
                                   ("decode", expected.decode, got.peaks.decode)):  # fmt: skip
            if not says and not shown:
                continue
            good = 100 * abs(shown - says) <= PERCENT * says
            note = f"measured {shown} bytes, expected {says}, difference {shown - says}"
            if phase == "prefill":
                item = largest(spec, trial, size)
                if item is not None and item.bytes > shown:
                    good = False
                    failures.append(f"{trial.name}: {item.name} alone take {item.bytes} bytes by the "
                                    f"formula, and the peak is {shown}")  # fmt: skip
                note += f"; {_rest(item, expected)}"
            if 100 * abs(shown - says) > PERCENT * says:
                failures.append(
                    f"{trial.name}, {phase}: {note.partition(';')[0]}, more than {PERCENT} %"
                )
            rows.append(Row(f"{trial.name}, {phase}", 1, good, None, None, note))
    return proved("peak", rows, failures)


def largest(spec: ModelSpec, trial: Trial, size: Size) -> WorkspaceItem | None:
    """The calculator's largest workspace item that the prefill of this trial has."""
    tokens = size.tokens - 1 if causal(spec) and size.tokens > 1 else size.tokens
    if not trial.whole:
        name = on_meta(spec).names[trial.layers[-1]]
        spec = replace(spec, blocks={name: spec.blocks[name]}, encoder=None)
    parts = [getattr(block.attention, "kind", "") for block in spec.blocks.values()]
    in_parts = any(kind in SCORED_IN_PARTS for kind in parts)
    items = workspace(spec, Workload(context_tokens=tokens, batch_size=size.batch))
    for item in items:
        if item.eager_only and (in_parts or size.backend != "eager"):
            continue
        if item.name.startswith("logits") and not trial.whole:
            continue
        return item
    return None


def _rest(item: WorkspaceItem | None, expected: Peaks) -> str:
    """What lives at the peak, largest first."""
    parts = [f"{name} {num_bytes}" for name, num_bytes in expected.made_by[:LISTED]]
    more = len(expected.made_by) - LISTED
    listed = ", ".join(parts) + (f" and {more} smaller" if more > 0 else "")
    of_it = "" if item is None else f"workspace of the calculator: {item.name} {item.bytes}; "
    return f"{of_it}alive at the peak: {listed}"

"""*cache*: what a model kept after a prefill and after every decode step, tensor by tensor.

Layers of true size are run on the meta device, then all layers made small, with values.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field

import torch

from kvcalc.dtypes import CacheDtypes
from kvcalc.proofs import Proof, Row, Tensor, proved, spans
from kvcalc.spec.model import ModelSpec
from kvcalc.stack.recursion import Case
from kvcalc.tensors import CacheTensor, Chunk
from kvcalc.verify.build import on_meta
from kvcalc.verify.model import ModelCache, Place, ReferenceModel, source_shape
from kvcalc.verify.places import Key, as_tensor, inventory, label, place_of
from kvcalc.verify.prove.small import Run
from kvcalc.verify.reduce import ENCODER_TOKENS, shallow, sizes_of


@dataclass(frozen=True)
class Expected:
    """One cached tensor that the calculator lists for one layer."""

    place: Place
    tensor: CacheTensor

    @property
    def name(self) -> str:
        return label(self.place, self.tensor.name)

    def at(self, tokens: int, encoder_tokens: int) -> Tensor:
        positions = self.tensor.extent.positions(tokens, encoder_tokens)
        dtypes = CacheDtypes()
        num_bytes = positions * self.tensor.position_bytes(dtypes)
        dtype = dtypes.format(self.tensor.role, self.tensor.dtype).name
        return Tensor(self.tensor.full_shape(1, positions), dtype, num_bytes)


@dataclass
class Trial:
    """One run whose cache is watched: which model, on which tokens, and what came of it.

    stretches: (first, last + 1) tokens of each forward pass. words: where it ran, for messages.
    measured: every tensor that is kept now. most: every tensor at its largest so far.
    """

    spec: ModelSpec
    model: ReferenceModel
    ids: torch.Tensor
    source: torch.Tensor | None
    encoder_tokens: int
    stretches: list[tuple[int, int]]
    words: str
    case: Case = "worst"
    depth: int | None = None
    measured: dict[Key, Tensor] = field(default_factory=dict)
    most: dict[Key, Tensor] = field(default_factory=dict)
    failed: dict[Key, str] = field(default_factory=dict)

    @property
    def tokens(self) -> int:
        return self.stretches[-1][1]


def prove_cache(run: Run, spec: ModelSpec | None = None) -> Proof:
    """What is kept after the prefill and after each decode step, tensor by tensor.

    run: all layers, made small, with values. spec: the model at true size; two repeats of each run
    of its layers are run as well, on the meta device, where shapes and dtypes come into being as
    anywhere else and no memory does. A recursion routes by values, so it is not.
    """
    trials = []
    if spec is not None and spec.recursion is None:
        trials.append(at_true_size(shallow(spec)))
    model, source = run.in_dtype(torch.bfloat16)
    recursion = run.spec.recursion
    notes: list[str] = []
    cases: tuple[tuple[Case, int | None], ...] = (("worst", None),)
    if recursion is not None and recursion.routing == "token_choice":
        cases = (("worst", recursion.num_recursions), ("least", 1))
        notes.append(
            "token choice: every token sent as deep as it goes, then none deeper than once"
        )
    for case, depth in cases:
        trials.append(Trial(run.spec, model, run.ids, source, run.plan.encoder_tokens,
                            run.steps(run.plan.prefill), "made small", case, depth))  # fmt: skip
    rows: list[Row] = []
    failures: list[str] = []
    totals = []
    for trial in trials:
        expected = _follow(trial)
        failures += trial.failed.values()
        more, formula, total = _rows(trial, expected)
        rows += more
        totals.append((formula, total))
        if formula != total:
            failures.append(f"total, {trial.words}: formula {formula} bytes, measured {total}")
        notes.append(f"{trial.words}: prefill of {trial.stretches[0][1]} tokens, decoded to "
                     f"{trial.tokens}: {total} bytes")  # fmt: skip
    if not rows:
        notes = ["nothing is kept, and the formula says so"]
    return proved("cache", rows, failures, notes=tuple(notes),
                 unit="bytes", formula_total=totals[0][0], measured_total=totals[0][1])  # fmt: skip


def at_true_size(spec: ModelSpec) -> Trial:
    """A model on the meta device, past its windows, over the end of a chunk.

    Recurrent layers take tokens one after the other, which a long prefill would make slow; where
    there are any, only a few tokens are run: their states have one size whatever the length.
    """
    parts = [part for block in spec.blocks.values() for part in block.mechanisms()]
    blocks = sizes_of(parts, "block") | sizes_of(parts, "kernel")
    chunks = sizes_of(parts, "chunk")
    prefill = max([*sizes_of(parts, "window"), *(2 * size for size in blocks)],
                  default=64) + 5  # fmt: skip
    if chunks:
        prefill = min(chunks)
    if any(block.recurrent is not None for block in spec.blocks.values()):
        prefill = 5
    stretches = [(0, prefill), (prefill, prefill + 1)]
    encoder = spec.encoder
    tokens = 0 if encoder is None else encoder.tokens or ENCODER_TOKENS
    source = None
    if encoder is not None:
        shape = source_shape(spec, 1, tokens)
        dtype = torch.int64 if len(shape) == 2 else torch.bfloat16
        source = torch.empty(shape, dtype=dtype, device="meta")
    ids = torch.empty((1, prefill + 1), dtype=torch.int64, device="meta")
    return Trial(spec, on_meta(spec), ids, source, tokens, stretches, "true size")


def _follow(trial: Trial) -> dict[Key, Expected]:
    """Run a trial and hold the cache to the inventory after every pass."""
    expected = {
        (place_of(group, layer), tensor.name): Expected(place_of(group, layer), tensor)
        for group, tensor in inventory(trial.spec, trial.case)
        for layer in group.layers
    }
    cache = ModelCache()
    for start, end in trial.stretches:
        source = trial.source if start == 0 else None
        trial.model(trial.ids[:, start:end], cache, source, forced_depth=trial.depth)
        trial.measured = {(place, name): as_tensor(tensor)
                          for place, name, tensor in cache.tensors()}  # fmt: skip
        for key, found in trial.measured.items():
            if key not in trial.most or trial.most[key].bytes < found.bytes:
                trial.most[key] = found
        for key, problem in _problems(trial, expected, end):
            text = f"{label(*key)} after {end} tokens, {trial.words}: {problem}"
            trial.failed.setdefault(key, text)
    return expected


def _problems(
    trial: Trial, expected: dict[Key, Expected], tokens: int
) -> Iterator[tuple[Key, str]]:
    for key, wanted in expected.items():
        says = wanted.at(tokens, trial.encoder_tokens)
        # A chunk is dropped when the next one begins; the formula says the most it comes to.
        held = trial.most if isinstance(wanted.tensor.extent, Chunk) else trial.measured
        found = held.get(key)
        if found is None:
            if says.bytes:
                yield key, f"in the formula as {says}; the model keeps no such tensor"
        elif found != says:
            yield key, f"formula {says}; measured {found}"
    for key, found in trial.measured.items():
        if key not in expected:
            yield key, f"the model keeps {found}; the formula leaves it out"


def _rows(trial: Trial, expected: dict[Key, Expected]) -> tuple[list[Row], int, int]:
    """One row per tensor of equal layers, and both totals, after the last pass."""
    rows, formula, total = [], 0, 0
    for group, tensor in inventory(trial.spec, trial.case):
        keys = [(place_of(group, layer), tensor.name) for layer in group.layers]
        bad = [key for key in keys if key in trial.failed]
        shown = bad[0] if bad else keys[0]
        says = expected[shown].at(trial.tokens, trial.encoder_tokens)
        held = trial.most if isinstance(tensor.extent, Chunk) else trial.measured
        found = [held.get(key) for key in keys]
        formula += says.bytes * len(keys)
        total += sum(item.bytes for item in found if item is not None)
        name = f"{'encoder.' if group.stack == 'encoder' else ''}layers.{spans(group.layers)}"
        rows.append(Row(f"{name}.{group.slot}.{tensor.name}", len(keys), not bad, says,
                        held.get(shown), f"{tensor.extent}, {trial.words}"))  # fmt: skip
    for key, extra in trial.measured.items():
        if key not in expected:
            total += extra.bytes
            rows.append(Row(label(*key), 1, False, None, extra, trial.words))
    return rows, formula, total

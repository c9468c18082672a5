"""One model on every accelerator that is known."""

from typing import Any

from kvcalc.deployment.accelerator import Accelerator
from kvcalc.deployment.answer import Fit, FitRequest, step_of
from kvcalc.deployment.fit import answered
from kvcalc.deployment.hardware import catalogue
from kvcalc.deployment.notes import notes_for
from kvcalc.deployment.overhead import was_measured
from kvcalc.deployment.planner import Planner
from kvcalc.errors import UnsupportedError
from kvcalc.frozen import changed, frozen
from kvcalc.memory.shown import Shown


@frozen
class Everywhere(Shown):
    """The answer for every accelerator that runs the model, in the catalogue's order."""

    each: tuple[Fit, ...]

    @property
    def fits(self) -> bool:
        """Whether it holds on any."""
        return any(one.fits for one in self.each)

    def to_dict(self) -> dict[str, Any]:
        """What ``--format json`` prints as a list, by the names of the accelerators."""
        return {one.device.name: one.to_dict() for one in self.each}

    @property
    def figures(self) -> object:
        return [one.figures for one in self.each]

    @property
    def sentences(self) -> tuple[str, ...]:
        return tuple(note for one in self.each for note in one.notes)

    def noted(self, notes: tuple[str, ...]) -> "Everywhere":
        return changed(self, each=tuple(one.noted(notes) for one in self.each))


def everywhere(planner: Planner, request: FitRequest, advise: bool) -> list[Fit]:
    """The answer for every accelerator that the engine runs the model on, and a note on the others.

    advise: whether the format has a place for what would make it fit. Raises UnsupportedError where the
    engine runs the model on none.
    """
    record = request.record
    without = [
        one.name for one in catalogue() if record.runs_on(one, request.engine_version) is not None
    ]
    note: tuple[str, ...] = (
        (f"{record.words} does not run on {len(without)} others: --gpu NAME says why",)
        if without
        else ()
    )
    # Devices with the same memory, under the same rules, have the same answer but for their names.
    known: dict[tuple[object, ...], Fit | UnsupportedError] = {}
    refused: list[tuple[Accelerator, UnsupportedError]] = []
    fits: list[Fit] = []
    for device in catalogue():
        if device.name in without:
            continue
        rules = (device.bytes, device.sm, planner.kernels(device, request), step_of(device, request),
                 planner.share(device, request),
                 was_measured(device.name, request.engine, request.engine_version),
                 device.name if advise else "")  # fmt: skip
        if rules not in known:
            try:
                here = planner.on(device, request)
                known[rules] = answered(planner, here, planner.spec.name, advise)
            except UnsupportedError as error:
                known[rules] = error
        found = known[rules]
        if isinstance(found, UnsupportedError):
            refused.append((device, found))
        else:
            fits.append(changed(found, device=device))
    if not fits and refused:
        raise _most_said([error for _, error in refused])
    if refused:
        first, reason = refused[0]
        others = f"not this model on {len(refused)} others, {first.name} among them: {reason}"
        note = (*note, others)
    return [changed(one, notes=(*one.notes, *notes_for(planner.spec, one), *note)) for one in fits]


def _most_said(errors: list[UnsupportedError]) -> UnsupportedError:
    """The refusal of most accelerators: what one of them lacks is not why none runs the model."""
    said = [str(error) for error in errors]
    return max(errors, key=lambda error: said.count(str(error)))

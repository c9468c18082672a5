"""Does it fit, how far does it go, and what to change when it does not: ``kvcalc fit``."""

from kvcalc.deployment.advice import changes_for
from kvcalc.deployment.answer import Change, Fit, FitRequest
from kvcalc.deployment.hardware import Accelerator
from kvcalc.deployment.notes import notes_for
from kvcalc.deployment.overhead import was_measured
from kvcalc.deployment.planner import Planner
from kvcalc.frozen import changed


def fit(
    planner: Planner, device: Accelerator, request: FitRequest, model: str | None = None, *,
    advise: bool = True,
) -> Fit:  # fmt: skip
    """The whole answer. model: as commands are to name it; None takes the spec's name. advise:
    whether what would make it fit is asked for.

    Raises UnsupportedError where the layout does not divide the model, or the engine does not run on
    the device.
    """
    verdict = planner.verdict(device, request)
    held = planner.holding(device, request)
    fewest = planner.fewest(device, request)
    answer = Fit(
        model=planner.spec.name,
        model_context=planner.spec.max_position_embeddings,
        device=device,
        request=request,
        version=held.version if held is not None
        else request.engine_version or request.record.version,
        measured=was_measured(device.name, request.engine, request.engine_version),
        share=planner.share(device, request),
        budget=planner.budget(device, request),
        devices=planner.devices(device, request),
        verdict=verdict,
        longest_context=planner.longest_context(device, request),
        longest_context_least=planner.longest_context(device, request, 1),
        largest_batch=planner.largest_batch(device, request),
        largest_batch_least=planner.largest_batch(device, request, 1),
        fewest=fewest,
        fewest_verdict="does not fit" if fewest is None
        else planner.verdict(device, request.of(layout=fewest)),
        changes=(),
        notes=(),
    )  # fmt: skip
    changes: tuple[Change, ...] = ()
    if verdict == "does not fit" and advise:
        changes = tuple(changes_for(planner, answer, model or planner.spec.name))
    stop = planner.stops(device, request) or planner.stops(device, request, 1)
    notes = (*((stop,) if stop else ()), *notes_for(planner.spec, answer))
    return changed(answer, changes=changes, notes=notes)

"""Does it fit, how far does it go, and what to change when it does not: ``kvcalc fit``."""

from kvcalc.deployment.advice import changes_for
from kvcalc.deployment.answer import Fit, FitRequest
from kvcalc.deployment.hardware import Accelerator
from kvcalc.deployment.notes import notes_for
from kvcalc.deployment.overhead import was_measured
from kvcalc.deployment.planner import Planner
from kvcalc.deployment.server import Server
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
    answer = answered(planner, planner.on(device, request), model or planner.spec.name, advise)
    return changed(answer, notes=(*answer.notes, *notes_for(planner.spec, answer)))


def answered(planner: Planner, here: Server, model: str, advise: bool) -> Fit:
    """The same without the notes that say what was assumed: why a server does not start stands there."""
    answer = numbers(planner, here)
    if answer.verdict == "does not fit" and advise:
        answer = changed(answer, changes=tuple(changes_for(planner, answer, model)))
    stop = here.stops() or here.stops(1)
    return changed(answer, notes=(stop,) if stop else ())


def numbers(planner: Planner, here: Server) -> Fit:
    """The same without what would help and without notes."""
    device, request = here.device, here.request
    verdict, held, fewest = here.verdict(), here.holding, planner.fewest(here)
    return Fit(
        model=planner.spec.name,
        model_context=planner.spec.max_position_embeddings,
        device=device,
        request=request,
        version=held.version if held is not None
        else request.engine_version or request.record.version,
        measured=was_measured(device.name, request.engine, request.engine_version),
        share=planner.share(device, request),
        budget=planner.budget(device, request),
        devices=here.devices(),
        verdict=verdict,
        longest_context=here.longest_context(),
        longest_context_least=here.longest_context(1),
        largest_batch=here.largest_batch(),
        largest_batch_least=here.largest_batch(1),
        fewest=None if fewest is None else fewest.request.layout,
        fewest_verdict="does not fit" if fewest is None else fewest.verdict(),
        changes=(),
        notes=(),
    )  # fmt: skip

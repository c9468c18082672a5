"""Which of several models fit: ``kvcalc fit`` of patterns, folders and names, and the engine it takes."""

from collections.abc import Callable, Iterator, Mapping

from kvcalc.convert.locate import locate
from kvcalc.convert.seen import with_media
from kvcalc.deployment.answer import FitRequest
from kvcalc.deployment.choice import Asked as AskedOf
from kvcalc.deployment.choice import Choices, choose
from kvcalc.deployment.hardware import Accelerator
from kvcalc.deployment.lacking import lacking
from kvcalc.deployment.notes import overhead_note
from kvcalc.deployment.overhead import was_measured
from kvcalc.deployment.planner import Planner
from kvcalc.deployment.together import Together, together
from kvcalc.engines import SERVING
from kvcalc.errors import KvcalcError, SpecError, UsageError
from kvcalc.file_types import recipe
from kvcalc.frozen import changed
from kvcalc.memory.estimate import choose_workload
from kvcalc.memory.workload import Asked
from kvcalc.spec.catalog import Found, expand
from kvcalc.spec.model import ModelSpec


def engine_for(dtype: str | None, device: Accelerator | None) -> tuple[str, str]:
    """The engine where none is named, and why it is that one, to end a line."""
    if dtype is not None and recipe(dtype) is not None:
        return "llama.cpp", f", as {dtype} is a GGUF type"
    if dtype is not None and dtype.startswith("mlx-"):
        return "mlx", f", as {dtype} is an mlx type"
    if device is not None and device.vendor == "Apple":
        return "mlx", ", as the machine is a Mac"
    return SERVING, ", as no engine was named"


def is_file(spec: ModelSpec) -> bool:
    """Whether the model came with a file that llama.cpp loads."""
    if spec.own_dtype != "checkpoint":
        return False
    from kvcalc.engines.llama_cpp.file import is_gguf

    return is_gguf(spec)


def which(
    models: list[str], device: Accelerator, asked: Asked, request: FitRequest, why: str,
    find: Callable[[str], Found] = locate, every: bool | None = None,
) -> Choices:  # fmt: skip
    """The answer. request: the question, but for its workload. find: reads a model. every: whether each
    format is answered, and not only down to the best one; None: of one model. Raises the first refusal
    where no model could be asked about."""
    unread = request.record.unread(request.engine_version)
    names = list(dict.fromkeys(expand(models)))
    questions, refused = [], None
    seen: dict[str, tuple[str, ...]] = {}
    for name in names:
        try:
            questions.append(_question(name, asked, request, seen, find))
        except SpecError:
            raise
        except KvcalcError as error:
            if name in models:
                raise
            refused = refused or error
    if not questions:
        raise refused or UsageError("no model was named")
    choices = choose(device, questions, asked.dtype, len(names) == 1 if every is None else every)
    if not any(choice.ways for choice in choices):
        raise UsageError(choices[0].reason)
    first = questions[0][2]
    lack = lacking(device, questions[0], choices[0]) if len(choices) == 1 else ()
    record = first.record
    measured = was_measured(device.name, record.name, request.engine_version)
    return Choices(
        device=device, request=first, version=request.engine_version or record.version,
        measured=measured, choices=choices, why=why,
        notes=(*lack, *unread, *request.notes, *_found(names, find), *_said(seen),
               *_notes(device, questions[0][1], first, measured)),
    )  # fmt: skip


def _found(names: list[str], find: Callable[[str], Found]) -> Iterator[str]:
    """What was assumed to find models that are no shipped ones by their own names."""
    for name in names:
        if "/" in name:
            yield from find(name).assumptions


def side_by_side(
    models: list[str], device: Accelerator, asked: Asked, request: FitRequest, why: str
) -> Together:
    """Several models on one device at once. request: the question, but for its workload. A model
    that is named twice runs twice."""
    names = expand(models)
    if len(names) < 2:
        raise UsageError("--together is of several models: name two, or leave it out")
    seen: dict[str, tuple[str, ...]] = {}
    found = together(device, [_question(name, asked, request, seen) for name in names], why)
    return changed(found, notes=(*found.notes, *_said(seen)))


def _said(seen: Mapping[str, tuple[str, ...]]) -> Iterator[str]:
    """What each model makes of what is put in; of several, with the names of those that agree."""
    of: dict[str, list[str]] = {}
    for name, notes in seen.items():
        for note in notes:
            of.setdefault(note, []).append(name)
    for note, names in of.items():
        more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
        yield note if len(seen) == 1 else f"{', '.join(names[:_NAMED])}{more}: {note}"


# So many models are named before a note that they share.
_NAMED = 3


def _question(
    name: str, asked: Asked, request: FitRequest, seen: dict[str, tuple[str, ...]],
    find: Callable[[str], Found] = locate,
) -> AskedOf:  # fmt: skip
    """seen: where what it makes of what is put in is noted."""
    found = find(name)
    put, seen[name] = with_media(asked, found.spec, found.path, request.engine)
    beside, _ = request.record.drafting(found.spec, put.beside)
    workload = choose_workload(found.spec, changed(put, beside=beside))[0]
    return name, Planner(found.spec), changed(request, workload=workload)


def _notes(
    device: Accelerator, planner: Planner, request: FitRequest, measured: bool
) -> Iterator[str]:
    record = request.record
    if record.placed is not None:
        if record.placed_note:
            yield record.placed_note
        if record.files and planner.spec.towers and not request.workload.media:
            yield (
                "a projector (--mmproj) lies on the device only where something is to be seen (--images 1)"
            )
        if record.name != "llama.cpp":
            yield (
                f"context and slots as asked, not {record.words}'s defaults: 'kvcalc fit MODEL --dtype "
                f"TYPE --engine {record.name}' has those"
            )
    else:
        share = planner.share(device, request).note
        if share:
            yield share
        if record.takes is not None and record.takes(request.engine_version):
            yield overhead_note(measured)
    if not device.measured:
        yield f"{device.name}: the vendor's {device.nominal}, of which a program may see a tenth less"

"""The other way round: which models fit a device, in which format, how far each goes.

The formats of a model are those in which its engine runs it, widest first (kvcalc.deployment.formats);
the best is the widest that fits, and every verdict is the one that ``kvcalc fit`` has of that format.
"""

from collections.abc import Iterable, Iterator

from kvcalc.deployment.answer import FitRequest, Verdict
from kvcalc.deployment.command import command, options_of
from kvcalc.deployment.formats import formats_of, least_bytes
from kvcalc.deployment.hardware import Accelerator
from kvcalc.deployment.planner import Planner
from kvcalc.errors import KvcalcError, SpecError
from kvcalc.frozen import frozen
from kvcalc.memory.shown import Shown
from kvcalc.memory.weights import summarise


@frozen(kw_only=True)
class Way:
    """A model in one format; weights_bytes is null where less than they take is more than there is.

    weights_bytes: of all devices. free_bytes: left for the cache on the fullest device, before the
    requests. longest_context: for the batch; largest_batch: for the context; 0: none, None: any.

    Fields:
        command: the line of kvcalc fit that says more.
        run: the engine's own command, empty where kvcalc knows none.
    """

    dtype: str
    verdict: Verdict
    free_bytes: int | None = None
    longest_context: int | None = 0
    largest_batch: int | None = 0
    command: str = ""
    run: str = ""
    weights_bytes: int | None

    @property
    def holds(self) -> bool:
        return self.verdict != "does not fit"


@frozen(kw_only=True)
class Choice:
    """One model. context_tokens: that it was asked about. ways: widest first, up to the best where not
    all were asked for. reason: why the engine does not run it; it has no ways then.
    """

    model: str
    parameters: int
    context_tokens: int
    model_context: int | None
    ways: tuple[Way, ...]
    reason: str = ""

    @property
    def best(self) -> Way | None:
        """The widest format that fits."""
        return next((way for way in self.ways if way.holds), None)

    @property
    def fits(self) -> bool:
        return self.best is not None

    @property
    def figures(self) -> object:
        """Every number and verdict of it."""
        return self.model, self.reason, [
            (way.verdict, way.weights_bytes, way.free_bytes, way.longest_context, way.largest_batch)
            for way in self.ways
        ]  # fmt: skip


@frozen(kw_only=True)
class Choices(Shown):
    """The answer: those that fit, the largest first, then the others. request: for the first model.

    why: why this engine, where none was named.
    """

    device: Accelerator
    request: FitRequest
    version: str | None
    measured: bool
    choices: tuple[Choice, ...]
    why: str = ""
    notes: tuple[str, ...] = ()

    @property
    def fits(self) -> bool:
        """Whether one of them does."""
        return any(choice.fits for choice in self.choices)

    @property
    def figures(self) -> object:
        return [choice.figures for choice in self.choices]

    @property
    def context_tokens(self) -> int:
        """The longest that any was asked about: without --context a short model has its own."""
        return max(choice.context_tokens for choice in self.choices)


Asked = tuple[str, Planner, FitRequest]


def choose(
    device: Accelerator, asked: Iterable[Asked], dtype: str | None, every: bool
) -> tuple[Choice, ...]:
    """Every model's choice: those that fit first, of each kind the largest first.

    asked: (the model as it was named, its planner, the question of it). dtype: the one format that
    is asked about, or None for all that the engine has. every: every format's answer, not only down
    to the best one's.
    """
    return tuple(sorted((_choice(device, one, dtype, every) for one in asked), key=_order))


def _order(one: Choice) -> tuple[bool, bool, int, str]:
    return one.best is None, bool(one.reason), -one.parameters, one.model


def _choice(device: Accelerator, asked: Asked, dtype: str | None, every: bool) -> Choice:
    name, planner, request = asked
    spec, ways, reason = planner.spec, [], ""
    formats = (dtype,) if dtype is not None else formats_of(planner, request.record, device)
    for each in formats:
        try:
            way = way_of(device, name, planner, request.of(dtype=each), every)
        except SpecError:
            raise
        except KvcalcError as error:
            reason = reason or str(error)
            continue
        ways.append(way)
        if way.holds and not every:
            break
    return Choice(
        model=name, parameters=summarise(spec).total,
        context_tokens=request.workload.context_tokens, model_context=spec.max_position_embeddings,
        ways=tuple(_narrowing(ways)), reason="" if ways else reason,
    )  # fmt: skip


def _narrowing(ways: list[Way]) -> Iterator[Way]:
    """Without a format that takes no less than the one before it."""
    least: int | None = None
    for way in ways:
        if way.weights_bytes is not None and least is not None and way.weights_bytes >= least:
            continue
        least = way.weights_bytes
        yield way


def way_of(
    device: Accelerator, name: str, planner: Planner, request: FitRequest, every: bool
) -> Way:
    """One format. every: exact bytes of what cannot fit, too. Raises for what the engine refuses."""
    record, dtype, layout = request.record, request.workload.dtype, request.layout
    record.check_device(device, request.engine_version)
    record.check_weights(planner.spec, dtype)
    least = least_bytes(planner.spec, dtype)
    if not every and least is not None and least > layout.devices * device.bytes:
        return Way(dtype=dtype, verdict="does not fit", weights_bytes=None)
    num_bytes = planner.weight_bytes(dtype)
    line = command(name, device, options_of(request, planner.spec.own_dtype))
    if record.placed is not None:
        placed = record.placed(planner.spec, device, request.workload, num_bytes)
        return Way(
            dtype=dtype, verdict=placed.verdict, weights_bytes=placed.file_bytes or num_bytes,
            free_bytes=placed.free_bytes, longest_context=placed.longest_context,
            largest_batch=placed.largest_batch, command=line,
            # Others that run it are not started so.
            run=placed.command if record.name == "llama.cpp" else "",
        )  # fmt: skip
    if num_bytes > layout.devices * planner.budget(device, request):
        planner.admission(device, request)  # What the engine refuses is said, be there room or not.
        return Way(dtype=dtype, verdict="does not fit", weights_bytes=num_bytes)
    here = planner.on(device, request)
    verdict, free = here.verdict(), here.memory()[0]
    if verdict == "does not fit":
        return Way(dtype=dtype, verdict=verdict, weights_bytes=num_bytes, free_bytes=free)
    return Way(
        dtype=dtype, verdict=verdict, weights_bytes=num_bytes, free_bytes=free,
        longest_context=here.longest_context(),
        largest_batch=here.largest_batch(), command=line,
    )  # fmt: skip

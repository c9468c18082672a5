"""Everything that ``kvcalc estimate`` is asked, and on which road it is answered: the command and the
library ask here, so that both answer, and refuse, alike."""

from collections.abc import Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from kvcalc.convert.beside import Drafting, Lora
from kvcalc.dtypes import CacheDtypes, cache_dtype
from kvcalc.engines import ALL, NEED, engine_of
from kvcalc.errors import UnsupportedError, UsageError
from kvcalc.frozen import changed, frozen
from kvcalc.memory.accounting import Accounting
from kvcalc.memory.asked_beside import NOTHING, Beside
from kvcalc.memory.estimate import Estimate, answer, choose_workload
from kvcalc.memory.shown import Shown
from kvcalc.memory.towers import only_of
from kvcalc.memory.workload import Asked, Workload
from kvcalc.spec.catalog import Found
from kvcalc.spec.model import ModelSpec
from kvcalc.spec.words import first_said

if TYPE_CHECKING:
    from kvcalc.deployment.accelerator import Accelerator
    from kvcalc.engines.traffic import TrafficQuestion
    from kvcalc.engines.workload import EngineCache, Row


@frozen(kw_only=True)
class EstimateQuestion:
    """What was asked of every model, whoever asked it.

    asked: the workload as far as it was said, without the cache's format and what is loaded beside;
    workload: a whole one, in its place. kv_dtype: in the engine's words, None where it was not said.
    engine: of the registry, or ``all``. attention: what if it had this one. set_fields: ``FIELD=VALUE``,
    changes of the model. only: the part that is asked for, ``language``. gpus: whose kernels decide
    formats, as they were named.
    """

    asked: Asked = Asked()
    workload: Workload | None = None
    kv_dtype: str | None = None
    drafting: Drafting = Drafting()
    lora: Lora = Lora()
    engine: str = NEED
    engine_version: str | None = None
    attention: str | None = None
    set_fields: tuple[str, ...] = ()
    only: str | None = None
    gpus: tuple[str, ...] = ()


@frozen
class EngineEstimate(Shown):
    """The need of a model, and what an engine holds for it in its blocks."""

    need: Estimate
    held: "EngineCache"

    @property
    def figures(self) -> object:
        return self.need.figures, changed(self.held, rules=(), notes=())

    @property
    def sentences(self) -> tuple[str, ...]:
        return (*self.held.rules, *self.held.notes, *self.need.sentences)

    def noted(self, notes: tuple[str, ...]) -> "EngineEstimate":
        return changed(self, need=self.need.noted(notes))


@frozen
class AllEngines(Shown):
    """The need of a model, and every accounting beside it, refusals included."""

    need: Estimate
    engines: "tuple[Row, ...]"

    @property
    def figures(self) -> object:
        return self.need.figures, self.engines

    @property
    def sentences(self) -> tuple[str, ...]:
        return self.need.sentences

    def noted(self, notes: tuple[str, ...]) -> "AllEngines":
        return changed(self, need=self.need.noted(notes))


EstimateAnswer = Estimate | EngineEstimate | AllEngines


def estimate_answer(
    found: Sequence[Found], question: EstimateQuestion
) -> tuple[EstimateAnswer, ...]:
    """An answer for each model: the need, a library's tensors, or an engine's blocks beside the need.

    Raises UsageError for what makes no sense together or says nothing of the engine, NotFoundError for
    names that there are not, UnsupportedError for what the engine does not run or kvcalc cannot account
    for.
    """
    answers = _answers(found, question)
    asked = question.asked
    sizes = Asked(
        context_tokens=asked.context_tokens, batch_size=asked.batch_size, dtype=asked.dtype
    )
    plain = EstimateQuestion(asked=sizes, workload=question.workload, engine=question.engine)
    if question == plain and "+" not in (asked.dtype or ""):
        return answers  # Mostly, and then nothing is imported to ask again.
    from kvcalc.deployment.needless import changing_nothing
    from kvcalc.deployment.said import said_of_estimate

    said, noted = list(said_of_estimate(question)), []
    for each, one in zip(found, answers, strict=True):
        again = partial(_again, each)
        noted.append(one.noted(tuple(changing_nothing(said, again, one))))
    return tuple(noted)


def _again(found: Found, less: EstimateQuestion) -> EstimateAnswer:
    return _answers((found,), less)[0]


def _answers(found: Sequence[Found], question: EstimateQuestion) -> tuple[EstimateAnswer, ...]:
    """The same, whatever changes nothing."""
    device, beside = _device(question), question.drafting.beside
    needs = tuple([need_of(each, question, beside) for each in found])
    if _counts_tensors(question.engine):
        return needs
    from kvcalc.engines.workload import side_by_side, workload_cache

    kv_dtype, version = question.kv_dtype, question.engine_version
    if question.engine != ALL:
        return tuple(
            EngineEstimate(one, workload_cache(question.engine, one.spec, one.workload, kv_dtype,
                                               version, device))
            for one in needs
        )  # fmt: skip
    if version is not None:
        raise UsageError("--engine-version: name one --engine for it")
    return tuple(AllEngines(one, side_by_side(one.spec, one.workload, kv_dtype)) for one in needs)


def need_among(found: Found, question: EstimateQuestion) -> Estimate:
    """One of several models' needs. Raises UnsupportedError naming the model."""
    try:
        return need_of(found, question)
    except UnsupportedError as error:
        raise UnsupportedError(f"{found.spec.name}: {error.message}") from None


def of_requests(question: EstimateQuestion, **pools: Any) -> "TrafficQuestion":
    """The same, asked of requests whose lengths a file has. pools: the rest of the TrafficQuestion.

    Raises UsageError for what says nothing beside their lengths.
    """
    from kvcalc.engines.traffic import TrafficQuestion

    asked, lora = question.asked, question.lora.said
    needless = first_said({
        "--context": asked.context_tokens,
        "--batch": asked.batch_size if asked.batch_size != 1 else None,
        "--beams": asked.beams if asked.beams != 1 else None,
        "--attention": question.attention,
        "--dtype": asked.dtype,
        "--images": asked.put.images or None,
        "--audio": asked.put.audio or None,
        "--video": asked.put.video or None,
        "--only": question.only,
        "--draft": question.drafting.draft,
        "--mtp-layers": question.drafting.mtp_layers,
        lora or "--lora-rank": lora,
    })  # fmt: skip
    if needless is not None:
        raise UsageError(f"{needless} says nothing beside --lengths: leave it out")
    if question.engine == ALL:
        raise UsageError("--lengths answers for one --engine")
    return TrafficQuestion(
        engine=question.engine, engine_version=question.engine_version, asked=asked,
        kv_dtype=question.kv_dtype, set_fields=question.set_fields, **pools,
    )  # fmt: skip


def _device(question: EstimateQuestion) -> "Accelerator | None":
    """One of the devices whose kernels decide formats, where they were named."""
    if not question.gpus:
        return None
    from kvcalc.deployment.where import one_of_equal

    layout = question.asked.layout if question.workload is None else question.workload.layout
    return one_of_equal(question.gpus, layout.tensor * layout.pipeline)


def need_of(found: Found, question: EstimateQuestion, beside: Beside = NOTHING) -> Estimate:
    """One model's need, or what a library keeps of it, beside the real one's where another attention was
    asked for. beside: what drafts. Raises as ``estimate_answer``."""
    if question.set_fields:
        from kvcalc.spec.set_fields import with_set

        found = with_set(found, question.set_fields)
    spec, said = only_of(found.spec, question.only)
    workload, filled, places = _workload(found, spec, question, beside)
    notes = (*filled, *_unread(question), *said, *places, *found.assumptions)
    if question.attention is None:
        stored = None if said else found.weights
        accounting = _accounting(question, spec, workload)
        return answer(spec, workload, notes, accounting, stored, found.path)
    from kvcalc.memory.whatif import against_real
    from kvcalc.spec.variants import with_attention

    real = answer(spec, workload, (), _accounting(question, spec, workload))
    spec, how = with_attention(spec, question.attention)
    accounting = _accounting(question, spec, workload)
    return against_real(answer(spec, workload, (*how, *notes), accounting, None, found.path), real)


def workload_answer(found: Found, question: EstimateQuestion) -> tuple[Workload, tuple[str, ...]]:
    """The whole workload that is asked about, and what was assumed of it and of the model."""
    workload, filled, places = _workload(found, found.spec, question, question.drafting.beside)
    return workload, (*found.assumptions, *filled, *places)


def _workload(
    found: Found, spec: ModelSpec, question: EstimateQuestion, beside: Beside
) -> tuple[Workload, tuple[str, ...], tuple[str, ...]]:
    """The whole workload of a model, what was assumed of it, and of what is put in. spec: the part that
    is asked for."""
    if question.workload is not None:
        return question.workload, (), ()
    asked = question.asked
    places: tuple[str, ...] = ()
    if asked.put:
        from kvcalc.convert.media import with_media

        asked, places = with_media(asked, found.spec, found.path, question.engine)
    kept = found.weights is not None and question.attention is None
    if question.engine not in (NEED, ALL):
        beside, drafts = engine_of(question.engine).drafting(spec, beside)
        places = (*drafts, *places)
    workload, filled = choose_workload(spec, changed(
        asked, dtype=asked.dtype or ("checkpoint" if kept else None),
        kv_dtype=_logical_format(question.kv_dtype, question.engine),
        beside=question.lora.of(beside, spec, question.engine),
    ))  # fmt: skip
    return workload, filled, places


def _unread(question: EstimateQuestion) -> Iterator[str]:
    """What was said and decides nothing. Raises UsageError for draft tokens that nobody drafts."""
    drafting, engine = question.drafting, question.engine
    drafted = drafting.draft is not None or drafting.mtp_layers
    if drafting.speculative_tokens is not None and not (drafted or _asks_for_drafts(engine)):
        from kvcalc.deployment.needless import DRAFT_TOKENS

        raise UsageError(DRAFT_TOKENS)
    if question.gpus and (engine in (NEED, ALL) or engine_of(engine).loads is None):
        yield "--gpu decides nothing here: with --engine vllm or sglang it does"


def _asks_for_drafts(engine: str) -> bool:
    """Whether the engine takes draft tokens from elsewhere than a model."""
    from kvcalc.deployment.needless import LOCAL

    return not (_counts_tensors(engine) or engine in LOCAL)


def _counts_tensors(engine: str) -> bool:
    """Whether the engine's answer is tensors, not blocks; for the need, without looking at any."""
    if engine == ALL:
        return False
    return engine == NEED or engine_of(engine).accounting is not None


def _logical_format(kv_dtype: str | None, engine: str) -> str:
    """The format of the logical need: an engine's own formats are beside bf16. Raises UsageError."""
    if kv_dtype is None:
        return "bf16"
    if engine == ALL or _counts_tensors(engine):
        return cache_dtype(kv_dtype)
    return CacheDtypes.need(kv_dtype)


def _accounting(
    question: EstimateQuestion, spec: ModelSpec, workload: Workload
) -> Accounting | None:
    """Whose tensors to count. None: what the mechanisms need."""
    if question.engine in (NEED, ALL):
        if question.engine == NEED and question.engine_version is not None:
            raise UsageError("--engine-version: the logical accounting has no versions")
        return None
    record = engine_of(question.engine)
    if record.accounting is None:
        return None
    record.check_layout(workload.layout)
    record.check_ranks(spec, workload.layout)
    record.check_weights(spec, workload.dtype)
    return record.accounting(spec, workload.cache, question.engine_version)

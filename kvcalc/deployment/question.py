"""Everything that ``kvcalc fit`` is asked, and on which road it is answered: the command and the library
ask here, so that both answer, and refuse, alike."""

import os
from collections.abc import Callable, Mapping
from functools import cache, partial
from typing import TYPE_CHECKING, Any

from kvcalc.convert.beside import Drafting, Lora
from kvcalc.convert.locate import locate
from kvcalc.convert.seen import with_media
from kvcalc.deployment.accelerator import Accelerator
from kvcalc.deployment.answer import Fit, FitRequest
from kvcalc.deployment.choice import Choices
from kvcalc.deployment.everywhere import Everywhere, everywhere
from kvcalc.deployment.fit import fit
from kvcalc.deployment.needless import (
    DRAFT_TOKENS,
    LOCAL,
    changing_nothing,
    check_served,
    refuse_foreign,
    refuse_needless,
)
from kvcalc.deployment.planner import Planner
from kvcalc.deployment.said import said_of_fit
from kvcalc.deployment.together import Together
from kvcalc.deployment.where import Where
from kvcalc.deployment.which import engine_for, is_file, side_by_side, which
from kvcalc.engines import NEED, SERVING, engine_of
from kvcalc.engines.flags import option_of
from kvcalc.engines.media import ServedMedia, check_items, served_part
from kvcalc.errors import UsageError
from kvcalc.file_types import weight_word
from kvcalc.frozen import changed, frozen
from kvcalc.memory.asked_beside import NOTHING
from kvcalc.memory.estimate import choose_workload
from kvcalc.memory.needless import needless
from kvcalc.memory.workload import Asked, Workload
from kvcalc.spec.catalog import Found, expand, is_pattern
from kvcalc.spec.file_spec import FileSpec
from kvcalc.spec.words import first_said

if TYPE_CHECKING:
    from fractions import Fraction

    from kvcalc.engines.llama_cpp.files import LocalFiles
    from kvcalc.engines.llama_cpp.local import LocalFit

    FitAnswer = Fit | Everywhere | Choices | Together | LocalFit | LocalFiles


@frozen(kw_only=True)
class FitQuestion:
    """What was asked, whoever asked it.

    models: names, patterns, paths. found: the only one, where it is at hand. together: all of them at
    once; several: which of them, be it one. asked: the workload as far as it was said, without the ranks
    that ``where`` has, the cache's format, and what is loaded beside; workload: a whole one, in its place.
    kv_dtype: None where it was not said. engine: None takes the one that ``engine_for`` says.
    utilization to eager: how a server is run. flags: of llama.cpp, None where they were not said.
    advise: whether what would make it fit is asked for on every accelerator.
    """

    models: tuple[str, ...]
    where: Where
    asked: Asked
    found: Found | None = None
    together: bool = False
    several: bool = False
    workload: Workload | None = None
    kv_dtype: str | None = None
    drafting: Drafting = Drafting()
    lora: Lora = Lora()
    engine: str | None = None
    engine_version: str | None = None
    utilization: "Fraction | None" = None
    max_num_batched_tokens: int | None = None
    max_num_seqs: int | None = None
    eager: bool = False
    media: ServedMedia = ServedMedia()
    flags: Mapping[str, Any] = {}
    advise: bool = True

    @property
    def own(self) -> dict[str, Any]:
        """What only llama.cpp has: option -> value, None where it was not said."""
        places = {"--ram": self.where.ram, "--reserve": self.where.reserve}
        return places | {option_of(word): value for word, value in self.flags.items()}

    def locate(self, name: str) -> Found:
        """A model of the question. Raises as ``locate``."""
        return self.found or locate(name)


@frozen(kw_only=True)
class _Chosen:
    """A question whose engine is known. why: why it is that one, to end a line. one: whether a single
    model is asked about on devices that are named, so that its tensors can be placed. placed: whether they
    are, whatever was said. every: as ``which`` takes it."""

    question: FitQuestion
    engine: str
    why: str
    one: bool
    several: bool
    model: Callable[[], Found]
    placed: bool = False
    every: bool | None = None


def fit_answer(question: FitQuestion) -> "FitAnswer":
    """The answer. Raises UsageError for what makes no sense together or says nothing of the engine,
    NotFoundError for names that there are not, UnsupportedError for what the engine does not run or
    kvcalc cannot account for."""
    chosen = _chosen(_typed(question))
    found = _answer(chosen)
    said = tuple(changing_nothing(
        said_of_fit(chosen.question, chosen.engine, None if chosen.several else chosen.model().spec),
        lambda less: _again(changed(chosen, question=less), found), found,
    ))  # fmt: skip
    return found.noted(said)


def _again(chosen: _Chosen, found: "FitAnswer") -> "FitAnswer":
    """The answer to less on the same road, or of many devices or models that to the first, where it is
    another already."""
    chosen = changed(chosen, placed=not isinstance(found, (Fit, Everywhere, Choices, Together)))
    first: FitAnswer | None = None
    match found:
        case Everywhere():
            first, one = found.each[0], _answer(chosen, found.each[0].device)
        case Choices() if len(found.choices) > 1:
            first = changed(found, choices=found.choices[:1])
            model = changed(chosen.question, models=(found.choices[0].model,))
            one = _answer(changed(chosen, question=model, every=False))
    if first is not None and one.figures != first.figures:
        return one
    return _answer(chosen)


def _answer(chosen: _Chosen, on: Accelerator | None = None) -> "FitAnswer":
    """The answer, whatever changes nothing. on: in the place of all devices."""
    question, asked = chosen.question, chosen.question.asked
    check_served(chosen.engine, question.media)
    _refuse_needless(chosen)
    if chosen.engine in LOCAL and chosen.one:
        found = _placed(chosen)
        if found is not None:
            return found
    _refuse_several(chosen)
    refuse_foreign(chosen.engine, question.own)
    gpu, layout = question.where.server(
        changed(asked.layout, towers_whole=question.media.towers_whole)
    )
    device = on or question.where.one_or_all(gpu)
    request = _request(chosen)
    asked = changed(
        asked, kv_dtype=question.kv_dtype or "bf16", layout=layout, beside=question.drafting.beside,
        put=changed(asked.put, processor=question.media.processor),
    )  # fmt: skip
    if chosen.several or _by_file(chosen):
        return _of_several(chosen, device, asked, request)
    return _on_server(chosen, device, asked, request)


def _typed(question: FitQuestion) -> FitQuestion:
    """With the type of the files of one model that its repository's name tells."""
    models, asked = question.models, question.asked
    named = len(models) == 1 and "/" in models[0] and question.found is None
    if asked.dtype is not None or not named or is_pattern(models[0]) or os.path.exists(models[0]):
        return question
    spec = locate(models[0]).spec
    if not isinstance(spec, FileSpec):
        return question
    return changed(question, asked=changed(asked, dtype=weight_word(spec.file_type)))


def _chosen(question: FitQuestion) -> _Chosen:
    """The engine that was named, or the one that the question is for."""
    models, device = question.models, question.where.first
    several = question.together or question.several or (
        question.found is None
        and (len(models) > 1 or is_pattern(models[0]) or len(expand(models)) > 1)
    )  # fmt: skip
    one = not several and question.where.every is None
    # Read once, and only where it is asked about.
    model = cache(partial(question.locate, models[0]))
    flag = first_said(question.own)
    if question.engine is not None:
        name, why = question.engine, ""
    elif flag is not None:
        name, why = "llama.cpp", f", as {flag} is llama.cpp's"
    elif one and is_file(model().spec):
        name, why = "llama.cpp", ", as the model is a GGUF file"
    else:
        name, why = engine_for(question.asked.dtype, device)
    return _Chosen(question=question, engine=name, why=why, one=one, several=several, model=model)


def _refuse_needless(chosen: _Chosen) -> None:
    question, layout = chosen.question, chosen.question.asked.layout
    drafting = question.drafting
    drafts = drafting.draft or drafting.mtp_layers
    if chosen.engine == NEED and drafting.speculative_tokens and not drafts:
        raise UsageError(DRAFT_TOKENS)
    refuse_needless(chosen.engine, {
        "--memory-utilization": question.utilization, "--max-num-seqs": question.max_num_seqs,
        "--max-num-batched-tokens": question.max_num_batched_tokens,
        "--enforce-eager": question.eager, "--dp": layout.data > 1, "--expert-parallel": layout.expert,
        "--speculative-tokens": None if drafts else drafting.speculative_tokens,
        "--state-dtype": question.asked.state_dtype,
        "--encoder-context": question.asked.encoder_tokens, "--beams": question.asked.beams > 1,
    })  # fmt: skip


def _placed(chosen: _Chosen) -> "LocalFit | LocalFiles | None":
    """llama.cpp's answer, tensor by tensor; None where no type was said and which files fit is the
    question."""
    question, lora = chosen.question, chosen.question.lora.said
    if lora is not None:
        words = engine_of(chosen.engine).words
        raise UsageError(f"{lora}: how {words} places it is not accounted for")
    whole = question.workload
    if whole is not None and (whole.media or whole.beside != NOTHING):
        raise UsageError(
            f"{engine_of(chosen.engine).words} places media and drafts by its own rules: say them word by "
            "word (images, draft, mtp_layers), not in a whole workload"
        )
    found, asked, drafting = chosen.model(), question.asked, question.drafting
    said = (
        chosen.placed
        or asked.dtype
        or first_said(question.own)
        or drafting.draft
        or drafting.mtp_layers
    )
    devices = len(question.where.gpus) > 1 or not question.where.first
    if not (said or devices or is_file(found.spec)):
        return None
    from kvcalc.deployment.local import LocalAsked, fit_locally, with_cache_types, with_slots

    machine = question.where.machine()
    flags = with_slots(asked.batch_size, with_cache_types(question.kv_dtype, question.flags))
    flags |= {"speculative_tokens": drafting.speculative_tokens}
    return fit_locally(found, LocalAsked(
        engine=chosen.engine, version=question.engine_version, machine=machine,
        flags=flags | {"mtp_layers": drafting.mtp_layers or None}, dtype=asked.dtype,
        context_tokens=asked.context_tokens, why=chosen.why, put=asked.put, draft=drafting.draft,
    ))  # fmt: skip


def _refuse_several(chosen: _Chosen) -> None:
    """Refuse what is of one model where several are asked about, and cache types that llama.cpp has
    not. Raises UsageError."""
    question = chosen.question
    drafts = {"--draft": question.drafting.draft, "--mtp-layers": question.drafting.mtp_layers}
    if chosen.engine in LOCAL:
        if question.kv_dtype is not None:
            from kvcalc.engines.llama_cpp.flags import cache_types

            cache_types(question.kv_dtype)
        flag = first_said(question.own | drafts)
        if flag is not None:
            raise UsageError(f"{flag} is of one model, whose tensors it places: name one")
    adapters = question.lora.said or question.media.said
    if chosen.several and adapters is not None:
        raise UsageError(
            f"{adapters} is of one model, whose layers adapters change or whose towers are served: name one"
        )


def _request(chosen: _Chosen) -> FitRequest:
    """How the engine is run; the model decides the rest of the workload. Raises UsageError for a step
    that says nothing of the engine, or is too small for the batch."""
    question, record = chosen.question, engine_of(chosen.engine)
    requests, batch = question.max_num_seqs, question.asked.batch_size
    if record.step is None:
        needless = first_said({
            "--max-num-batched-tokens": question.max_num_batched_tokens,
            "--max-num-seqs": requests if record.name == NEED else None,
        })  # fmt: skip
        if needless is not None:
            raise UsageError(f"{needless} says nothing of {record.words}: no step of it is counted")
    if requests is not None and -(-batch // question.asked.layout.data) > requests:
        raise UsageError(f"--batch {batch}: --max-num-seqs {requests} runs fewer at once")
    return FitRequest(
        workload=Workload(context_tokens=0), engine=record.name,
        engine_version=question.engine_version, utilization=question.utilization,
        max_num_batched_tokens=question.max_num_batched_tokens, max_num_seqs=requests,
        eager=question.eager,
        media=question.media, kv_stated=bool(question.kv_dtype),
    )  # fmt: skip


def _by_file(chosen: _Chosen) -> bool:
    """Whether one model is answered file by file: those of an engine that people choose files for."""
    record, question = engine_of(chosen.engine), chosen.question
    open_ = question.asked.dtype is None and question.where.every is None
    return record.placed is not None or (record.files and open_)


def _of_several(
    chosen: _Chosen, device: Accelerator | None, asked: Asked, request: FitRequest
) -> Choices | Together:
    """Which of the models fit, or whether all do at once."""
    question, models = chosen.question, list(chosen.question.models)
    if not chosen.several:
        beside = question.lora.of(asked.beside, chosen.model().spec, request.engine)
        asked = changed(asked, beside=beside)
    if question.together:
        if device is None:
            raise UsageError("--together is of devices that are named: --gpu NAME")
        return side_by_side(models, device, asked, request, chosen.why)
    if device is None:
        raise UsageError(
            "--gpus all answers for one model: name one, or one --gpu" if len(models) > 1
            else f"{request.engine_words} is asked about one machine: --gpu NAME"
        )  # fmt: skip
    return which(models, device, asked, request, chosen.why, question.locate, chosen.every)


_FILES_TOO = (
    "vLLM was asked about, as no engine was named: --engine llama.cpp lists the GGUF files of a model "
    "that fit, --ram SIZE those that run with a part in RAM"
)


def _on_server(
    chosen: _Chosen, device: Accelerator | None, asked: Asked, request: FitRequest
) -> Fit | Everywhere:
    """One model on one device, or on every one that is known."""
    question, found = chosen.question, chosen.model()
    spec, (put, seen) = found.spec, with_media(asked, found.spec, found.path)
    beside, drafts = request.record.drafting(spec, asked.beside)
    put = changed(put, beside=question.lora.of(beside, spec, request.engine))
    workload = question.workload
    check_items(put.media if workload is None else workload.media, request.media)
    spec, left = served_part(spec, request.media, request.engine_words, request.engine_version)
    notes = (*request.notes, *found.assumptions, *seen, *left, *drafts, *needless(spec, put))
    workload = changed(workload or choose_workload(spec, put)[0], layout=asked.layout)
    request = changed(request, workload=workload, notes=notes)
    if device is None:
        return Everywhere(tuple(everywhere(Planner(spec), request, advise=question.advise)))
    answer = fit(Planner(spec), device, request, question.models[0])
    # Another may run what this one does not.
    unasked = question.engine is None and question.asked.dtype is None
    if unasked and request.engine == SERVING and not answer.fits:
        answer = changed(answer, notes=(*answer.notes, _FILES_TOO))
    return answer

"""What an engine allocates: of a stated memory, or of what a GPU has left: ``kvcalc capacity``."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from fractions import Fraction
from typing import Any

from kvcalc.convert.beside import check_one
from kvcalc.deployment.answer import FitRequest, step_of
from kvcalc.deployment.hardware import Accelerator
from kvcalc.deployment.needless import about, as_said, changing_nothing
from kvcalc.deployment.notes import overhead_note, past_the_longest
from kvcalc.deployment.overhead import was_measured
from kvcalc.deployment.planner import Planner
from kvcalc.deployment.said import SIZES
from kvcalc.engines import SERVING, engine_of
from kvcalc.engines.engine import AnyEngine
from kvcalc.engines.media import served_media, served_part
from kvcalc.engines.request import Available, CapacityRequest
from kvcalc.engines.result import CapacityResult
from kvcalc.errors import UsageError
from kvcalc.file_types import without_options
from kvcalc.frozen import changed
from kvcalc.media.words import LargestItem
from kvcalc.memory.adapters import Adapters
from kvcalc.memory.asked_beside import Beside, Draft
from kvcalc.memory.beside import check_draft, check_layout, mtp_modules, parts_beside
from kvcalc.memory.estimate import beyond_longest
from kvcalc.memory.layout import Layout
from kvcalc.memory.workload import Workload
from kvcalc.spec.model import ModelSpec


@dataclass(frozen=True, kw_only=True)
class Question:
    """What was asked, whoever asked it.

    available: memory for the cache on each device. device: the GPU, whose memory counts where none
    is stated, and whose kernels decide formats. utilization: the share of it that the engine may use,
    None its own. dtype: the weights' format. flags: the engine's own, None where they were not said.
    draft: the model that drafts. adapters: of LoRA, in the engine's slots. largest_item: what
    the server plans for of images, videos and sounds.
    """

    engine: str = SERVING
    engine_version: str | None = None
    available: Available | None = None
    device: Accelerator | None = None
    utilization: Fraction | None = None
    dtype: str | None = None
    eager: bool = False
    model_dtype: str = "bf16"
    layout: Layout = field(default_factory=Layout)
    flags: Mapping[str, Any] = field(default_factory=dict)
    draft: Draft | None = None
    adapters: Adapters | None = None
    largest_item: LargestItem | None = None


def capacity(spec: ModelSpec, question: Question) -> CapacityResult:
    """What the engine will allocate, what was assumed among its notes.

    Raises UsageError for options that make no sense together and UnsupportedError for what the engine
    cannot run, or kvcalc cannot account for.
    """
    found = _answer(spec, question)
    said = changing_nothing(_without(question), lambda less: _answer(spec, less), found)
    return found.noted(tuple(said))


def _without(question: Question) -> Iterator[tuple[str, str, Question]]:
    """(an option that was given, what it is about, the question without it)."""
    flags, layout = question.flags, question.layout
    for word, value in flags.items():
        if value is not None and word not in SIZES:
            less = {name: each for name, each in flags.items() if name != word}
            yield as_said(word, value), about(question.engine, word), replace(question, flags=less)
    sized = question.available is not None or flags.get("tokens") is not None
    if question.device is not None and sized:
        option = "--gpu" if question.device.vendor else "--gpu-memory"
        yield option, "its kernels, which decide formats", replace(question, device=None)
    if question.available is not None and any(flags.get(word) for word in ("tokens", "ctx_size")):
        yield "--available", "memory for the cache", replace(question, available=None)
    for option, dtype in without_options(question.dtype):
        yield option, "the mixture of types", replace(question, dtype=dtype)
    if question.eager:
        yield "--enforce-eager", "CUDA graphs", replace(question, eager=False)
    if question.model_dtype != "bf16":
        yield ("--model-dtype", "the format of activations, which an auto cache takes",
               replace(question, model_dtype="bf16"))  # fmt: skip
    if question.draft is not None:
        yield "--draft", "what drafts", replace(question, draft=None)
    ranks = (
        ("--tp", "ranks that divide heads", changed(layout, tensor=1), layout.tensor > 1),
        ("--pp", "stages", changed(layout, pipeline=1), layout.pipeline > 1),
        ("--dp", "replicas", changed(layout, data=1), layout.data > 1),
        ("--expert-parallel", "experts among ranks", changed(layout, expert=False), layout.expert),
    )
    for option, what, less_of, said in ranks:
        if said:
            yield option, what, replace(question, layout=less_of)


def _answer(spec: ModelSpec, question: Question) -> CapacityResult:
    """The same, whatever changes nothing."""
    record = engine_of(question.engine)
    request = _request(record, question)
    _check(record, question, request)
    request, notes = _with_mtp(record, spec, request)
    if question.draft is not None:
        check_one(question.draft, getattr(request, "mtp_layers", None))
        check_draft(spec, question.draft.spec)
    left: tuple[str, ...] = ()
    device = question.device
    if device is not None:
        record.check_device(device, question.engine_version)
        request = changed(request, compute_capability=device.sm, eager=question.eager)
        if not _stated(question, request):
            request, left = _from_gpu(spec, device, question, request)
    result = record.allocated(spec, request)
    beyond = beyond_longest(spec, _longest(request))
    if beyond is not None:
        result = changed(result, notes=(beyond + past_the_longest(record.name), *result.notes))
    said = (*result.notes, *notes, *left, *_of_one_replica(question, stated=not left))
    return changed(result, notes=said, source=spec.source)


def _with_mtp(
    record: AnyEngine, spec: ModelSpec, request: CapacityRequest
) -> tuple[CapacityRequest, tuple[str, ...]]:
    """With the MTP layers that draft, and what says so. Raises UsageError for more than the model has."""
    asked: int | None = getattr(request, "mtp_layers", None)
    if asked:
        mtp_modules(spec, asked)
    beside, notes = record.drafting(spec, Beside(
        mtp_layers=asked, draft=request.draft,
        speculative_tokens=getattr(request, "speculative_tokens", None),
    ))  # fmt: skip
    flags: Any = request
    return (changed(flags, mtp_layers=beside.mtp_layers) if notes else request), notes


def _of_one_replica(question: Question, stated: bool) -> Iterator[str]:
    """What replicas and divided experts do not change. stated: whether the memory was."""
    layout = question.layout
    if layout.data > 1:
        yield f"--dp {layout.data}: each replica has a pool of its own, and this is one's"
    if layout.expert and stated:
        yield "--expert-parallel divides weights, not a cache: of a stated memory it changes nothing"


def _request(record: AnyEngine, question: Question) -> CapacityRequest:
    flags = dict(question.flags)
    if record.share_of == "free":
        flags["memory_utilization"] = question.utilization
    found: CapacityRequest = record.flags.of(
        record.words, flags, available=question.available, layout=question.layout,
        engine_version=question.engine_version, model_dtype=question.model_dtype,
        draft=question.draft,
    )  # fmt: skip
    return found


def _stated(question: Question, request: CapacityRequest) -> bool:
    """Whether the memory, or the pool, was stated."""
    return question.available is not None or getattr(request, "tokens", None) is not None


def _longest(request: CapacityRequest) -> int:
    """The longest request that the flags speak of; 0 where they do not."""
    for name in ("max_model_len", "ctx_size"):
        tokens: int | None = getattr(request, name, None)
        if tokens:
            return tokens
    return 0


def _check(record: AnyEngine, question: Question, request: CapacityRequest) -> None:
    """Refuse what says nothing, or says it twice."""
    stated, device = _stated(question, request), question.device
    if record.capacity is not None and record.memory == "left" and not (stated or device):
        raise UsageError(
            "say how much memory there is: --gpu GPU, --gpu-memory or --available SIZE"
        )
    weights = (
        ("--dtype", question.dtype), ("--enforce-eager", question.eager),
        ("--max-loras", question.adapters),
    )  # fmt: skip
    media = served_media(vars(request)).said
    given = next((option for option, value in weights if value), media)
    if given is not None and stated:
        raise UsageError(f"{given} says what is left of a GPU, which was stated: leave it out")
    if given is not None and device is None:
        raise UsageError(f"{given} says what is left of a GPU: give --gpu, too")
    of_free = record.share_of == "free" and question.available is not None
    if question.utilization is not None and not of_free:
        if stated:
            raise UsageError(
                "--memory-utilization is of a GPU's memory, and what is left of it was stated: "
                "leave one of them out"
            )
        if device is None:
            raise UsageError("--memory-utilization is of a GPU's memory: give --gpu, too")
    if device is not None and record.memory == "cells" and not stated:
        size = "--ctx-size" if hasattr(request, "ctx_size") else "--max-model-len or --available"
        raise UsageError(
            f"{record.words} takes {size}: its compute buffers do not follow from a GPU"
        )


def _from_gpu(
    spec: ModelSpec, device: Accelerator, question: Question, request: CapacityRequest
) -> tuple[CapacityRequest, tuple[str, ...]]:
    """Work out the memory for the cache from a GPU; its band becomes the range of the answer."""
    record = engine_of(question.engine)
    dtype = question.dtype or (
        "checkpoint" if spec.own_dtype == "checkpoint" else request.model_dtype
    )
    media = served_media(vars(request))
    spec, left = served_part(spec, media, record.words, request.engine_version)
    layout = changed(request.layout, towers_whole=media.towers_whole)
    beside = Beside(
        mtp_layers=getattr(request, "mtp_layers", None) or 0, draft=request.draft,
        adapters=question.adapters,
    )  # fmt: skip
    said = tuple(_loaded_beside(spec, beside, dtype, request.layout))
    asked = FitRequest(
        workload=Workload(
            context_tokens=_longest(request) or spec.max_position_embeddings or 0,
            dtype=dtype,
            layout=layout,
            largest_item=question.largest_item,
            beside=beside,
        ),
        media=media,
        engine=record.name,
        engine_version=request.engine_version,
        utilization=question.utilization,
        max_num_batched_tokens=getattr(request, "max_num_batched_tokens", None),
        max_num_seqs=getattr(request, "max_num_seqs", None),
        eager=question.eager,
    )
    planner = Planner(spec)
    value, least, most = planner.on(device, asked).memory()
    if most <= 0:
        raise UsageError(
            f"{spec.name} in {dtype} leaves nothing of {device.name} for the cache: "
            f"'kvcalc fit {spec.name} {_as_asked(record, device, dtype, request)}' says what would help"
        )
    step = step_of(device, asked)
    if record.schedules and step is not None:
        flags: Any = request
        request = changed(flags, max_num_batched_tokens=step.tokens, max_num_seqs=step.requests)
    share = planner.share(device, asked).note
    notes = (
        f"{device.name}: {device.bytes:,} bytes"
        + ("" if device.measured else " (the vendor's figure)")
        + f"; weights in {dtype} from the spec",
        *said,
        *left,
        *((share,) if share else ()),
        overhead_note(was_measured(device.name, record.name, request.engine_version)),
    )
    available = Available(max(0, value), max(0, least), max(0, most))
    return changed(request, available=available), notes


def _loaded_beside(spec: ModelSpec, beside: Beside, dtype: str, layout: Layout) -> Iterator[str]:
    """What says how much is loaded beside the model on a device of the last stage."""
    check_layout(beside, layout)
    words = {"mtp": "MTP weights", "draft": "the draft's weights", "adapters": "adapters' slots"}
    for part in parts_beside(spec, beside, dtype, layout):
        yield f"{part.rank_bytes:,} bytes of {words[part.name]} are loaded beside the model's"
        yield from part.notes if part.name == "adapters" else ()


def _as_asked(record: AnyEngine, device: Accelerator, dtype: str, request: CapacityRequest) -> str:
    """The options that fit has of what was asked here."""
    formats = {name: getattr(request, name, None) for name in ("kv_dtype", "state_dtype")}
    layout = request.layout
    given = {
        # fit without --engine is vLLM's.
        "--engine": record.name if record.name != "vllm" else None,
        "--engine-version": request.engine_version,
        "--gpu" if device.vendor else "--gpu-memory": device.name,
        "--context": _longest(request) or None,
        "--dtype": dtype,
        "--kv-dtype": formats["kv_dtype"] if formats["kv_dtype"] != "auto" else None,
        "--state-dtype": formats["state_dtype"] if formats["state_dtype"] != "auto" else None,
        "--tp": layout.tensor if layout.tensor > 1 else None,
        "--pp": layout.pipeline if layout.pipeline > 1 else None,
        "--dp": layout.data if layout.data > 1 else None,
    }
    said = [f"{name} {value}" for name, value in given.items() if value is not None]
    said += ["--expert-parallel"] if layout.expert else []
    said += ["--language-model-only"] if getattr(request, "language_model_only", None) else []
    return " ".join(said)

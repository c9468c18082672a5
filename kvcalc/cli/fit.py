"""``kvcalc fit``: does a model fit an accelerator, how far does it go, and what would help."""

import os
from dataclasses import replace
from typing import Annotated, Any

import typer

from kvcalc.cli import beside as parts
from kvcalc.cli import completion, local, media, options
from kvcalc.cli.flags import share, with_flags_of
from kvcalc.cli.show import show
from kvcalc.convert.beside import beside_of
from kvcalc.convert.locate import locate
from kvcalc.convert.media import with_media
from kvcalc.deployment.answer import Fit, FitRequest, step_of
from kvcalc.deployment.fit import fit as ask
from kvcalc.deployment.hardware import Accelerator, catalogue
from kvcalc.deployment.needless import needless_eager, refuse_needless
from kvcalc.deployment.notes import notes_for
from kvcalc.deployment.overhead import was_measured
from kvcalc.deployment.planner import Planner
from kvcalc.deployment.which import engine_for
from kvcalc.engines import NEED
from kvcalc.engines.flags import option_of
from kvcalc.errors import UnsupportedError, UsageError
from kvcalc.file_types import weight_word
from kvcalc.media.asked import MediaWords
from kvcalc.memory.beside import Beside
from kvcalc.memory.estimate import choose_workload
from kvcalc.memory.layout import Layout
from kvcalc.memory.workload import Asked, Workload
from kvcalc.report.answers import fit as answers
from kvcalc.spec.catalog import Found, expand, is_pattern
from kvcalc.spec.file_spec import FileSpec

_Gpu = Annotated[
    list[str] | None,
    options.gpu_option("The accelerator: h100, rtx-4090, mi300x, ...; several: several devices."),
]
_Gpus = Annotated[
    str | None,
    typer.Option(
        help="A table of every accelerator known.",
        metavar="all",
        autocompletion=completion.one_of(("all",)),
    ),
]
_Engine = Annotated[
    str | None,
    options.engine_option(
        "Whose pages to count; logical: the need alone.",
        shown="llama.cpp for a GGUF type, mlx for an mlx type or a Mac, else vllm",
    ),
]
_Utilization = Annotated[
    str | None,
    typer.Option(
        help="Share of the memory that the engine may use.",
        metavar="SHARE",
        show_default="0.9; SGLang's own",
    ),
]
_StepTokens = Annotated[
    str | None,
    typer.Option(
        help="Tokens of one scheduler step.", metavar="TOKENS", show_default="as the engine chooses"
    ),
]
_StepRequests = Annotated[
    int | None,
    options.num("--max-num-seqs", "Requests at once.", show_default="as the engine chooses"),
]


@with_flags_of("llama.cpp", without=("ctx_size",))
def fit(
    models: options.ModelsOrPatterns, gpu: _Gpu = None, gpus: _Gpus = None,
    gpu_memory: options.GpuMemory = None, ram: options.Ram = None, reserve: options.Reserve = None,
    together: options.Together = False, context: options.Context = None, batch: options.Batch = 1,
    draft: parts.Draft = None, mtp_layers: parts.MtpLayers = None, lora_rank: parts.LoraRank = None,
    speculative_tokens: parts.SpeculativeTokens = None, max_loras: parts.MaxLoras = None,
    lora_modules: parts.LoraModules = None, fully_sharded_loras: parts.FullySharded = False,
    images: media.Images = None, audio: media.Audio = None, video: media.Video = None,
    encoder_context: options.EncoderContext = None, dtype: options.Dtype = None,
    imatrix: options.Imatrix = False, pure: options.Pure = False,
    output_tensor_type: options.OutputType = None, token_embedding_type: options.TokenType = None,
    kv_dtype: options.KvDtypeGiven = None, state_dtype: options.StateDtype = None,
    tp: options.TensorParallel = 1, pp: options.PipelineParallel = 1, dp: options.DataParallel = 1,
    expert_parallel: options.ExpertParallel = False, engine: _Engine = None,
    engine_version: options.EngineVersion = None, memory_utilization: _Utilization = None,
    max_num_batched_tokens: _StepTokens = None, max_num_seqs: _StepRequests = None,
    enforce_eager: options.EnforceEager = False, format: options.OutputFormat = "table",
    quiet: options.Quiet = False, **given: Any,
) -> int:  # fmt: skip
    """Does it fit, how far does it go, and what would help.

    The longest context, the largest batch, the fewest devices. Several models or a pattern: which of
    them fit, in which format of the weights, how far; --together, whether all of them do at once. Exit
    status 1 where nothing fits.

    Example: kvcalc fit llama-3-70b --gpu h100 --tp 4 --context 32k --batch 16
    """
    dtype = _asked_type(models, dtype, imatrix, pure, output_tensor_type, token_embedding_type)
    lora = parts.Lora(lora_rank, max_loras, lora_modules, fully_sharded_loras)
    named = options.gpu_list(gpu)
    own = {"--ram": ram, "--reserve": reserve} | {option_of(k): v for k, v in given.items()}
    flag, first = _first(own), options.device(next(iter(named), None), gpu_memory)
    put = media.media_words(images, audio, video)
    one = not (several := together or _several(models)) and gpus is None
    name, why = _engine(engine, dtype, first, flag, models[0] if one else None)
    drafts = draft or mtp_layers
    _refuse_server(name, memory_utilization, max_num_seqs, max_num_batched_tokens, enforce_eager,
                   dp > 1, expert_parallel, None if drafts else speculative_tokens)  # fmt: skip
    if name in local.LOCAL and one:
        found = _placeable(models[0], name, lora.said)
        if dtype or flag or drafts or len(named) > 1 or not first or local.is_file(found.spec):
            on = local.machine_of(named, gpu_memory, tp * pp, ram, reserve)
            slots = local.slots(batch, kv_dtype, given, speculative_tokens, mtp_layers)
            how = (dtype, options.tokens(context, "--context"), slots, engine_version, why, format)
            return local.fit_locally(found, name, on, *how, quiet, True, put, models[0], draft)
    flag = flag or _first({"--draft": draft, "--mtp-layers": mtp_layers})
    _refuse_several(name, flag, lora.said if several else None, kv_dtype)
    options.foreign(name, own.items())
    server, layout = options.server(named, Layout(tp, pp, dp, expert_parallel))
    device = _one_accelerator(server, gpus, gpu_memory)
    step = _step(name, max_num_batched_tokens, max_num_seqs, batch, dp)
    asked = _asked(context, batch, encoder_context, dtype, kv_dtype, state_dtype, layout,
                   beside_of(draft, mtp_layers, speculative_tokens), put)  # fmt: skip
    run = (engine_version, memory_utilization, step, max_num_seqs, enforce_eager)
    request = replace(_request(name, *run), kv_stated=kv_dtype is not None)
    if together or _several(models) or _by_file(name, dtype, gpus):
        several_of = _together if together else _which
        return several_of(models, device, asked, request, why, format, quiet)
    return _one(models[0], device, asked, request, lora, format, quiet, not (engine or dtype))


def _asked_type(
    models: list[str], dtype: str | None, imatrix: bool, pure: bool, output: str | None,
    embedding: str | None,
) -> str | None:  # fmt: skip
    """The format of the weights, with a GGUF type's options; else what one repository's name tells."""
    return options.gguf_dtype(dtype, imatrix, pure, output, embedding) or _file_type(models)


def _refuse_server(engine: str, *values: object) -> None:
    """Refuse a server's options where a model is placed by its engine's own table. Raises UsageError."""
    names = ("--memory-utilization", "--max-num-seqs", "--max-num-batched-tokens",
             "--enforce-eager", "--dp", "--expert-parallel", "--speculative-tokens")  # fmt: skip
    refuse_needless(engine, dict(zip(names, values, strict=True)))


def _refuse_several(
    engine: str, flag: str | None, adapters: str | None, kv_dtype: str | None
) -> None:
    """Refuse what is of one model where several are asked about, and cache types that llama.cpp has
    not. Raises UsageError."""
    if engine in local.LOCAL:
        local.cache_types(kv_dtype, {})
    if flag is not None and engine in local.LOCAL:
        raise UsageError(f"{flag} is of one model, whose tensors it places: name one")
    if adapters is not None:
        raise UsageError(f"{adapters} is of one model, whose layers adapters change: name one")


def _placeable(model: str, engine: str, drafts: str | None) -> Found:
    """A model whose tensors llama.cpp places. drafts: the option that asked for one beside it."""
    if drafts is not None:
        raise UsageError(
            f"{drafts}: how {options.record(engine).words} places it is not accounted for"
        )
    return locate(model)


def _file_type(models: list[str]) -> str | None:
    """The type of the files of one model that its repository's name tells; None for any other."""
    if (
        len(models) > 1
        or "/" not in models[0]
        or is_pattern(models[0])
        or os.path.exists(models[0])
    ):
        return None
    spec = locate(models[0]).spec
    if isinstance(spec, FileSpec):
        return weight_word(spec.file_type)
    return None


def _first(options_given: dict[str, Any]) -> str | None:
    """The first option that was said."""
    return next((option for option, value in options_given.items() if value is not None), None)


def _asked(
    context: str | None,
    batch: int,
    encoder_context: str | None,
    dtype: str | None,
    kv_dtype: str | None,
    state_dtype: str | None,
    layout: Layout,
    beside: Beside,
    put: MediaWords,
) -> Asked:
    """The requests, as far as they were said."""
    return Asked(
        context_tokens=options.tokens(context, "--context"), batch_size=batch,
        encoder_tokens=options.tokens(encoder_context, "--encoder-context"), dtype=dtype,
        kv_dtype=kv_dtype or "bf16", state_dtype=state_dtype, layout=layout, beside=beside, put=put,
    )  # fmt: skip


def _request(
    name: str,
    engine_version: str | None,
    memory_utilization: str | None,
    step_tokens: int | None,
    step_requests: int | None,
    eager: bool,
) -> FitRequest:
    """How the engine is run; the model decides the rest of the workload."""
    return FitRequest(
        workload=Workload(context_tokens=0), engine=name, engine_version=engine_version,
        utilization=share(memory_utilization, "--memory-utilization", most=1),
        max_num_batched_tokens=step_tokens, max_num_seqs=step_requests, eager=eager,
        notes=needless_eager(name, eager),
    )  # fmt: skip


_FILES_TOO = (
    "vLLM was asked about, as no engine was named: --engine llama.cpp lists the GGUF files of a model "
    "that fit, --ram SIZE those that run with a part in RAM"
)


def _one(
    model: str,
    device: Accelerator | None,
    asked: Asked,
    request: FitRequest,
    lora: parts.Lora,
    format: str,
    quiet: bool,
    open_: bool,
) -> int:
    """One model on one device, or on every one that is known; the exit status.

    open_: whether neither an engine nor a type was named, so that another may run what this one does not.
    """
    found = locate(model)
    spec, (put, seen) = found.spec, with_media(asked, found.spec, found.path)
    put = replace(put, beside=lora.of(asked.beside, spec, request.engine))
    notes = (*request.notes, *found.assumptions, *seen)
    request = replace(request, workload=choose_workload(spec, put)[0], notes=notes)
    if device is None:
        fits = _everywhere(Planner(spec), request, advise=format == "json")
        show(format, answers.answer_all(fits), quiet=quiet)
    else:
        fits = [ask(Planner(spec), device, request, model)]
        if open_ and request.engine == "vllm" and fits[0].verdict == "does not fit":
            fits = [replace(fits[0], notes=(*fits[0].notes, _FILES_TOO))]
        show(format, answers.answer(fits[0]), quiet=quiet)
    return 0 if any(one.verdict != "does not fit" for one in fits) else 1


def _engine(
    engine: str | None, dtype: str | None, device: Accelerator | None, flag: str | None,
    model: str | None,
) -> tuple[str, str]:  # fmt: skip
    """The engine, and why it is that one where none was named. flag: an option of llama.cpp's. model:
    the only one that is asked about."""
    if engine is not None:
        return options.engine_name(engine), ""
    if flag is not None:
        return "llama.cpp", f", as {flag} is llama.cpp's"
    if model is not None and local.is_file(locate(model).spec):
        return "llama.cpp", ", as the model is a GGUF file"
    return engine_for(dtype, device)


def _several(models: list[str]) -> bool:
    """Whether it is asked which of several models fit."""
    return len(models) > 1 or is_pattern(models[0]) or len(expand(models)) > 1


def _by_file(name: str, dtype: str | None, gpus: str | None) -> bool:
    """Whether one model is answered file by file: those of an engine that people choose files for."""
    record = options.record(name)
    return record.placed is not None or (record.files and dtype is None and gpus is None)


def _which(
    models: list[str], device: Accelerator | None, asked: Asked, request: FitRequest, why: str,
    format: str, quiet: bool,
) -> int:  # fmt: skip
    from kvcalc.deployment.which import which
    from kvcalc.report.answers.choice import answer

    if device is None:
        raise UsageError(
            "--gpus all answers for one model: name one, or one --gpu" if len(models) > 1
            else f"{request.engine_words} is asked about one machine: --gpu NAME"
        )  # fmt: skip
    found = which(models, device, asked, request, why)
    show(format, answer(found), quiet=quiet)
    return 0 if any(choice.best for choice in found.choices) else 1


def _together(
    models: list[str], device: Accelerator | None, asked: Asked, request: FitRequest, why: str,
    format: str, quiet: bool,
) -> int:  # fmt: skip
    from kvcalc.deployment.which import side_by_side
    from kvcalc.report.answers.together import answer

    if device is None:
        raise UsageError("--together is of one device: --gpu NAME")
    found = side_by_side(models, device, asked, request, why)
    show(format, answer(found), quiet=quiet)
    return 0 if found.verdict != "does not fit" else 1


def _one_accelerator(
    gpu: str | None, gpus: str | None, gpu_memory: str | None
) -> Accelerator | None:
    """The one that was said, or None for all of them. Raises UsageError for none, and for several."""
    if gpus is not None and gpus != "all":
        raise UsageError(
            f"--gpus {gpus}: the number of GPUs is --tp and --pp: --gpu {gpu or 'NAME'} --tp {gpus}"
            if gpus.isdecimal()
            else f"--gpus {gpus}: the only list is 'all'; one accelerator is --gpu {gpus}"
        )
    if sum(given is not None for given in (gpu, gpus, gpu_memory)) != 1:
        raise UsageError("say one of --gpu NAME, --gpus all and --gpu-memory SIZE")
    return options.device(gpu, gpu_memory)


def _step(
    name: str, tokens: str | None, requests: int | None, batch: int, replicas: int
) -> int | None:
    """Tokens of a step. Refuses one that says nothing of an engine, or is too small for the batch."""
    record = options.record(name)
    if record.step is None:
        needless = (("--max-num-batched-tokens", tokens),
                    ("--max-num-seqs", requests if name == NEED else None))  # fmt: skip
        for option, given in needless:
            if given is not None:
                raise UsageError(
                    f"{option} says nothing of {record.words}: no step of it is counted"
                )
    if requests is not None and -(-batch // replicas) > requests:
        raise UsageError(f"--batch {batch}: --max-num-seqs {requests} runs fewer at once")
    return options.tokens(tokens, "--max-num-batched-tokens")


def _everywhere(planner: Planner, request: FitRequest, advise: bool) -> list[Fit]:
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
        rules = (device.bytes, device.sm, step_of(device, request), planner.share(device, request),
                 was_measured(device.name, request.engine, request.engine_version),
                 device.name if advise else "")  # fmt: skip
        if rules not in known:
            try:
                known[rules] = ask(planner, device, request, advise=advise)
            except UnsupportedError as error:
                known[rules] = error
        found = known[rules]
        if isinstance(found, UnsupportedError):
            refused.append((device, found))
        else:
            fits.append(replace(found, device=device))
    if not fits and refused:
        raise refused[0][1]
    if refused:
        first, reason = refused[0]
        others = f"not this model on {len(refused)} others, {first.name} among them: {reason}"
        note = (*note, others)
    return [replace(one, notes=(*notes_for(planner.spec, one), *note)) for one in fits]

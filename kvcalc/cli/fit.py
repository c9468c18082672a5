"""``kvcalc fit``: does a model fit an accelerator, how far does it go, and what would help."""

import os
from collections.abc import Callable
from dataclasses import replace
from functools import cache, partial
from typing import Annotated, Any

from kvcalc.cli import completion, kinds, local, options
from kvcalc.cli.flags import share, with_flags_of
from kvcalc.cli.groups import (
    Drafts,
    Group,
    Lora,
    Media,
    Output,
    Serving,
    Weights,
    first,
    with_groups,
)
from kvcalc.convert.locate import locate
from kvcalc.convert.media import with_media
from kvcalc.deployment.answer import FitRequest
from kvcalc.deployment.everywhere import everywhere
from kvcalc.deployment.fit import fit as ask
from kvcalc.deployment.hardware import Accelerator
from kvcalc.deployment.needless import check_served, needless_eager, refuse_needless
from kvcalc.deployment.planner import Planner
from kvcalc.deployment.which import engine_for
from kvcalc.engines import NEED
from kvcalc.engines.flags import option_of
from kvcalc.engines.media import check_items, served_part
from kvcalc.errors import UsageError
from kvcalc.file_types import weight_word
from kvcalc.frozen import frozen
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
    kinds.option(
        "all", "A table of every accelerator known.", complete=completion.one_of(("all",))
    ),
]
_Engine = Annotated[
    str | None,
    options.engine_option(
        "Whose pages to count; logical: the need alone.",
        shown="llama.cpp for a GGUF type, mlx for an mlx type or a Mac, else vllm",
    ),
]


@frozen
class _Machine(Group):
    """Where it is to run."""

    gpu: _Gpu = None
    gpus: _Gpus = None
    gpu_memory: options.GpuMemory = None
    ram: options.Ram = None
    reserve: options.Reserve = None

    @property
    def named(self) -> list[str]:
        """The accelerators that were named, one by one."""
        return options.gpu_list(self.gpu)


@frozen
class _Server(Serving):
    """How a server is run."""

    memory_utilization: Annotated[
        str | None,
        kinds.option(
            "SHARE", "Share of the memory that the engine may use.", shown="0.9; SGLang's own"
        ),
    ] = None
    max_num_batched_tokens: Annotated[
        str | None,
        kinds.option("TOKENS", "Tokens of one scheduler step.", shown="as the engine chooses"),
    ] = None
    max_num_seqs: Annotated[
        int | None,
        kinds.num("--max-num-seqs", "Requests at once.", show_default="as the engine chooses"),
    ] = None
    enforce_eager: options.EnforceEager = False

    def request(self, name: str, version: str | None, batch: int, replicas: int) -> FitRequest:
        """How the engine is run; the model decides the rest of the workload. Raises UsageError."""
        step = _step(name, self.max_num_batched_tokens, self.max_num_seqs, batch, replicas)
        return FitRequest(
            workload=Workload(context_tokens=0), engine=name, engine_version=version,
            utilization=share(self.memory_utilization, "--memory-utilization", most=1),
            max_num_batched_tokens=step, max_num_seqs=self.max_num_seqs, eager=self.enforce_eager,
            notes=needless_eager(name, self.enforce_eager), media=self.media,
        )  # fmt: skip


@with_flags_of("llama.cpp", without=("ctx_size",))
@with_groups
def fit(
    models: options.ModelsOrPatterns, machine: _Machine = _Machine(),
    together: options.Together = False, context: options.Context = None, batch: options.Batch = 1,
    drafts: Drafts = Drafts(), lora: Lora = Lora(), media: Media = Media(),
    encoder_context: options.EncoderContext = None, weights: Weights = Weights(),
    kv_dtype: options.KvDtypeGiven = None, state_dtype: options.StateDtype = None,
    tp: options.ListedRanks = None, pp: options.PipelineParallel = 1, dp: options.DataParallel = 1,
    expert_parallel: options.ExpertParallel = False, engine: _Engine = None,
    engine_version: options.EngineVersion = None, server: _Server = _Server(),
    output: Output = Output(), **given: Any,
) -> int:  # fmt: skip
    """Does it fit, how far does it go, and what would help.

    The longest context, the largest batch, the fewest devices. Several models or a pattern: which of
    them fit, in which format of the weights, how far; --together, whether all of them do at once. Exit
    status 1 where nothing fits.

    Example: kvcalc fit llama-3-70b --gpu h100 --tp 4 --context 32k --batch 16
    """
    dtype, named = weights.word or _file_type(models), machine.named
    own = {"--ram": machine.ram, "--reserve": machine.reserve}
    own |= {option_of(word): value for word, value in given.items()}
    flag, one_of = first(own), options.device(next(iter(named), None), machine.gpu_memory)
    one = not (several := together or _several(models)) and machine.gpus is None
    model = cache(partial(locate, models[0]))  # read once, and only when it is asked about
    name, why = _engine(engine, dtype, one_of, flag, model if one else None)
    tokens, draft = options.tokens(context, "--context"), drafts.draft
    drafting = draft or drafts.mtp_layers
    check_served(name, served := server.media)
    refuse_needless(name, {
        "--memory-utilization": server.memory_utilization, "--max-num-seqs": server.max_num_seqs,
        "--max-num-batched-tokens": server.max_num_batched_tokens,
        "--enforce-eager": server.enforce_eager, "--dp": dp > 1, "--expert-parallel": expert_parallel,
        "--speculative-tokens": None if drafting else drafts.speculative_tokens,
    })  # fmt: skip
    if name in local.LOCAL and one:
        found = _placeable(model, name, lora.said)
        if dtype or flag or drafting or len(named) > 1 or not one_of or local.is_file(found.spec):
            on = local.machine_of(named, machine.gpu_memory, (tp or 1) * pp, machine.ram,
                                  machine.reserve)  # fmt: skip
            slots = local.slots(batch, kv_dtype, given, drafts.speculative_tokens,
                                drafts.mtp_layers)  # fmt: skip
            return local.fit_locally(found, name, on, dtype, tokens, slots, engine_version, why, output,
                                     put=media.words, path=models[0], draft=draft)  # fmt: skip
    flag = flag or first({"--draft": draft, "--mtp-layers": drafts.mtp_layers})
    _refuse_several(name, flag, (lora.said or served.said) if several else None, kv_dtype)
    options.foreign(name, own.items())
    gpu, layout = options.server(named, tp, Layout(1, pp, dp, expert_parallel, served.towers_whole))
    device = _one_accelerator(gpu, machine.gpus, machine.gpu_memory)
    request = replace(server.request(name, engine_version, batch, dp), kv_stated=bool(kv_dtype))
    asked = Asked(
        context_tokens=tokens, batch_size=batch,
        encoder_tokens=options.tokens(encoder_context, "--encoder-context"), dtype=dtype,
        kv_dtype=kv_dtype or "bf16", state_dtype=state_dtype, layout=layout, beside=drafts.beside,
        put=replace(media.words, processor=served.processor),
    )  # fmt: skip
    if several or _by_file(name, dtype, machine.gpus):
        return (_together if together else _which)(models, device, asked, request, why, output)
    return _one(models[0], model(), device, asked, request, lora, output, not (engine or dtype))


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
        raise UsageError(
            f"{adapters} is of one model, whose layers adapters change or whose towers are served: name one"
        )


def _placeable(model: Callable[[], Found], engine: str, drafts: str | None) -> Found:
    """A model whose tensors llama.cpp places. model: reads it. drafts: the option that asked for one."""
    if drafts is not None:
        raise UsageError(
            f"{drafts}: how {options.record(engine).words} places it is not accounted for"
        )
    return model()


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


_FILES_TOO = (
    "vLLM was asked about, as no engine was named: --engine llama.cpp lists the GGUF files of a model "
    "that fit, --ram SIZE those that run with a part in RAM"
)


def _one(
    model: str, found: Found, device: Accelerator | None, asked: Asked, request: FitRequest,
    lora: Lora, output: Output, open_: bool,
) -> int:  # fmt: skip
    """One model on one device, or on every one that is known; the exit status.

    open_: whether neither an engine nor a type was named, so that another may run what this one does not.
    """
    spec, (put, seen) = found.spec, with_media(asked, found.spec, found.path)
    put = replace(put, beside=lora.of(asked.beside, spec, request.engine))
    check_items(put.media, request.media)
    spec, left = served_part(spec, request.media, request.engine_words, request.engine_version)
    notes = (*request.notes, *found.assumptions, *seen, *left)
    request = replace(request, workload=choose_workload(spec, put)[0], notes=notes)
    if device is None:
        fits = everywhere(Planner(spec), request, advise=output.format == "json")
        output.show(answers.answer_all(fits))
    else:
        fits = [ask(Planner(spec), device, request, model)]
        if open_ and request.engine == "vllm" and not fits[0].fits:
            fits = [replace(fits[0], notes=(*fits[0].notes, _FILES_TOO))]
        output.show(answers.answer(fits[0]))
    return 0 if any(one.fits for one in fits) else 1


def _engine(
    engine: str | None, dtype: str | None, device: Accelerator | None, flag: str | None,
    model: Callable[[], Found] | None,
) -> tuple[str, str]:  # fmt: skip
    """The engine, and why it is that one where none was named. flag: an option of llama.cpp's. model:
    reads the only one that is asked about."""
    if engine is not None:
        return options.engine_name(engine), ""
    if flag is not None:
        return "llama.cpp", f", as {flag} is llama.cpp's"
    if model is not None and local.is_file(model().spec):
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
    output: Output,
) -> int:  # fmt: skip
    from kvcalc.deployment.which import which
    from kvcalc.report.answers.choice import answer

    if device is None:
        raise UsageError(
            "--gpus all answers for one model: name one, or one --gpu" if len(models) > 1
            else f"{request.engine_words} is asked about one machine: --gpu NAME"
        )  # fmt: skip
    found = which(models, device, asked, request, why)
    output.show(answer(found))
    return 0 if any(choice.best for choice in found.choices) else 1


def _together(
    models: list[str], device: Accelerator | None, asked: Asked, request: FitRequest, why: str,
    output: Output,
) -> int:  # fmt: skip
    from kvcalc.deployment.which import side_by_side
    from kvcalc.report.answers.together import answer

    if device is None:
        raise UsageError("--together is of devices that are named: --gpu NAME")
    found = side_by_side(models, device, asked, request, why)
    output.show(answer(found))
    return 0 if found.fits else 1


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

"""``kvcalc capacity``: what a serving engine will allocate, in the terms of its own log."""

from dataclasses import replace
from typing import Annotated, Any

from kvcalc.cli import completion, flags, kinds, local, options
from kvcalc.cli.groups import Draft, Lora, Output, Weights, with_groups
from kvcalc.convert.beside import beside_of
from kvcalc.convert.locate import locate
from kvcalc.dtypes import STATE_FORMATS
from kvcalc.engines import ENGINES, SERVING
from kvcalc.engines.flags import option_of
from kvcalc.engines.request import Available
from kvcalc.errors import UsageError
from kvcalc.memory.asked_beside import NOTHING
from kvcalc.memory.layout import Layout
from kvcalc.memory.workload import Asked
from kvcalc.report.answers.capacity import answer
from kvcalc.spec.catalog import Found

_Memory = Annotated[
    str | None,
    kinds.option("SIZE", "Memory for the cache on a device, as the log prints it: 5.98GiB."),
]
_Gpu = Annotated[
    list[str] | None,
    options.gpu_option("The accelerator; beside --available or --tokens, its kernels alone."),
]
_Devices = Annotated[
    int | None, kinds.num("--devices", "Equal devices without a name (llama.cpp).")
]
_Utilization = Annotated[
    str | None,
    kinds.option(
        "SHARE", "Share of the GPU, or of what is free (TensorRT-LLM).", shown="0.9; SGLang's own"
    ),
]
_Context = Annotated[
    str | None,
    kinds.option(
        "TOKENS", "Longest request: --max-model-len, --ctx-size of llama.cpp.", shown=False
    ),
]
_ModelDtype = Annotated[
    str,
    kinds.option(
        "DTYPE",
        "Number format of activations, which an 'auto' cache takes.",
        complete=completion.one_of(STATE_FORMATS),
    ),
]


@flags.with_flags_of(*ENGINES)
@with_groups
def capacity(
    model: options.Model,
    engine: Annotated[str, options.engine_option("Whose allocator.")] = SERVING,
    engine_version: options.EngineVersion = None, available: _Memory = None,
    gpu: _Gpu = None, devices: _Devices = None, ram: options.Ram = None,
    reserve: options.Reserve = None, gpu_memory: options.GpuMemory = None,
    memory_utilization: _Utilization = None, context: _Context = None,
    weights: Weights = Weights(), model_dtype: _ModelDtype = "bf16",
    tp: options.ListedRanks = None, pp: options.PipelineParallel = 1,
    dp: options.DataParallel = 1, draft: Draft = None, lora: Lora = Lora(),
    expert_parallel: options.ExpertParallel = False, enforce_eager: options.EnforceEager = False,
    output: Output = Output(), **given: Any,
) -> None:  # fmt: skip
    """What an engine will allocate and how much fits, as its log says.

    Example: kvcalc capacity qwen3-8b --available 5.98GiB --max-model-len 32k
    """
    from kvcalc.deployment.capacity import Question
    from kvcalc.deployment.capacity import capacity as ask

    dtype, name = weights.word, options.engine_name(engine)
    given = {word: flags.read(word, value) for word, value in given.items()}
    placed = name in local.LOCAL and local.is_table(name, gpu, devices, ram, reserve, given)
    _refuse_beside(name, None if placed else draft, lora)
    if placed:
        machine = local.machine_of(gpu, gpu_memory, (tp or 1) * pp, ram, reserve, devices or 0)
        local.table(locate(model), name, machine, dtype, context, given, engine_version, output,
                    draft)  # fmt: skip
        return
    options.foreign(name, (("--devices", devices), ("--ram", ram), ("--reserve", reserve)))
    found = locate(model)
    server, layout = options.server(options.gpu_list(gpu), tp, Layout(1, pp, dp, expert_parallel))
    question = Question(
        engine=name, engine_version=engine_version, available=_available(available),
        device=options.device(server, gpu_memory),
        dtype=dtype, eager=enforce_eager,
        utilization=flags.share(memory_utilization, "--memory-utilization", most=1),
        model_dtype=model_dtype, layout=layout,
        flags=_with_context(name, given, options.tokens(context, "--context")),
        draft=beside_of(draft).draft, adapters=lora.of(NOTHING, found.spec, name).adapters,
        largest_item=_largest_item(found, given),
    )  # fmt: skip
    result = ask(found.spec, question)
    result = replace(result, notes=(*found.assumptions, *result.notes))
    output.show(answer(result, found.spec.source, found.path))


def _largest_item(found: Found, given: dict[str, Any]) -> int | None:
    """Tokens of the largest image that the model's processor makes."""
    if not found.spec.towers:
        return None
    from kvcalc.convert.media import with_media
    from kvcalc.engines.media import served_media
    from kvcalc.media.asked import MediaWords

    put = MediaWords(processor=served_media(given).processor)
    return with_media(Asked(put=put), found.spec, found.path)[0].largest_item


def _refuse_beside(name: str, draft: str | None, lora: Lora) -> None:
    """Refuse parts beside a model whose tensors are placed one by one. Raises UsageError."""
    apart = "--draft" if draft is not None else lora.said
    if apart is not None and name in local.LOCAL:
        words = options.record(name).words
        if draft is not None:
            raise UsageError(f"--draft: {words} places it on a device: say which, --gpu NAME")
        raise UsageError(f"{apart}: where {words} places it is not accounted for")


def _with_context(name: str, given: dict[str, Any], context: int | None) -> dict[str, Any]:
    """``--context`` under the engine's own word for it."""
    if context is None:
        return given
    own = options.record(name).flags.__dataclass_fields__
    word = next((each for each in ("max_model_len", "ctx_size") if each in own), "max_model_len")
    if given.get(word) is not None:
        raise UsageError(f"--context and {option_of(word)} are the same here: give one of them")
    return given | {word: context}


def _available(text: str | None) -> Available | None:
    try:
        return None if text is None else Available.parse(text)
    except ValueError as error:
        raise UsageError(f"--available: {error}") from None

"""``kvcalc capacity``: what a serving engine will allocate, in the terms of its own log."""

from dataclasses import replace
from typing import Annotated, Any

import typer

from kvcalc.cli import beside as parts
from kvcalc.cli import completion, flags, local, options
from kvcalc.cli.show import show
from kvcalc.convert.beside import beside_of
from kvcalc.convert.locate import locate
from kvcalc.dtypes import STATE_FORMATS
from kvcalc.engines import SERVING
from kvcalc.engines.flags import option_of
from kvcalc.engines.request import Available
from kvcalc.errors import UsageError
from kvcalc.memory.beside import NOTHING
from kvcalc.memory.layout import Layout
from kvcalc.report.answers.capacity import answer

_Memory = Annotated[
    str | None,
    typer.Option(
        help="Memory for the cache on a device, as the log prints it: 5.98GiB.", metavar="SIZE"
    ),
]
_Gpu = Annotated[
    list[str] | None,
    options.gpu_option("The accelerator; beside --available or --tokens, its kernels alone."),
]
_Devices = Annotated[
    int | None, options.num("--devices", "Equal devices without a name (llama.cpp).")
]
_Utilization = Annotated[
    str | None,
    typer.Option(
        help="Share of the GPU, or of what is free (TensorRT-LLM).",
        metavar="SHARE",
        show_default="0.9; SGLang's own",
    ),
]
_Context = Annotated[
    str | None,
    typer.Option(
        help="Longest request: --max-model-len, --ctx-size of llama.cpp.",
        metavar="TOKENS",
        show_default=False,
    ),
]
_ModelDtype = Annotated[
    str,
    typer.Option(
        help="Number format of activations, which an 'auto' cache takes.",
        metavar="DTYPE",
        autocompletion=completion.one_of(STATE_FORMATS),
    ),
]


@flags.with_engine_flags
def capacity(
    model: options.Model,
    engine: Annotated[str, options.engine_option("Whose allocator.")] = SERVING,
    engine_version: options.EngineVersion = None, available: _Memory = None,
    gpu: _Gpu = None, devices: _Devices = None, ram: options.Ram = None,
    reserve: options.Reserve = None, gpu_memory: options.GpuMemory = None,
    memory_utilization: _Utilization = None, context: _Context = None,
    dtype: options.Dtype = None, imatrix: options.Imatrix = False, pure: options.Pure = False,
    output_tensor_type: options.OutputType = None, token_embedding_type: options.TokenType = None,
    model_dtype: _ModelDtype = "bf16", tp: options.TensorParallel = 1,
    pp: options.PipelineParallel = 1, dp: options.DataParallel = 1, draft: parts.Draft = None,
    lora_rank: parts.LoraRank = None, max_loras: parts.MaxLoras = None,
    lora_modules: parts.LoraModules = None, fully_sharded_loras: parts.FullySharded = False,
    expert_parallel: options.ExpertParallel = False,
    enforce_eager: options.EnforceEager = False, format: options.OutputFormat = "table",
    quiet: options.Quiet = False, **given: Any,
) -> None:  # fmt: skip
    """What an engine will allocate and how much fits, as its log says.

    Example: kvcalc capacity qwen3-8b --available 5.98GiB --max-model-len 32k
    """
    from kvcalc.deployment.capacity import Question
    from kvcalc.deployment.capacity import capacity as ask

    dtype = options.gguf_dtype(dtype, imatrix, pure, output_tensor_type, token_embedding_type)
    name = options.engine_name(engine)
    given = {word: flags.read(word, value) for word, value in given.items()}
    lora = parts.Lora(lora_rank, max_loras, lora_modules, fully_sharded_loras)
    placed = name in local.LOCAL and local.is_table(name, gpu, devices, ram, reserve, given)
    _refuse_beside(name, None if placed else draft, lora)
    if placed:
        machine = local.machine_of(gpu, gpu_memory, tp * pp, ram, reserve, devices or 0)
        return local.table(locate(model), name, machine, dtype, context, given, engine_version,
                           format, quiet, draft)  # fmt: skip
    options.foreign(name, (("--devices", devices), ("--ram", ram), ("--reserve", reserve)))
    found = locate(model)
    server, layout = options.server(options.gpu_list(gpu), Layout(tp, pp, dp, expert_parallel))
    question = Question(
        engine=name, engine_version=engine_version, available=_available(available),
        device=options.device(server, gpu_memory),
        dtype=dtype, eager=enforce_eager,
        utilization=flags.share(memory_utilization, "--memory-utilization", most=1),
        model_dtype=model_dtype, layout=layout,
        flags=_with_context(name, given, options.tokens(context, "--context")),
        draft=beside_of(draft).draft, adapters=lora.of(NOTHING, found.spec, name).adapters,
    )  # fmt: skip
    result = ask(found.spec, question)
    result = replace(result, notes=(*found.assumptions, *result.notes))
    show(format, answer(result, found.spec.source, found.path), quiet=quiet)


def _refuse_beside(name: str, draft: str | None, lora: parts.Lora) -> None:
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

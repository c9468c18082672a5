"""``kvcalc capacity``: what a serving engine will allocate, in the terms of its own log."""

from functools import partial
from typing import Annotated, Any

from kvcalc.cli import completion, flags, kinds, options
from kvcalc.cli.groups import Draft, Lora, Output, Weights, with_groups
from kvcalc.convert.locate import locate
from kvcalc.deployment.allocation import CapacityQuestion, capacity_answer
from kvcalc.deployment.where import Where, listed
from kvcalc.dtypes import STATE_FORMATS
from kvcalc.engines import ENGINES, SERVING
from kvcalc.engines.request import Available
from kvcalc.errors import UsageError
from kvcalc.memory.layout import Layout
from kvcalc.report.answers import answer

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
    where = Where(
        gpus=listed(gpu), memory=gpu_memory, tensor=tp, pipeline=pp, unnamed=devices or 0,
        ram=options.num_bytes(ram, "--ram"), reserve=options.num_bytes(reserve, "--reserve"),
    )  # fmt: skip
    found = capacity_answer(partial(locate, model), CapacityQuestion(
        where=where, engine=options.engine_name(engine), engine_version=engine_version,
        available=_available(available), dtype=weights.word, model_dtype=model_dtype,
        utilization=flags.share(memory_utilization, "--memory-utilization", most=1),
        eager=enforce_eager, context_tokens=options.tokens(context, "--context"),
        layout=Layout(1, pp, dp, expert_parallel), draft=draft, lora=lora.words,
        flags={word: flags.read(word, value) for word, value in given.items()},
    ))  # fmt: skip
    output.show(answer(found))


def _available(text: str | None) -> Available | None:
    try:
        return None if text is None else Available.parse(text)
    except ValueError as error:
        raise UsageError(f"--available: {error}") from None

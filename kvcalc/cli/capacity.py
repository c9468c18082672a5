"""``kvcalc capacity``: what a serving engine will allocate, in the terms of its own log."""

from dataclasses import replace
from fractions import Fraction
from importlib import import_module
from typing import Annotated, Any

import typer

from kvcalc.cli import completion, options
from kvcalc.cli.show import show
from kvcalc.convert.locate import locate
from kvcalc.dtypes import CACHE_FORMATS, STATE_FORMATS
from kvcalc.engines import ENGINES
from kvcalc.engines.request import Available, CapacityRequest
from kvcalc.errors import UsageError
from kvcalc.memory.layout import Layout
from kvcalc.memory.workload import Workload
from kvcalc.report.answers.capacity import answer
from kvcalc.spec.model import ModelSpec

Engine = Annotated[
    str,
    typer.Option(
        help="Whose allocator.",
        autocompletion=completion.one_of(ENGINES),
        metavar=options.choices(ENGINES),
    ),
]


def _tokens(text: str, **more: Any) -> Any:
    return typer.Option(help=text, metavar="TOKENS", **more)


def _complete_cache_type(incomplete: str) -> list[str]:
    from kvcalc.engines.llama_cpp.setup import CACHE_TYPES

    return completion.one_of(CACHE_TYPES)(incomplete)


def _cache_type(text: str) -> Any:
    return typer.Option(
        help=text, metavar="DTYPE", autocompletion=_complete_cache_type, show_default="fp16"
    )


def capacity(
    model: options.Model,
    engine: Engine = "vllm",
    engine_version: options.EngineVersion = None,
    available: Annotated[
        str | None,
        typer.Option(
            help="Memory for the cache on a device, as the log prints it: 5.98GiB.", metavar="SIZE"
        ),
    ] = None,
    gpu: Annotated[
        str | None, options.gpu_option("The accelerator, instead of --available.")
    ] = None,
    gpu_memory: options.GpuMemory = None,
    memory_utilization: Annotated[
        str | None,
        typer.Option(help="Share of the GPU, or of what is free (TensorRT-LLM).", metavar="SHARE"),
    ] = None,
    max_model_len: Annotated[
        str | None, _tokens("Longest request.", show_default="the model's most")
    ] = None,
    context: Annotated[
        str | None, _tokens("The same; --ctx-size of llama.cpp.", show_default=False)
    ] = None,
    dtype: options.Dtype = None,
    imatrix: options.Imatrix = False,
    pure: options.Pure = False,
    output_tensor_type: options.OutputType = None,
    token_embedding_type: options.TokenType = None,
    kv_dtype: Annotated[
        str | None,
        typer.Option(
            help="Number format of the cache, as the engine names it.",
            metavar="DTYPE",
            autocompletion=completion.one_of(("auto", *CACHE_FORMATS)),
            show_default="auto",
        ),
    ] = None,
    state_dtype: Annotated[
        str | None,
        typer.Option(
            help="Number format of recurrent states.",
            metavar="DTYPE",
            show_default="the model's, fp32",
            autocompletion=completion.one_of(("auto", *STATE_FORMATS)),
        ),
    ] = None,
    model_dtype: Annotated[
        str,
        typer.Option(
            help="Number format of activations, which an 'auto' cache takes.",
            metavar="DTYPE",
            autocompletion=completion.one_of(STATE_FORMATS),
        ),
    ] = "bf16",
    tp: options.TensorParallel = 1,
    pp: options.PipelineParallel = 1,
    pp_partition: Annotated[
        str | None, typer.Option(help="Layers of each pipeline rank: 16,32.", metavar="N,...")
    ] = None,
    dcp: Annotated[int | None, options.num("--dcp", "Decode context parallel ranks.")] = None,
    block_size: Annotated[int | None, options.num("--block-size", "Tokens of a block.")] = None,
    prefix_caching: Annotated[
        bool | None, typer.Option("--prefix-caching/--no-prefix-caching", help="Keep prefixes.")
    ] = None,
    hybrid_manager: Annotated[
        bool | None,
        typer.Option(
            "--hybrid-manager/--no-hybrid-manager", help="Free what falls out of a window."
        ),
    ] = None,
    max_num_batched_tokens: Annotated[str | None, _tokens("Tokens of one scheduler step.")] = None,
    max_num_seqs: Annotated[int | None, options.num("--max-num-seqs", "Requests at once.")] = None,
    enforce_eager: options.EnforceEager = False,
    speculative_tokens: Annotated[
        int | None, options.num("--speculative-tokens", "Draft tokens per step.", least=0)
    ] = None,
    mtp_layers: Annotated[
        int | None,
        options.num("--mtp-layers", "MTP layers that draft, each with a cache.", least=0),
    ] = None,
    async_scheduling: Annotated[
        bool | None, typer.Option("--async-scheduling/--no-async-scheduling", help="Plan ahead.")
    ] = None,
    encoder_context: options.EncoderContext = None,
    tokens: Annotated[str | None, _tokens("Size of the pool in tokens.")] = None,
    state_ratio: Annotated[
        str | None,
        typer.Option(help="Share of states to full attention (SGLang).", metavar="SHARE"),
    ] = None,
    window_ratio: Annotated[
        str | None, typer.Option(help="Window pool to full pool (SGLang).", metavar="SHARE")
    ] = None,
    ctx_size: Annotated[str | None, _tokens("Cells in all (llama.cpp).")] = None,
    parallel: Annotated[int | None, options.num("--parallel", "Slots (llama.cpp).")] = None,
    ubatch: Annotated[int | None, options.num("--ubatch", "Physical batch (llama.cpp).")] = None,
    cache_type_k: Annotated[str | None, _cache_type("Format of K (llama.cpp).")] = None,
    cache_type_v: Annotated[str | None, _cache_type("Format of V (llama.cpp).")] = None,
    kv_unified: Annotated[
        bool | None, typer.Option("--kv-unified/--no-kv-unified", help="One stream (llama.cpp).")
    ] = None,
    swa_full: Annotated[
        bool | None, typer.Option("--swa-full/--no-swa-full", help="Whole windows (llama.cpp).")
    ] = None,
    format: options.OutputFormat = "table",
    quiet: options.Quiet = False,
) -> None:
    """What an engine will allocate and how much fits, as its log says.

    Example: kvcalc capacity qwen3-8b --available 5.98GiB --max-model-len 32k
    """
    dtype = options.gguf_dtype(dtype, imatrix, pure, output_tensor_type, token_embedding_type)
    engine = options.folded(engine)
    if engine not in ENGINES:
        raise UsageError(f"--engine {engine}: choose from {', '.join(ENGINES)}")
    if engine != "llama.cpp" and not (available or gpu or gpu_memory or tokens):
        raise UsageError(
            "say how much memory there is: --gpu GPU, --gpu-memory or --available SIZE"
        )
    if context is not None:
        if engine == "llama.cpp":
            ctx_size = _either(ctx_size, context, "--ctx-size")
        else:
            max_model_len = _either(max_model_len, context, "--max-model-len")
    on_gpu = gpu is not None or gpu_memory is not None
    if not on_gpu and (dtype is not None or enforce_eager):
        given = "--dtype" if dtype is not None else "--enforce-eager"
        raise UsageError(f"{given} says what is left of a GPU: give --gpu, too")
    found = locate(model)
    share = _ratio(memory_utilization, "--memory-utilization")
    if share is not None and share > 1:
        raise UsageError(f"--memory-utilization is at most 1, not {memory_utilization}")
    request = CapacityRequest(
        available=_available(available),
        # A GPU's share is used up below; TensorRT-LLM's is a share of what is free.
        memory_utilization=share if engine == "tensorrt-llm" or not (gpu or gpu_memory) else None,
        engine_version=engine_version,
        max_model_len=options.tokens(max_model_len, "--max-model-len"),
        encoder_tokens=options.tokens(encoder_context, "--encoder-context"),
        kv_dtype=kv_dtype,
        state_dtype=state_dtype,
        model_dtype=model_dtype,
        layout=Layout(tp, pp),
        decode_context_parallel=dcp,
        pipeline_partition=_partition(pp_partition),
        block_size=block_size,
        prefix_caching=prefix_caching,
        hybrid_manager=hybrid_manager,
        max_num_batched_tokens=options.tokens(max_num_batched_tokens, "--max-num-batched-tokens"),
        max_num_seqs=max_num_seqs,
        speculative_tokens=speculative_tokens,
        mtp_layers=mtp_layers,
        async_scheduling=async_scheduling,
        tokens=options.tokens(tokens, "--tokens"),
        state_ratio=_ratio(state_ratio, "--state-ratio"),
        window_ratio=_ratio(window_ratio, "--window-ratio"),
        ctx_size=options.tokens(ctx_size, "--ctx-size"),
        parallel=parallel,
        ubatch=ubatch,
        cache_type_k=cache_type_k,
        cache_type_v=cache_type_v,
        kv_unified=kv_unified,
        swa_full=swa_full,
    )
    module, words = ENGINES[engine]
    loaded = import_module(module)
    request.only(words, loaded.FLAGS)
    notes: tuple[str, ...] = ()
    if on_gpu:
        if available is not None:
            raise UsageError("--available is what is left of a GPU: give it or the GPU, not both")
        request, notes = _from_gpu(
            found.spec, engine, gpu, gpu_memory, share, request, dtype, enforce_eager
        )
    result = loaded.capacity(found.spec, request)
    beyond = _beyond_longest(found.spec, engine, request)
    notes = (*beyond, *result.notes, *notes)
    result = replace(result, notes=notes)
    show(format, answer(result, found.spec.source, found.path), quiet=quiet)


def _from_gpu(
    spec: ModelSpec, engine: str, gpu: str | None, gpu_memory: str | None, share: Fraction | None,
    request: CapacityRequest, dtype: str | None, eager: bool,
) -> tuple[CapacityRequest, tuple[str, ...]]:  # fmt: skip
    """Work out the memory for the cache from a GPU; its band becomes the range of the answer."""
    from kvcalc.deployment.changes import overhead_note
    from kvcalc.deployment.fit import FitRequest, memory_for_cache, step_of
    from kvcalc.deployment.hardware import find, of_size
    from kvcalc.deployment.overhead import was_measured

    if engine == "llama.cpp":
        raise UsageError("llama.cpp takes --ctx-size: its compute buffers do not follow from a GPU")
    if engine == "sglang" and share is None:
        raise UsageError("SGLang chooses its own share of the GPU: say it as --memory-utilization")
    if gpu is not None and gpu_memory is not None:
        raise UsageError("give --gpu or --gpu-memory, not both")
    device = find(gpu) if gpu is not None else of_size(gpu_memory or "")
    dtype = dtype or ("checkpoint" if spec.own_dtype == "checkpoint" else request.model_dtype)
    asked = FitRequest(
        workload=Workload(
            context_tokens=request.max_model_len or spec.max_position_embeddings or 0,
            dtype=dtype,
            layout=request.layout,
        ),
        engine=engine,
        engine_version=request.engine_version,
        utilization=share or Fraction(9, 10),
        max_num_batched_tokens=request.max_num_batched_tokens,
        max_num_seqs=request.max_num_seqs,
        eager=eager,
    )
    value, least, most = memory_for_cache(spec, device, asked, engine)
    if most <= 0:
        raise UsageError(
            f"{spec.name} in {dtype} leaves nothing of {device.name} for the cache: "
            f"'kvcalc fit {spec.name} {_as_asked(gpu, gpu_memory, dtype, request)}' says what would help"
        )
    if engine == "vllm":
        request = replace(request, max_num_batched_tokens=step_of(device, asked).tokens)
    available = Available(max(0, value), max(0, least), max(0, most))
    notes = (
        f"{device.name}: {device.bytes:,} bytes"
        + ("" if device.measured else " (the vendor's figure)")
        + f"; weights in {dtype} from the spec",
        overhead_note(was_measured(device.name, engine, request.engine_version)),
    )
    return replace(request, available=available, compute_capability=device.sm), notes


def _as_asked(
    gpu: str | None, gpu_memory: str | None, dtype: str, request: CapacityRequest
) -> str:  # fmt: skip
    """The options that fit has of what was asked here."""
    given = {
        "--gpu": gpu,
        "--gpu-memory": gpu_memory,
        "--context": request.max_model_len,
        "--dtype": dtype,
        "--kv-dtype": request.kv_dtype if request.kv_dtype != "auto" else None,
        "--state-dtype": request.state_dtype if request.state_dtype != "auto" else None,
        "--tp": request.layout.tensor if request.layout.tensor > 1 else None,
        "--pp": request.layout.pipeline if request.layout.pipeline > 1 else None,
    }
    return " ".join(f"{name} {value}" for name, value in given.items() if value is not None)


def _either(text: str | None, context: str, option: str) -> str:
    if text is not None:
        raise UsageError(f"--context and {option} are the same here: give one of them")
    return context


def _beyond_longest(spec: ModelSpec, engine: str, request: CapacityRequest) -> tuple[str, ...]:
    """The note on a request that is longer than the model's own longest."""
    from kvcalc.memory.estimate import beyond_longest

    note = beyond_longest(spec, request.max_model_len or request.ctx_size or 0)
    if note is None:
        return ()
    from kvcalc.deployment.changes import past_the_longest

    return (note + past_the_longest(engine),)


def _available(text: str | None) -> Available | None:
    try:
        return None if text is None else Available.parse(text)
    except ValueError as error:
        raise UsageError(f"--available: {error}") from None


def _partition(text: str | None) -> tuple[int, ...] | None:
    if text is None:
        return None
    try:
        return tuple(int(part) for part in text.split(","))
    except ValueError:
        raise UsageError(
            f"--pp-partition: write the layers of each rank as 16,32, not '{text}'"
        ) from None


def _ratio(text: str | None, option: str) -> Fraction | None:
    if text is None:
        return None
    try:
        ratio = Fraction(text)
    except (ValueError, ZeroDivisionError):
        raise UsageError(f"{option}: '{text}' is not a number such as 0.8") from None
    if ratio <= 0:
        raise UsageError(f"{option} must be above zero, not {text}")
    return ratio

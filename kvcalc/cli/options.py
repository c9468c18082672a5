"""Options that several commands share, spelt and explained once, and the parsing of their values."""

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any

from kvcalc.cli import completion, kinds
from kvcalc.cli.output import note
from kvcalc.dtypes import cache_dtype, state_dtype
from kvcalc.engines import ALL, ENGINES
from kvcalc.errors import UsageError
from kvcalc.file_types import weight_dtype
from kvcalc.mlx_types import instead_of
from kvcalc.report.formats import PRINTERS
from kvcalc.units import parse_memory, parse_tokens

# Attention to put in place of the model's own; gqa:4 and mla:512 say a size.
ATTENTIONS = ("mha", "gqa", "mqa", "mla")


def attention(text: str) -> str:
    """An attention as ``--attention`` takes it. Raises UsageError for none, and for several."""
    from kvcalc.spec.variants import attention_word

    return attention_word(text)


def format_option(formats: Iterable[str], shown: bool | str = True) -> Any:
    """``--format``, of the formats that a command has."""
    return kinds.choice(formats, "How to print the answer.", "--format", shown=shown)


def gpu_option(text: str) -> Any:
    """``--gpu``, of the catalogue."""
    return kinds.option("GPU", text, "--gpu", complete=completion.gpu)


def _weight_dtype(text: str) -> str:
    today = instead_of(weight_dtype(text))
    if today is not None:
        note(f"note: --dtype {text} is called {today} now; the old name goes with the next release")
    return text


_MODEL_IS = "shipped name ('kvcalc models'), hub id, or path of a spec, config.json or checkpoint"
ONE_MODEL = f"A model: {_MODEL_IS}."
MODELS = f"Models, each a {_MODEL_IS}."
Models = Annotated[list[str], kinds.argument("MODEL...", MODELS, completion.model)]
ModelsOrPatterns = Annotated[
    list[str],
    kinds.argument("MODEL...", f"{MODELS[:-1]}, or a pattern such as 'qwen*'.", completion.model),
]
Model = Annotated[str, kinds.argument("MODEL", ONE_MODEL, completion.model)]


def context_option(show_default: str) -> Any:
    """``--context`` of one sequence. show_default: what holds where it is left out."""
    return kinds.option(
        "TOKENS", "Cached tokens of one sequence: 8192, 8k, 128k, 1m.", shown=show_default
    )


Context = Annotated[str | None, context_option("8k, or the model's most")]
ContextOfMany = Annotated[str | None, context_option("8k")]
Batch = Annotated[int, kinds.num("--batch", "Sequences.")]
EncoderContext = Annotated[
    str | None, kinds.option("TOKENS", "Encoder tokens of one sequence.", shown="as --context")
]
Beams = Annotated[int, kinds.num("--beams", "Beams per sequence; each has its own cache.")]
Dtype = Annotated[
    str | None,
    kinds.option(
        "DTYPE",
        "Number format of the weights: bf16, fp8, mxfp4, ..., a GGUF file's type: q4_k_m, q8_0, "
        "iq4_xs, ...; 'checkpoint' as published.",
        complete=completion.weight_dtype,
        shown="checkpoint, or bf16",
        callback=kinds.given(_weight_dtype),
    ),
]


def kv_dtype_option(shown: bool | str = True, **more: Any) -> Any:
    """``--kv-dtype`` of one cache. shown: what holds where it is left out."""
    text = "Number format of the cache: bf16, fp8, q8_0, ...; K:V as q8_0:bf16."
    return kinds.option("DTYPE[:DTYPE]", text, complete=completion.kv_dtype, shown=shown, **more)


KvDtype = Annotated[str, kv_dtype_option(callback=kinds.given(cache_dtype))]
KvDtypeGiven = Annotated[
    str | None, kv_dtype_option("bf16; llama.cpp: f16", callback=kinds.given(cache_dtype))
]
KvDtypeAsked = Annotated[str | None, kv_dtype_option("bf16, or the engine's own")]
StateDtype = Annotated[
    str | None,
    kinds.option(
        "DTYPE",
        "Number format of recurrent states.",
        complete=completion.state_dtype,
        shown="the model's, fp32",
        callback=kinds.given(state_dtype),
    ),
]
TensorParallel = Annotated[int, kinds.num("--tp", "Tensor-parallel ranks.")]
# None: as many as the devices that are listed.
ListedRanks = Annotated[
    int | None,
    kinds.num("--tp", "Tensor-parallel ranks.", show_default="1, or the devices listed"),
]
PipelineParallel = Annotated[int, kinds.num("--pp", "Pipeline-parallel ranks.")]
DataParallel = Annotated[
    int, kinds.num("--dp", "Replicas of the attention, each with its own requests.")
]
ExpertParallel = Annotated[
    bool, kinds.switch("--expert-parallel", "Deal whole experts to the TP x DP ranks.")
]
SetFields = Annotated[
    list[str] | None,
    kinds.option(
        "FIELD=VALUE", "Change a field: blocks.decoder.attention.num_key_value_heads=4.", "--set"
    ),
]
Together = Annotated[bool, kinds.switch("--together", "All of the models on the devices at once.")]
Force = Annotated[bool, kinds.switch("--force", "Overwrite what is there.")]
OutputFormat = Annotated[str, format_option(PRINTERS)]


def engine_option(text: str, names: Iterable[str] = ENGINES, shown: bool | str = True) -> Any:
    """``--engine``, of the registry. shown: what holds where it is left out, in words."""
    known = tuple(names)
    return kinds.option(
        "ENGINE",
        # As a metavar they are wider than a screen.
        f"{text} One of {', '.join(known)}.",
        "--engine",
        complete=completion.one_of(known),
        shown=shown,
    )


def engine_name(text: str, *more: str) -> str:
    """The name of an engine, however it is written. more: other words that are meant.

    Raises UsageError.
    """
    name, names = kinds.folded(text), (*ENGINES, *more)
    if name not in names:
        raise kinds.none_of("--engine", text, names)
    return name


WhichEngine = Annotated[
    str,
    engine_option(
        "Whose accounting to follow: the mechanisms', a library's, an engine's, or all.",
        (*ENGINES, ALL),
    ),
]
EngineVersion = Annotated[
    str | None,
    kinds.option("VERSION", "Release of the engine, such as 0.10.2.", shown="the newest known"),
]
GpuMemory = Annotated[
    str | None, kinds.option("SIZE", "Its memory, where the name is not known: 80GiB.")
]
Ram = Annotated[
    str | None,
    kinds.option("SIZE", "Memory beside the devices, for what is not on them (llama.cpp)."),
]
Reserve = Annotated[
    str | None, kinds.option("SIZE", "What something else holds on each device (llama.cpp).")
]
EnforceEager = Annotated[
    bool, kinds.switch("--enforce-eager", "No CUDA graphs (vLLM): slower, with more memory.")
]
Quiet = Annotated[
    bool, kinds.switch("--quiet", "The answer alone: no notes and no progress.", "-q")
]
QuietFindings = Annotated[
    bool,
    kinds.switch(
        "--quiet", "Findings alone: no notes, no progress, and nothing when all is well.", "-q"
    ),
]


def one_kv_dtype(text: str | None) -> str | None:
    """A cache's format in an engine's words. Raises UsageError for several."""
    if text is not None and "," in text:
        raise UsageError("estimate answers for one --kv-dtype; 'kvcalc compare' takes several")
    return text


def named_path(text: str) -> Path:
    """A path given on the command line; an empty one is a variable that was not set, not this folder.

    Raises UsageError.
    """
    if not str(text):
        raise UsageError("a path is empty; write . for the current folder")
    return Path(text)


def tokens(text: str | None, option: str) -> int | None:
    """A token count given on the command line. Raises UsageError naming the option."""
    if text is None:
        return None
    if re.fullmatch(r"\s*[1-9]\d{0,2}(,\d{3})+\s*", text):
        raise UsageError(f"{option} {text}: write {text.strip().replace(',', '')}, without commas")
    if "," in text or ":" in text:
        raise UsageError(f"{option} {text}: one token count here; 'kvcalc compare' takes several")
    try:
        return parse_tokens(text)
    except ValueError as error:
        raise UsageError(f"{option}: {error}") from None


def num_bytes(text: str | None, option: str) -> int | None:
    """A size given on the command line. Raises UsageError naming the option."""
    if text is None:
        return None
    try:
        return parse_memory(text)
    except ValueError as error:
        raise UsageError(f"{option}: {error}") from None


def token_list(text: str, option: str) -> list[int]:
    """Several token counts: ``8k,32k``, ``1k:128k:1k`` (first:last:step) or ``1k:128k:x2``."""
    return [value for part in text.split(",") for value in _series(part, option)]


def _series(part: str, option: str) -> list[int]:
    pieces = part.split(":")
    if len(pieces) == 1:
        return [value for value in (tokens(part, option),) if value is not None]
    if len(pieces) != 3:
        raise UsageError(f"{option}: a series is FIRST:LAST:STEP or FIRST:LAST:x2, not '{part}'")
    first, last = tokens(pieces[0], option) or 0, tokens(pieces[1], option) or 0
    if pieces[2].startswith("x"):
        factor = tokens(pieces[2][1:], option) or 0
        if factor < 2 or first < 1:
            raise UsageError(f"{option}: a factor is at least 2 and starts from at least 1")
        values = [first]
        while values[-1] * factor <= last:
            values.append(values[-1] * factor)
        return values
    step = tokens(pieces[2], option) or 0
    if step < 1 or (last - first) // step > 10_000_000:
        raise UsageError(f"{option}: '{part}' has no usable step")
    return list(range(first, last + 1, step))

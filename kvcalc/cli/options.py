"""Options that several commands share, spelt and explained once, and the parsing of their values."""

from enum import StrEnum
from typing import Annotated

import typer

from kvcalc.errors import UsageError
from kvcalc.units import parse_bytes, parse_tokens


class Format(StrEnum):
    """How an answer is printed."""

    table = "table"
    json = "json"
    markdown = "markdown"
    csv = "csv"


class Engine(StrEnum):
    """Whose accounting an answer follows."""

    logical = "logical"
    transformers = "transformers"
    vllm = "vllm"
    sglang = "sglang"
    tensorrt_llm = "tensorrt-llm"
    llama_cpp = "llama.cpp"
    all = "all"


class AttentionName(StrEnum):
    """An attention mechanism to put in place of the model's own."""

    mha = "mha"
    gqa = "gqa"
    mqa = "mqa"
    mla = "mla"


def complete_model(incomplete: str) -> list[str]:
    """Names of shipped models, from file names alone."""
    from kvcalc.spec.catalog import shipped

    return [name for name in shipped() if name.startswith(incomplete)]


Models = Annotated[
    list[str],
    typer.Argument(
        help="Shipped models (see 'kvcalc models'), hub ids or paths of YAML specs.",
        autocompletion=complete_model,
        show_default=False,
    ),
]
Model = Annotated[
    str,
    typer.Argument(
        help="A shipped model, a hub id or the path of a YAML spec.",
        autocompletion=complete_model,
        show_default=False,
    ),
]
Context = Annotated[
    str | None,
    typer.Option(help="Cached tokens of one sequence: 8192, 8k, 128k, 1m.", show_default="8k"),
]
Batch = Annotated[int, typer.Option(help="Sequences.", min=1)]
EncoderContext = Annotated[
    str | None,
    typer.Option(help="Encoder tokens of one sequence.", show_default="as --context"),
]
Beams = Annotated[int, typer.Option(help="Beams per sequence; each has its own cache.", min=1)]
Dtype = Annotated[
    str | None,
    typer.Option(
        help="Number format of the weights: bf16, fp8, q4_0, mxfp4, ...; 'checkpoint' as published.",
        show_default="checkpoint, or bf16",
    ),
]
KvDtype = Annotated[
    str, typer.Option(help="Number format of the cache: bf16, fp8, q8_0, ...; K:V as q8_0:bf16.")
]
KvDtypeAsked = Annotated[
    str | None,
    typer.Option(
        help="Number format of the cache: bf16, fp8, q8_0, ...; K:V as q8_0:bf16.",
        show_default="bf16, or the engine's own",
    ),
]
StateDtype = Annotated[
    str | None,
    typer.Option(help="Number format of recurrent states.", show_default="the model's, fp32"),
]
TensorParallel = Annotated[int, typer.Option("--tp", help="Tensor-parallel ranks.", min=1)]
PipelineParallel = Annotated[int, typer.Option("--pp", help="Pipeline-parallel ranks.", min=1)]
SetFields = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="PATH=VALUE",
        help="Change a field: blocks.decoder.attention.num_key_value_heads=4.",
    ),
]
OutputFormat = Annotated[Format, typer.Option("--format", help="How to print the answer.")]
WhichEngine = Annotated[
    Engine,
    typer.Option(
        help="Whose accounting to follow: the mechanisms', a library's, an engine's, or all."
    ),
]
EngineVersion = Annotated[
    str | None, typer.Option(help="Release of the engine.", show_default="the measured one")
]


def tokens(text: str | None, option: str) -> int | None:
    """A token count given on the command line. Raises UsageError naming the option."""
    if text is None:
        return None
    try:
        return parse_tokens(text)
    except ValueError as error:
        raise UsageError(f"{option}: {error}") from None


def num_bytes(text: str | None, option: str) -> int | None:
    """A size given on the command line. Raises UsageError naming the option."""
    if text is None:
        return None
    try:
        return parse_bytes(text)
    except ValueError as error:
        raise UsageError(f"{option}: {error}") from None


def token_list(text: str, option: str) -> list[int]:
    """Several token counts: ``8k,32k``, ``1k:128k:1k`` (first:last:step) or ``1k:128k:x2``."""
    return [value for part in text.split(",") for value in _series(part, option)]


def _series(part: str, option: str) -> list[int]:
    pieces = part.split(":")
    if len(pieces) == 1:
        value = tokens(part, option)
        return [] if value is None else [value]
    if len(pieces) != 3:
        raise UsageError(
            f"{option}: write a series as FIRST:LAST:STEP or FIRST:LAST:x2, not '{part}'"
        )
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

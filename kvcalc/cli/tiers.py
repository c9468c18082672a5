"""``kvcalc tiers``: what an engine keeps of sessions beyond the GPU, in RAM and on disk."""

from fractions import Fraction
from typing import Annotated

import typer

from kvcalc.cli import completion, options, traffic
from kvcalc.cli.show import show
from kvcalc.convert.locate import locate
from kvcalc.errors import UsageError
from kvcalc.memory.estimate import choose_workload
from kvcalc.memory.layout import Layout
from kvcalc.memory.workload import Asked
from kvcalc.tiers import TIERED

_Engine = Annotated[
    str,
    typer.Option(
        help="Whose tiers.",
        metavar=options.choices(TIERED),
        autocompletion=completion.one_of(tuple(TIERED)),
    ),
]
_Host = Annotated[
    str | None, typer.Option(help="RAM for the cache, of all ranks together.", metavar="SIZE")
]
_Disk = Annotated[str | None, typer.Option(help="Disk for the cache, likewise.", metavar="SIZE")]
_Chunk = Annotated[
    str | None,
    typer.Option(
        help="Tokens that are moved at once.", metavar="TOKENS", show_default="the engine's"
    ),
]
_BlockSize = Annotated[
    int | None,
    options.num(
        "--block-size", "Tokens of the engine's block or page.", show_default="the engine's"
    ),
]
_Link = Annotated[
    str | None,
    typer.Option(
        help="Speed between GPU and host, or to another server: 55 is GB/s.", metavar="GB/S"
    ),
]
_DiskLink = Annotated[
    str | None, typer.Option("--disk-link", help="Speed between host and disk.", metavar="GB/S")
]
_Lengths = Annotated[
    str | None,
    typer.Option(
        help="Real sessions, as 'kvcalc traffic' takes them, beside one of --context.",
        metavar="FILE",
        autocompletion=completion.path,
    ),
]


def tiers(
    model: options.Model, engine: _Engine = "vllm", engine_version: options.EngineVersion = None,
    host: _Host = None, disk: _Disk = None, context: options.Context = None, chunk: _Chunk = None,
    link: _Link = None, disk_link: _DiskLink = None, lengths: _Lengths = None,
    kv_dtype: options.KvDtypeAsked = None, state_dtype: options.StateDtype = None,
    block_size: _BlockSize = None, tp: options.TensorParallel = 1,
    pp: options.PipelineParallel = 1, format: options.OutputFormat = "table",
    quiet: options.Quiet = False,
) -> None:  # fmt: skip
    """What sessions cost in RAM and on disk, and how many fit.

    A session is a request's cache that is kept to be read back: in RAM, on disk, or by another server.

    Example: kvcalc tiers llama-3-8b --engine vllm --host 200GiB --context 32k --link 55
    """
    from kvcalc.report.answers.tiers import answer
    from kvcalc.tiers.answer import tiers as ask
    from kvcalc.tiers.question import TierQuestion

    found = locate(model)
    asked = Asked(
        context_tokens=options.tokens(context, "--context"), state_dtype=state_dtype,
        layout=Layout(tp, pp),
    )  # fmt: skip
    workload, filled = choose_workload(found.spec, asked)
    if disk_link is not None and disk is None:
        raise UsageError("--disk-link is the speed of --disk: say how large that is")
    question = TierQuestion(
        engine=options.folded(engine), engine_version=engine_version, workload=workload,
        kv_dtype=options.one_kv_dtype(kv_dtype), block_tokens=block_size,
        chunk_tokens=options.tokens(chunk, "--chunk"),
        host_bytes=options.num_bytes(host, "--host"), disk_bytes=options.num_bytes(disk, "--disk"),
        link=_speed(link, "--link"), disk_link=_speed(disk_link, "--disk-link"),
        lengths=None if lengths is None else traffic.read(lengths),
    )  # fmt: skip
    result = ask(found.spec, question)
    notes = (*found.assumptions, *filled)
    show(format, answer(result, found.spec.source, found.path), quiet=quiet, notes=notes)


def _speed(text: str | None, option: str) -> Fraction | None:
    """Bytes a second of a number of GB/s, which are 10^9 bytes."""
    if text is None:
        return None
    number = text.strip().lower().removesuffix("gb/s").strip()
    whole, _, rest = number.partition(".")
    if not (whole + rest).isdecimal() or not (whole + rest).isascii() or len(number) > 12:
        raise UsageError(f"{option} {text}: write it in GB/s, such as 55 or 3.5")
    speed = Fraction(number) * 10**9
    if not speed:
        raise UsageError(f"{option} {text}: nothing moves at that speed")
    return speed

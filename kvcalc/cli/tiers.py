"""``kvcalc tiers``: what an engine keeps of sessions beyond the GPU, in RAM and on disk."""

from fractions import Fraction
from typing import Annotated

from kvcalc.cli import completion, kinds, options, traffic
from kvcalc.cli.groups import Output, with_groups
from kvcalc.convert.locate import locate
from kvcalc.dtypes import CacheDtypes
from kvcalc.errors import UsageError
from kvcalc.frozen import changed
from kvcalc.memory.estimate import choose_workload
from kvcalc.memory.layout import Layout
from kvcalc.memory.workload import Asked
from kvcalc.tiers import TIERED

_Engine = Annotated[
    str,
    kinds.option("|".join(TIERED), "Whose tiers.", complete=completion.one_of(tuple(TIERED))),
]
_Host = Annotated[str | None, kinds.option("SIZE", "RAM for the cache, of all ranks together.")]
_Disk = Annotated[str | None, kinds.option("SIZE", "Disk for the cache, likewise.")]
_Chunk = Annotated[
    str | None, kinds.option("TOKENS", "Tokens that are moved at once.", shown="the engine's")
]
_BlockSize = Annotated[
    int | None,
    kinds.num("--block-size", "Tokens of the engine's block or page.", show_default="the engine's"),
]
_Link = Annotated[
    str | None,
    kinds.option("GB/S", "Speed between GPU and host, or to another server: 55 is GB/s."),
]
_DiskLink = Annotated[
    str | None, kinds.option("GB/S", "Speed between host and disk.", "--disk-link")
]
_Lengths = Annotated[
    str | None,
    kinds.file("Real sessions, as 'kvcalc traffic' takes them, beside one of --context."),
]


@with_groups
def tiers(
    model: options.Model, engine: _Engine = "vllm", engine_version: options.EngineVersion = None,
    host: _Host = None, disk: _Disk = None, context: options.Context = None, chunk: _Chunk = None,
    link: _Link = None, disk_link: _DiskLink = None, lengths: _Lengths = None,
    kv_dtype: options.KvDtypeAsked = None, state_dtype: options.StateDtype = None,
    block_size: _BlockSize = None, tp: options.TensorParallel = 1,
    pp: options.PipelineParallel = 1, output: Output = Output(),
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
        kv_dtype=CacheDtypes.need(kv_dtype), layout=Layout(tp, pp),
    )  # fmt: skip
    workload, filled = choose_workload(found.spec, asked)
    if disk_link is not None and disk is None:
        raise UsageError("--disk-link is the speed of --disk: say how large that is")
    question = TierQuestion(
        engine=kinds.folded(engine), engine_version=engine_version, workload=workload,
        kv_dtype=options.one_kv_dtype(kv_dtype), block_tokens=block_size,
        chunk_tokens=options.tokens(chunk, "--chunk"),
        host_bytes=options.num_bytes(host, "--host"), disk_bytes=options.num_bytes(disk, "--disk"),
        link=_speed(link, "--link"), disk_link=_speed(disk_link, "--disk-link"),
        lengths=None if lengths is None else traffic.read(lengths),
    )  # fmt: skip
    result = ask(found.spec, question)
    result = changed(result, notes=(*result.notes, *filled, *found.assumptions))
    output.show(answer(result, found.spec.source, found.path))


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

"""``kvcalc tiers``: what an engine keeps of sessions beyond the GPU, in RAM and on disk."""

from fractions import Fraction
from typing import Annotated

from kvcalc.cli import completion, kinds, options, traffic
from kvcalc.cli.groups import Output, with_groups
from kvcalc.convert.locate import locate
from kvcalc.errors import UsageError
from kvcalc.memory.layout import Layout
from kvcalc.memory.workload import Asked
from kvcalc.report.answers import answer
from kvcalc.tiers import TIERED
from kvcalc.units import parse_speed

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
    from kvcalc.tiers.answer import tiers as ask
    from kvcalc.tiers.question import TierQuestion

    question = TierQuestion(
        engine=kinds.folded(engine), engine_version=engine_version,
        asked=Asked(
            context_tokens=options.tokens(context, "--context"), state_dtype=state_dtype,
            layout=Layout(tp, pp),
        ),
        kv_dtype=options.one_kv_dtype(kv_dtype), block_tokens=block_size,
        chunk_tokens=options.tokens(chunk, "--chunk"),
        host_bytes=options.num_bytes(host, "--host"), disk_bytes=options.num_bytes(disk, "--disk"),
        link=_speed(link, "--link"), disk_link=_speed(disk_link, "--disk-link"),
        lengths=None if lengths is None else traffic.read(lengths),
    )  # fmt: skip
    output.show(answer(ask(locate(model), question)))


def _speed(text: str | None, option: str) -> Fraction | None:
    try:
        return None if text is None else parse_speed(text)
    except ValueError as error:
        raise UsageError(f"{option} {text}: {error}") from None

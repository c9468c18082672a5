"""``kvcalc traffic``: the cache of real requests, whose lengths a file has, instead of one context."""

import sys
from typing import Annotated

from kvcalc.cli import kinds, options
from kvcalc.cli.groups import Output, Pools, with_groups
from kvcalc.convert.locate import locate
from kvcalc.engines import NEED
from kvcalc.engines.traffic import TrafficAnswer, TrafficQuestion, traffic_of
from kvcalc.errors import FileError
from kvcalc.memory.layout import Layout
from kvcalc.memory.lengths import Lengths, open_lengths, read_lengths
from kvcalc.memory.workload import Asked
from kvcalc.report.answers import answer
from kvcalc.spec.catalog import expand


@with_groups
def traffic(
    models: options.Models,
    lengths: Annotated[
        str,
        kinds.file(
            "CSV or JSONL of prompt and output tokens, or a histogram length,count; - is stdin.",
            shown=False,
        ),
    ],
    encoder_context: options.EncoderContext = None,
    kv_dtype: options.KvDtypeAsked = None,
    state_dtype: options.StateDtype = None,
    engine: Annotated[
        str, options.engine_option("Whose accounting to follow: the mechanisms' or an engine's.")
    ] = NEED,
    engine_version: options.EngineVersion = None,
    tp: options.TensorParallel = 1,
    pp: options.PipelineParallel = 1,
    set_fields: options.SetFields = None,
    pools: Pools = Pools(),
    output: Output = Output(),
) -> None:
    """What real requests hold, whose lengths a file has.

    Example: kvcalc traffic llama-3-8b --lengths requests.csv --available 40GiB
    """
    question = TrafficQuestion(
        engine=options.engine_name(engine),
        engine_version=engine_version,
        asked=Asked(
            encoder_tokens=options.tokens(encoder_context, "--encoder-context"),
            state_dtype=state_dtype,
            layout=Layout(tp, pp),
        ),
        kv_dtype=options.one_kv_dtype(kv_dtype),
        set_fields=tuple(set_fields or ()),
        **pools.question,
    )
    output.show(answer(*answers(models, lengths, question)))


def answers(models: list[str], path: str, question: TrafficQuestion) -> list[TrafficAnswer]:
    """Every model's answer for the requests of one file."""
    names, requests = expand(models), read(path, question.prefix_tokens is not None)
    return [traffic_of(locate(name), requests, question) for name in names]


def read(path: str, count_prompts: bool = False) -> Lengths:
    """Read a file, or stdin for ``-``. Raises NotFoundError, FileError or UsageError."""
    if path != "-":
        return open_lengths(path, count_prompts)
    if sys.stdin is None:
        raise FileError("cannot read stdin: it is closed")
    return read_lengths(sys.stdin.buffer, "stdin", count_prompts)

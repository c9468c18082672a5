"""What the report's page recomputes from: each model's cache terms and weights, for every format.

Integers are written as strings: JavaScript reads a JSON number as a float. The rows of a model's
terms are kept once, for formats and ranks that give the same bytes.
"""

import json
from collections.abc import Sequence
from typing import Any

from kvcalc.buffers import Grown, Rotating, Sliced
from kvcalc.deployment.curves import (
    DEVICES,
    FIRST_CONTEXT,
    LAST_CONTEXT,
    PARTS,
    bends,
    stacked,
)
from kvcalc.dtypes import CACHE_FORMATS, WEIGHT_FORMATS, CacheDtypes, canonical
from kvcalc.errors import UnsupportedError, UsageError
from kvcalc.file_types import recipe
from kvcalc.frozen import frozen
from kvcalc.memory.cache import cache_function, same_share
from kvcalc.memory.grid import kinds
from kvcalc.memory.weights import rank_bytes, summarise
from kvcalc.memory.workload import Asked, Workload
from kvcalc.mlx_types import mlx_recipe
from kvcalc.report.formats.json import SCHEMA_VERSION
from kvcalc.spec.catalog import Found
from kvcalc.spec.model import ModelSpec
from kvcalc.spec.stored import StoredWeights
from kvcalc.tensors import (
    Chunk,
    EncoderTokens,
    EveryToken,
    Extent,
    LastBlock,
    Once,
    PerBlock,
    Share,
    SinkWindow,
    Tail,
    Window,
)

# The tensor-parallel ranks that the form offers, beside those that were asked for.
RANKS = (1, 2, 4, 8, 16, 32, 64)


@frozen
class Question:
    """What the page shows when it opens: the first model's workload, and what was asked of all."""

    workload: Workload
    asked: Asked


def to_object(models: tuple[Found, ...], question: Question) -> dict[str, Any]:
    """Everything that the page's script reads."""
    from kvcalc.deployment.hardware import find

    workload = question.workload
    kv_dtypes = list(dict.fromkeys((workload.cache.kv_name, *CACHE_FORMATS)))
    ranks = sorted({*RANKS, workload.layout.tensor})
    devices = [find(name) for name in DEVICES]
    longest = [found.spec.max_position_embeddings or 0 for found in models]
    return {
        "schema_version": SCHEMA_VERSION,
        "kv_dtypes": kv_dtypes,
        "dtypes": ["published", *WEIGHT_FORMATS],
        "ranks": ranks,
        "parts": list(PARTS),
        "devices": [{"name": item.name, "bytes": str(item.bytes)} for item in devices],
        "first_context": str(FIRST_CONTEXT),
        "last_context": str(max(LAST_CONTEXT, workload.context_tokens, *longest)),
        "question": {
            "context": str(workload.context_tokens),
            "batch": str(workload.batch_size),
            "encoder": None
            if question.asked.encoder_tokens is None
            else str(question.asked.encoder_tokens),
            "kv_dtype": workload.cache.kv_name,
            "dtype": _form_dtype(question.asked.dtype),
            "rank": ranks.index(workload.layout.tensor),
        },
        "models": [
            {
                **model_object(found.spec, kv_dtypes, ranks, workload.cache.state),
                **_weights(found.spec, found.weights, ranks),
            }
            for found in models
        ],
    }


def _form_dtype(dtype: str | None) -> str:
    """What the form calls a format of the weights."""
    if dtype is None or dtype == "checkpoint":
        return "published"
    gguf = recipe(dtype)
    if gguf is not None and gguf.word not in WEIGHT_FORMATS:
        raise UsageError(
            f"--dtype {dtype}: the page's form has no mixtures of GGUF files; "
            f"estimate and compare do"
        )
    if mlx_recipe(dtype) is not None:
        raise UsageError(
            f"--dtype {dtype}: the page's form has none of mlx-lm's types; estimate and compare do"
        )
    return canonical(dtype, WEIGHT_FORMATS)


def to_json(data: dict[str, Any]) -> str:
    """JSON that may stand in a script element, whatever the models are called."""
    text = json.dumps(data, separators=(",", ":"), ensure_ascii=True)
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def model_object(
    spec: ModelSpec, kv_dtypes: Sequence[str], ranks: Sequence[int], state_dtype: str | None
) -> dict[str, Any]:
    """One model's cache: rows of bytes a position, and which row each format and rank has.

    A row that is negative stands for a problem: -1 is the first.
    """
    rows: dict[tuple[int, ...], int] = {}
    problems: dict[str, int] = {}
    extents: tuple[Extent, ...] = ()
    cache: dict[str, list[int]] = {}
    same = same_share(spec, ranks)
    for kv_dtype in kv_dtypes:
        dtypes = CacheDtypes.parse(kv_dtype, state_dtype)
        of_rank: dict[int, int] = {}
        for rank in ranks:
            if same[rank] != rank:
                of_rank[rank] = of_rank[same[rank]]
                continue
            try:
                terms = cache_function(spec, dtypes, rank).terms
            except UnsupportedError as error:
                index = -1 - problems.setdefault(error.message, len(problems))
            else:
                # The model's, in their order: formats and ranks change the bytes alone.
                extents = tuple(extent for extent, _ in terms)
                index = rows.setdefault(tuple(num_bytes for _, num_bytes in terms), len(rows))
            of_rank[rank] = index
        cache[kv_dtype] = [of_rank[rank] for rank in ranks]
    encoder = spec.encoder
    parameters = summarise(spec)
    try:
        bend_list = bends(cache_function(spec, CacheDtypes()))
    except UnsupportedError:
        bend_list = ()
    return {
        "name": spec.name,
        "kinds": kinds(spec),
        "parameters": str(parameters.total),
        "encoder": encoder is not None,
        "encoderFollows": encoder is not None and bool(encoder.layers),
        "encoderTokens": None if encoder is None or encoder.tokens is None else str(encoder.tokens),
        "extents": [{**extent_object(extent), "words": str(extent)} for extent in extents],
        "bends": [str(context) for context in bend_list],
        "rows": [[str(num_bytes) for num_bytes in row] for row in rows],
        "problems": list(problems),
        "cache": cache,
    }


def extent_object(extent: Extent) -> dict[str, str]:
    """An extent as the page's script knows it."""
    match extent:
        case EveryToken():
            return {"kind": "every_token"}
        case Window(size) | Chunk(size):
            return {"kind": "at_most", "size": str(size)}
        case SinkWindow(sinks, size):
            return {"kind": "at_most", "size": str(sinks + size)}
        case PerBlock(size, stride):
            return {"kind": "per_block", "size": str(size), "stride": str(stride)}
        case Tail(size):
            return {"kind": "tail", "size": str(size)}
        case LastBlock(size):
            return {"kind": "last_block", "size": str(size)}
        case Share(fraction):
            return {
                "kind": "share",
                "numerator": str(fraction.numerator),
                "denominator": str(fraction.denominator),
            }
        case EncoderTokens():
            return {"kind": "encoder_tokens"}
        case Once():
            return {"kind": "once"}
        case Grown() | Rotating() | Sliced():
            raise UnsupportedError(f"{extent}: a library's buffers are not on the page")


def _weights(spec: ModelSpec, stored: StoredWeights | None, ranks: Sequence[int]) -> dict[str, Any]:
    """Per number format: the bytes of each part, and of one device for each number of ranks.

    published: the format that the model comes in; its own files' bytes where it comes as files.
    """
    own = stored is not None or spec.own_dtype == "checkpoint"
    names = {"stored" if stored is not None else "checkpoint": "checkpoint"} if own else {}
    names |= {dtype: dtype for dtype in WEIGHT_FORMATS}
    return {
        "published": next(iter(names)) if own else "bf16",
        "weights": {name: _sizes(spec, dtype, ranks) for name, dtype in names.items()},
    }


def _sizes(spec: ModelSpec, dtype: str, ranks: Sequence[int]) -> dict[str, Any]:
    try:
        parts = stacked(rank_bytes(spec, dtype, 1))
    except UnsupportedError as error:
        return {"problem": error.message}
    per_device: list[str | None] = []
    for rank in ranks:
        try:
            per_device.append(str(sum(rank_bytes(spec, dtype, rank).values())))
        except UnsupportedError:
            per_device.append(None)
    return {"parts": [str(num_bytes) for _, num_bytes in parts], "perDevice": per_device}

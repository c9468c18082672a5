"""Rows of cells: what layers of llama.cpp keep alike, and the cache that they make."""

from typing import Literal

from kvcalc.engines.llama_cpp.setup import Setup, format_name, row_bytes
from kvcalc.engines.result import Cache
from kvcalc.errors import UsageError
from kvcalc.frozen import frozen

F32 = 4
Kept = Literal["every", "window", "indexer"]
Kind = Literal["attention", "indexer"]


@frozen
class Rows:
    """Layers that keep equal rows.

    k, v: (elements of a head, heads) of one cell; v is None where there is no V (MLA).
    """

    kept: Kept
    layers: int
    k: tuple[int, int]
    v: tuple[int, int] | None
    window: int = 0


def one_cache(
    name: str, kind: Kind, rows: list[Rows], cells: int, streams: int,
    setup: Setup,
) -> Cache:  # fmt: skip
    k = sum(row.layers * row_bytes(setup.k, row.k, "K") for row in rows) * cells * streams
    v = sum(row.layers * row_bytes(setup.v, row.v, "V") for row in rows if row.v) * cells * streams
    if any(row.v is None for row in rows) and setup.k != setup.v:
        raise UsageError(
            f"llama.cpp refuses different formats of K ({format_name(setup.k)}) and V "
            f"({format_name(setup.v)}) for a model whose cache has no V: "
            f"give --cache-type-v {format_name(setup.k)}"
        )
    layers = sum(row.layers for row in rows)
    return Cache(name=name, type=kind, layers=layers, cells=cells, streams=streams,
                 k_bytes=k, v_bytes=v, bytes=k + v)  # fmt: skip

"""``kvcalc.loaded``: the weights as a serving engine's own classes allocate them."""

from typing import TypedDict, Unpack

from kvcalc.api.arguments import Model, engine_name, known, layout_of, renamed, spec_of
from kvcalc.deployment.hardware import find
from kvcalc.engines import engine_of
from kvcalc.engines.loaded import Loaded
from kvcalc.errors import UnsupportedError
from kvcalc.memory.estimate import choose_workload
from kvcalc.memory.workload import Asked


class LayoutWords(TypedDict, total=False):
    """Ranks of each kind; expert: whole experts on each rank."""

    tensor: int
    pipeline: int
    data: int
    expert: bool


def loaded(
    model: Model, engine: str = "vllm", *, dtype: str | None = None, gpu: str | None = None,
    engine_version: str | None = None, **words: Unpack[LayoutWords],
) -> Loaded:  # fmt: skip
    """What each device of one replica holds of the weights, and why that is not the checkpoint's share.

    dtype: the weights' format, None the model's own. gpu: a name of the catalogue, whose kernels may pad.
    Raises UnsupportedError where the engine has no class for the model, refuses the layout, or what it
    allocates is not known.

    >>> loaded("gpt-oss-120b", tensor=4, gpu="h100-80gb").bytes_per_device[0]
    17368614144
    """
    spec = spec_of(model)
    given = renamed(words)
    known("loaded", given, LayoutWords.__annotations__)
    asked = Asked(dtype=dtype, layout=layout_of(given))
    workload, _ = choose_workload(spec, asked)
    record = engine_of(engine_name(engine))
    if record.loads is None:
        raise UnsupportedError(f"{record.words}: what its classes allocate is not known here")
    found = record.loads(
        spec, workload.dtype, workload.layout, engine_version, None if gpu is None else find(gpu)
    )
    if isinstance(found, str):
        raise UnsupportedError(f"{spec.name}: {found}")
    return found

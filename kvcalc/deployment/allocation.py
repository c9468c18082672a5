"""Everything that ``kvcalc capacity`` is asked, and on which road it is answered: the command and the
library ask here, so that both answer, and refuse, alike."""

from collections.abc import Callable, Mapping
from functools import cache
from typing import TYPE_CHECKING, Any

from kvcalc.convert.beside import Lora, beside_of
from kvcalc.convert.seen import with_media
from kvcalc.deployment.capacity import Question, capacity
from kvcalc.deployment.needless import (
    LOCAL,
    changing_nothing,
    refuse_foreign,
    refuse_needless,
)
from kvcalc.deployment.said import said_of_table
from kvcalc.deployment.where import Where, device
from kvcalc.engines import SERVING, engine_of
from kvcalc.engines.flags import option_of
from kvcalc.engines.media import served_media
from kvcalc.engines.request import Available
from kvcalc.engines.result import CapacityResult
from kvcalc.errors import UsageError
from kvcalc.frozen import changed, frozen
from kvcalc.media.asked import MediaWords
from kvcalc.media.words import LargestItem
from kvcalc.memory.asked_beside import NOTHING
from kvcalc.memory.layout import Layout
from kvcalc.memory.workload import Asked
from kvcalc.spec.catalog import Found
from kvcalc.spec.words import first_said

if TYPE_CHECKING:
    from fractions import Fraction

    from kvcalc.engines.llama_cpp.files import LocalFiles
    from kvcalc.engines.llama_cpp.local import LocalFit

# What says where tensors lie: without it, that is to be found.
_PLACES = ("n_gpu_layers", "n_cpu_moe", "cpu_moe", "override_tensor", "tensor_split", "split_mode",
           "main_gpu", "kv_offload")  # fmt: skip


@frozen(kw_only=True)
class CapacityQuestion:
    """What was asked, whoever asked it.

    context_tokens: of the longest request, under no engine's own word. layout: without the ranks that
    ``where`` has. flags: of any engine, None where they were not said. draft: a model as ``locate`` takes
    it. The other fields are those of ``kvcalc.deployment.capacity.Question``.
    """

    where: Where
    engine: str = SERVING
    engine_version: str | None = None
    available: Available | None = None
    utilization: "Fraction | None" = None
    dtype: str | None = None
    model_dtype: str = "bf16"
    eager: bool = False
    context_tokens: int | None = None
    layout: Layout = Layout()
    flags: Mapping[str, Any]
    draft: Any = None
    lora: Lora = Lora()


def capacity_answer(
    model: Callable[[], Found], asked: CapacityQuestion
) -> "CapacityResult | LocalFit | LocalFiles":
    """What the engine allocates; for llama.cpp on a machine the whole table. model: reads it.

    Raises UsageError for options that make no sense together, NotFoundError for names that there are not
    and UnsupportedError for what the engine cannot run, or kvcalc cannot account for.
    """
    name, where = asked.engine, asked.where
    placed = name in LOCAL and _is_table(asked)
    _refuse_beside(asked, placed)
    if placed:
        refuse_needless(name, {
            "--available": asked.available, "--memory-utilization": asked.utilization,
            "--enforce-eager": asked.eager, "--dp": asked.layout.data > 1,
            "--expert-parallel": asked.layout.expert,
            "--model-dtype": asked.model_dtype != "bf16",
        })  # fmt: skip
        model = cache(model)
        table = _table(model, asked)
        said = changing_nothing(
            said_of_table(asked, model().spec), lambda less: _table(model, less), table
        )
        return table.noted(tuple(said))
    devices = {"--devices": where.unnamed or None, "--ram": where.ram, "--reserve": where.reserve}
    refuse_foreign(name, devices)
    found = model()
    gpu, layout = where.server(asked.layout)
    result = capacity(found.spec, Question(
        engine=name, engine_version=asked.engine_version, available=asked.available,
        device=device(gpu, where.memory), dtype=asked.dtype, eager=asked.eager,
        utilization=asked.utilization, model_dtype=asked.model_dtype, layout=layout,
        flags=_with_context(asked), draft=beside_of(asked.draft).draft,
        adapters=asked.lora.of(NOTHING, found.spec, name).adapters,
        largest_item=_largest_item(found, asked.flags),
    ))  # fmt: skip
    return changed(result, notes=(*found.assumptions, *result.notes), path=found.path)


def _is_table(asked: CapacityQuestion) -> bool:
    """Whether the whole memory table is asked for, not the caches alone."""
    where = asked.where
    machine = where.gpus or where.unnamed or where.ram is not None or where.reserve is not None
    places = any(asked.flags.get(name) is not None for name in _PLACES)
    return asked.engine != "llama.cpp" or places or bool(machine)


def _refuse_beside(asked: CapacityQuestion, placed: bool) -> None:
    """Refuse parts beside a model whose tensors are placed one by one. Raises UsageError."""
    if asked.engine not in LOCAL:
        return
    words = engine_of(asked.engine).words
    if asked.draft is not None and not placed:
        raise UsageError(f"--draft: {words} places it on a device: say which, --gpu NAME")
    if asked.lora.said is not None:
        raise UsageError(f"{asked.lora.said}: where {words} places it is not accounted for")


def _table(model: Callable[[], Found], asked: CapacityQuestion) -> "LocalFit | LocalFiles":
    """The table for these flags, as they are; cells in all are --ctx-size."""
    from kvcalc.deployment.local import LocalAsked, fit_locally, with_cache_types

    _check_devices(asked)
    machine, found, context = asked.where.machine(), model(), asked.context_tokens
    flags = dict(asked.flags)
    cells, kv_dtype = flags.pop("ctx_size", None), flags.pop("kv_dtype", None)
    if cells is not None and context is not None:
        raise UsageError("--context is one request's and --ctx-size all slots': give one of them")
    if cells is not None:
        context = max(1, cells // (flags.get("parallel") or 1))
    return fit_locally(found, LocalAsked(
        engine=asked.engine, version=asked.engine_version, machine=machine, dtype=asked.dtype,
        flags=with_cache_types(kv_dtype, flags), context_tokens=context, solving=False,
        draft=asked.draft,
    ))  # fmt: skip


def _check_devices(asked: CapacityQuestion) -> None:
    """Raise UsageError for what places tensors on devices, or keeps them off, where none is named."""
    where = asked.where
    placed = first_said(
        {option_of(name): asked.flags.get(name) for name in _PLACES} | {"--reserve": where.reserve}
    )
    named = where.gpus or where.memory or where.unnamed or where.ram is not None
    if placed is not None and not named:
        raise UsageError(
            f"{placed} is of devices: say which, --gpu NAME, --gpu-memory SIZE, or --ram SIZE for the CPU "
            "alone"
        )


def _with_context(asked: CapacityQuestion) -> Mapping[str, Any]:
    """``--context`` under the engine's own word for it."""
    if asked.context_tokens is None:
        return asked.flags
    own = engine_of(asked.engine).flags.__dataclass_fields__
    word = next((each for each in ("max_model_len", "ctx_size") if each in own), "max_model_len")
    if asked.flags.get(word) is not None:
        raise UsageError(f"--context and {option_of(word)} are the same here: give one of them")
    return {**asked.flags, word: asked.context_tokens}


def _largest_item(found: Found, flags: Mapping[str, Any]) -> LargestItem | None:
    """The largest item of each modality that the model's processors make."""
    if not found.spec.towers:
        return None
    put = MediaWords(processor=served_media(flags).processor)
    return with_media(Asked(put=put), found.spec, found.path)[0].largest_item

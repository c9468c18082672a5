"""Parameters and their bytes: total, active, by component, per device.

Definitions. total: what ``parameters()`` would list, towers included, tied tensors once, buffers not.
language_model: the same without towers and projectors (kvcalc/memory/towers.py).
active: parameters of the language model that one token passes: everything, with k of the E routed
experts; embedding and head included. active_without_embedding: the same without the tables that are
only looked up, which is what most publishers print (a tied table is also the head, and stays).

A matrix takes the number format of its component; vectors (norms, biases) and convolution kernels
stay in the default format, as quantised checkpoints keep them.
"""

from collections.abc import Iterable

from kvcalc.frozen import changed, frozen, remembered, remembers
from kvcalc.memory.census import uniform_bytes
from kvcalc.memory.inventory import ParamGroup, parameter_groups
from kvcalc.memory.ledger import COMPONENTS, Ledger, Row, Scheme, make_rows
from kvcalc.memory.schemes import Checkpoint, scheme_of, uniform
from kvcalc.memory.stages import pipeline_stages
from kvcalc.memory.towers import tower_groups
from kvcalc.mlx_types import mlx_recipe
from kvcalc.spec.layers import decoder_layers
from kvcalc.spec.model import ModelSpec
from kvcalc.tensors import Component, ParamTensor

# Tables that a token only looks up a row of.
_LOOKED_UP = (
    "embedding.weight", "embed_tokens_per_layer.weight", "ngram.ple_embedding.ngram_embedding.weight",
)  # fmt: skip


@frozen
class ParameterSummary:
    """Parameter counts of the whole model; ``buffers`` are counted apart."""

    total: int
    language_model: int
    active: int
    active_without_embedding: int
    by_component: dict[Component, int]
    buffers: int


def summarise(spec: ModelSpec) -> ParameterSummary:
    """Count every parameter of the language model and its towers once."""
    counted = _summarise(spec)
    # Who is given the dictionary may keep it and write into it.
    return changed(counted, by_component=dict(counted.by_component))


@remembered
def _summarise(spec: ModelSpec) -> ParameterSummary:
    by_component: dict[Component, int] = dict.fromkeys(COMPONENTS, 0)
    active = looked_up = buffers = 0
    # Layers have no table but for n-grams.
    tables = any(block.ngram is not None for block in spec.blocks.values())
    for group in parameter_groups(spec):
        counted = _count_layer(group.tensors) if group.layers else _count(group.tensors)
        counted.add(by_component, group.count)
        active += counted.active * group.count
        buffers += counted.buffers * group.count
        if not group.layers or tables:
            tensors = [t for t in group.tensors if _only_looked_up(spec, group, t)]
            looked_up += sum(tensor.numel for tensor in tensors) * group.count
    language_model = sum(by_component.values())
    for group in tower_groups(spec):
        counted = _count_layer(group.tensors)
        counted.add(by_component, group.count)
        buffers += counted.buffers * group.count
    total = sum(by_component.values())
    return ParameterSummary(
        total, language_model, active, active - looked_up, by_component, buffers
    )


@frozen
class _Counted:
    """Parameters of some tensors by component, those that a token passes, and buffers."""

    by_component: dict[Component, int]
    active: int
    buffers: int

    def add(self, totals: dict[Component, int], times: int) -> None:
        for component, count in self.by_component.items():
            totals[component] += count * times


@remembers(1024)
def _count_layer(tensors: tuple[ParamTensor, ...]) -> _Counted:
    """Remembered, as a block's tensors are: models of one family are made from the same blocks."""
    return _count(tensors)


def _count(tensors: tuple[ParamTensor, ...]) -> _Counted:
    by_component: dict[Component, int] = {}
    active = buffers = 0
    for tensor in tensors:
        if tensor.buffer:
            buffers += tensor.numel
            continue
        had = by_component.get(tensor.component, 0)
        by_component[tensor.component] = had + tensor.numel
        active += tensor.active_numel
    return _Counted(by_component, active, buffers)


def count_parameters(groups: Iterable[ParamGroup]) -> int:
    """Parameters of some groups, buffers not."""
    return sum(
        tensor.numel * group.count
        for group in groups
        for tensor in group.tensors
        if not tensor.buffer
    )


def _only_looked_up(spec: ModelSpec, group: ParamGroup, tensor: ParamTensor) -> bool:
    if tensor.buffer or tensor.name not in _LOOKED_UP:
        return False
    return not (_tied(spec) and tensor.name == "embedding.weight" and not group.prefix)


def _tied(spec: ModelSpec) -> bool:
    """Whether the head uses the token table; a masked-language head does unless it has its own."""
    return spec.tie_word_embeddings or (spec.head == "mlm" and spec.tie_word_embeddings is None)


def ledger(spec: ModelSpec, dtype: str) -> Ledger:
    """The weights of the whole model with their formats, made once for each spec and dtype.

    Raises UsageError for an unknown dtype and UnsupportedError naming a tensor that it cannot hold.
    """
    made = _ledgers(spec)
    if dtype not in made:
        scheme = scheme_of(spec, dtype)
        rows = tuple(make_rows((*parameter_groups(spec), *scheme.extras), scheme))
        rows += tower_rows(spec, dtype, scheme)
        if isinstance(scheme, Checkpoint):
            scheme.finish()
        table = rows[0] if _tied(spec) else None
        made[dtype] = Ledger(dtype, rows, table)
    return made[dtype]


@remembered
def _ledgers(spec: ModelSpec) -> dict[str, Ledger]:
    return {}


def tower_rows(spec: ModelSpec, dtype: str, scheme: Scheme) -> tuple[Row, ...]:
    """The towers' weights, a projector file's with a GGUF type; none where mlx-lm drops them."""
    if mlx_recipe(dtype) is not None:
        return ()
    return tuple(make_rows(tower_groups(spec), scheme))


def weight_bytes(spec: ModelSpec, dtype: str) -> tuple[int, dict[Component, int]]:
    """Bytes of all weights on one device, and by component."""
    by_component = rank_bytes(spec, dtype, 1)
    return sum(by_component.values()), by_component


def rank_bytes(spec: ModelSpec, dtype: str, ranks: int) -> dict[Component, int]:
    """Bytes of weights on one of ``ranks`` tensor ranks that hold every layer, by component.

    Raises UsageError for an unknown dtype and UnsupportedError naming a tensor that it cannot hold or
    the ranks do not divide.
    """
    made = _on_ranks(spec)
    found = made.get((dtype, ranks))
    if found is None:
        scheme = uniform(dtype)
        found = made[dtype, ranks] = (
            ledger(spec, dtype).on_rank(ranks)
            if scheme is None
            else uniform_bytes(spec, scheme, ranks)
        )
    return dict(found)


@remembered
def _on_ranks(spec: ModelSpec) -> dict[tuple[str, int], dict[Component, int]]:
    """What was asked for so far."""
    return {}


def device_weight_bytes(spec: ModelSpec, dtype: str, tensor: int, pipeline: int) -> list[int]:
    """Bytes of weights on each device, pipeline rank by pipeline rank, tensor ranks within it.

    See ``Ledger.stage_bytes`` for what stands where.
    """
    if pipeline == 1:
        return [sum(rank_bytes(spec, dtype, tensor).values())] * tensor
    layers = decoder_layers(spec)
    stages = pipeline_stages(len(layers), pipeline)
    totals = ledger(spec, dtype).stage_bytes(tensor, layers, stages)
    return [total for total in totals for _ in range(tensor)]

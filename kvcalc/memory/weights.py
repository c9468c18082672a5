"""Parameters and their bytes: total, active, by component, per device.

Definitions. total: what ``parameters()`` would list, tied tensors once, buffers not.
active: parameters that one token passes: everything, with k of the E routed experts; embedding and
head included. active_without_embedding: the same without the tables that are only looked up, which
is what most publishers print (a tied table is also the head, and stays).

A matrix takes the number format of its component; vectors (norms, biases) and convolution kernels
stay in the default format, as quantised checkpoints keep them.
"""

from collections.abc import Iterable, Mapping
from typing import get_args

from kvcalc.dtypes import Format, weight_format
from kvcalc.errors import UnsupportedError, UsageError
from kvcalc.frozen import frozen
from kvcalc.memory.inventory import ParamGroup, parameter_groups
from kvcalc.memory.stages import pipeline_stages
from kvcalc.spec.layers import Layer, decoder_layers
from kvcalc.spec.model import ModelSpec
from kvcalc.spec.stored import StoredWeights
from kvcalc.tensors import Component, ParamTensor

COMPONENTS: tuple[Component, ...] = get_args(Component)
# Tables that a token only looks up a row of.
_LOOKED_UP = ("embedding.weight", "embed_tokens_per_layer.weight")
# What the model owns once and uses after its last layer.
_AFTER_LAYERS = ("altup_unembed_projections", "hc_head")

# The components whose matrices a narrow --dtype applies to.
QUANTISED: tuple[Component, ...] = ("attention", "recurrent", "ffn", "experts")
# Vectors aside, what quantised checkpoints keep in the default format: convolution kernels, stacked
# biases, and the indexer's head weights (DeepSeek-V3.2's weight map).
_NEVER_QUANTISED = ("conv", "norm", "bias", "weights_proj")


@frozen
class ParameterSummary:
    """Parameter counts of the trunk; ``buffers`` are counted apart."""

    total: int
    active: int
    active_without_embedding: int
    by_component: dict[Component, int]
    buffers: int


def summarise(spec: ModelSpec) -> ParameterSummary:
    """Count every parameter of the trunk once."""
    by_component: dict[Component, int] = dict.fromkeys(COMPONENTS, 0)
    active = looked_up = buffers = 0
    for group in parameter_groups(spec):
        for tensor in group.tensors:
            if tensor.buffer:
                buffers += tensor.numel * group.count
                continue
            by_component[tensor.component] += tensor.numel * group.count
            active += tensor.active_numel * group.count
            if _only_looked_up(spec, group, tensor):
                looked_up += tensor.numel
    total = sum(by_component.values())
    return ParameterSummary(total, active, active - looked_up, by_component, buffers)


def count_parameters(groups: Iterable[ParamGroup]) -> int:
    """Parameters of some groups, buffers not."""
    return sum(
        tensor.numel * group.count
        for group in groups
        for tensor in group.tensors
        if not tensor.buffer
    )


def _only_looked_up(spec: ModelSpec, group: ParamGroup, tensor: ParamTensor) -> bool:
    if group.layers or tensor.name not in _LOOKED_UP:
        return False
    return not (_tied(spec) and tensor.name == "embedding.weight" and not group.prefix)


def _tied(spec: ModelSpec) -> bool:
    """Whether the head uses the token table; a masked-language head does unless it has its own."""
    return spec.tie_word_embeddings or (spec.head == "mlm" and spec.tie_word_embeddings is None)


@frozen
class WeightFormats:
    """The number format of each component's matrices."""

    default: Format
    by_component: Mapping[str, Format]

    @classmethod
    def choose(cls, spec: ModelSpec, dtype: str) -> "WeightFormats":
        """One format for all, or ``checkpoint``: what the spec says its checkpoint mixes."""
        if dtype == "checkpoint":
            formats = {str(part): weight_format(name) for part, name in spec.weight_dtypes.items()}
            return cls(formats.pop("default", weight_format("bf16")), formats)
        try:
            chosen = weight_format(dtype)
        except ValueError as error:
            raise UsageError(f"dtype {error}") from None
        if chosen.name in ("fp32", "bf16", "fp16"):
            return cls(chosen, {})
        # A quantised checkpoint quantises the layers' matrices; tables, head and vectors stay in bf16.
        return cls(weight_format("bf16"), dict.fromkeys(QUANTISED, chosen))

    def bytes(self, tensor: ParamTensor, shape: tuple[int, ...] | None = None) -> int:
        """Bytes of a tensor, or of a rank's share of it."""
        shape = tensor.shape if shape is None else shape
        matrix = len(shape) >= 2 and not any(word in tensor.name for word in _NEVER_QUANTISED)
        chosen = self.by_component.get(tensor.component, self.default) if matrix else self.default
        try:
            return chosen.tensor(shape)
        except ValueError as error:
            raise UnsupportedError(f"{tensor.name} {list(shape)}: {error}") from None


def weight_bytes(spec: ModelSpec, dtype: str) -> tuple[int, dict[Component, int]]:
    """Bytes of all weights on one device, and by component. Buffers are not in it."""
    formats = WeightFormats.choose(spec, dtype)
    by_component: dict[Component, int] = dict.fromkeys(COMPONENTS, 0)
    for group in parameter_groups(spec):
        for tensor in group.tensors:
            if not tensor.buffer:
                by_component[tensor.component] += formats.bytes(tensor) * group.count
    return sum(by_component.values()), by_component


def device_weight_bytes(spec: ModelSpec, dtype: str, tensor: int, pipeline: int) -> list[int]:
    """Bytes of weights on each device, pipeline rank by pipeline rank, tensor ranks within it.

    The first stage holds the embedding, the last the head; a tied table stands on both. An
    encoder stands on the first stage. Shared weights stand on every stage that uses them, what
    stands once beside the layers on the stage that begins or ends with it.
    """
    formats = WeightFormats.choose(spec, dtype)
    layers = decoder_layers(spec)
    stages = pipeline_stages(len(layers), pipeline)
    totals = [0] * pipeline
    groups = parameter_groups(spec)
    for group in groups:
        num_bytes = sum(
            formats.bytes(item, _rank_shape(item, tensor))
            for item in group.tensors
            if not item.buffer
        )
        if group.prefix.startswith("layers."):
            owners = set(group.layers)
            for rank, stage in enumerate(stages):
                used = {layers[index].weights for index in stage} | set(stage)
                totals[rank] += num_bytes * len(owners & used)
        elif group.prefix.startswith("encoder."):
            totals[0] += num_bytes * group.count
        elif group is groups[0]:
            totals[0] += num_bytes
        elif group is groups[-1]:
            for item in group.tensors:
                place = _place(item.name, layers)
                rank = next(rank for rank, stage in enumerate(stages) if place in stage)
                totals[rank] += formats.bytes(item, _rank_shape(item, tensor))
        else:
            totals[-1] += num_bytes
    if pipeline > 1 and _tied(spec):
        table = groups[0].tensors[0]
        totals[-1] += formats.bytes(table, _rank_shape(table, tensor))
    return [total for total in totals for _ in range(tensor)]


def _place(name: str, layers: tuple[Layer, ...]) -> int:
    """The layer beside which the model's own tensor (not a table, head or layer's) is used."""
    part, _, rest = name.partition(".")
    if part in _AFTER_LAYERS:
        return layers[-1].index
    if part == "recursion_router":
        turn = int(rest.partition(".")[0])
        return next(layer.index for layer in layers if layer.recursion == turn)
    return 0


# Files' names of formats that are one number per element.
_PLAIN = {"f32": "fp32", "f16": "fp16", "bf16": "bf16"}


def stored_device_bytes(
    spec: ModelSpec, stored: StoredWeights, tensor: int, pipeline: int
) -> list[int]:
    """Bytes of a file's weights on each device.

    Raises UnsupportedError where the file mixes formats and there is more than one device: how its
    blocks and scales are dealt out is the engine's affair.
    """
    if tensor * pipeline == 1:
        return [stored.bytes]
    format = _PLAIN.get(next(iter(stored.by_dtype), "").lower(), "")
    if len(stored.by_dtype) == 1 and format and weight_bytes(spec, format)[0] == stored.bytes:
        return device_weight_bytes(spec, format, tensor, pipeline)
    raise UnsupportedError(
        f"{stored.path} stores {', '.join(stored.by_dtype)}, and how that is divided among "
        f"{tensor * pipeline} devices is not accounted for: say --dtype for weights of one format"
    )


def _rank_shape(tensor: ParamTensor, ranks: int) -> tuple[int, ...]:
    try:
        return tensor.per_rank(ranks)
    except ValueError as error:
        raise UnsupportedError(
            f"tensor parallelism over {ranks} ranks: {tensor.name} {list(tensor.shape)}: {error}"
        ) from None

"""One tensor-parallel rank of a model: its fields divided, its weights cut, its sums completed.

A rank's modules are the reference modules made from divided fields: H / N query heads, G / N or one
KV head, f / N inner channels. Its weights are the whole model's, cut as ``ParamTensor.shard`` says.
Nothing checks the one against the other beforehand: a wrong cut does not fit the module, or the
model's output is wrong.

Where a weight is cut along its input axis the ranks' outputs are summed; a table cut along its rows
is looked up by the rank that has the row; logits are gathered; a norm over divided channels takes
its mean over all ranks.
"""

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from kvcalc.attention.nsa import NativeSparseAttention
from kvcalc.counts import Kind, counts
from kvcalc.errors import UnsupportedError
from kvcalc.frozen import frozen
from kvcalc.memory.inventory import parameter_groups
from kvcalc.spec.model import Block, ModelSpec
from kvcalc.tensors import CacheTensor, ParamTensor, Part
from kvcalc.verify.attention.moa import Experts as HeadExperts
from kvcalc.verify.ffn.moe import Experts
from kvcalc.verify.model import Head, ReferenceModel
from kvcalc.verify.parts import Embedding, Linear, Module, Norm, up
from kvcalc.verify.places import inventory, label, place_of

# Kinds whose reference modules do not divide, and why. A kind that is not here is tried.
UNDIVIDED = {
    "gla": "a rank holds the up-projections of its own latents whole, where the list has an even "
    "share of every one: as many bytes of other tensors",
}
STACK = ("altup", "laurel", "per_layer_embeddings", "recursion", "pooler")


@frozen
class Ranks:
    """One rank among several, and what they do together."""

    rank: int
    size: int
    add: Callable[[Tensor], Tensor]
    gather: Callable[[Tensor], list[Tensor]]


def refuse(spec: ModelSpec, ranks: int) -> None:
    """Raise UnsupportedError that names what is not divided here."""
    for name in STACK:
        if getattr(spec, name):
            raise UnsupportedError(
                f"tensor parallelism: {spec.name} has {name}, which is not sharded"
            )
    if spec.head == "mlm":
        raise UnsupportedError(
            f"tensor parallelism: {spec.name} has an mlm head, which is not sharded"
        )
    for name, block in spec.blocks.items():
        if block.adapter is not None:
            raise UnsupportedError(f"tensor parallelism: block {name} has an adapter, not sharded")
        for part in block.mechanisms():
            if part.kind in UNDIVIDED:
                raise UnsupportedError(
                    f"tensor parallelism: {part.kind} (block {name}) is not sharded here: "
                    f"{UNDIVIDED[part.kind]}"
                )
            if isinstance(part, NativeSparseAttention) and ranks > part.num_key_value_heads:
                raise UnsupportedError(
                    f"tensor parallelism over {ranks} ranks: nsa (block {name}) chooses blocks for "
                    f"all queries of a KV head together, and it has {part.num_key_value_heads}"
                )
    for where, tensor in _tensors(spec):
        try:
            tensor.per_rank(ranks)
        except ValueError as error:
            raise UnsupportedError(
                f"tensor parallelism over {ranks} ranks: {where} {list(tensor.shape)}: {error}"
            ) from None


def _tensors(spec: ModelSpec) -> Iterator[tuple[str, ParamTensor | CacheTensor]]:
    """Every weight and every cached tensor, with its name."""
    for group in parameter_groups(spec):
        for weight in group.tensors:
            yield group.prefix + weight.name, weight
    for layers, kept in inventory(spec):
        yield label(place_of(layers, layers.layers[0]), kept.name), kept


def of_rank(spec: ModelSpec, ranks: int) -> ModelSpec:
    """The spec that one rank's modules are made from."""
    return replace(
        spec,
        vocab_size=-(-spec.vocab_size // ranks),
        blocks={name: _block(block, ranks) for name, block in spec.blocks.items()},
        expect=None, budgets=(), mtp=None,
    )  # fmt: skip


def _block(block: Block, ranks: int) -> Block:
    changes: dict[str, Any] = {slot: _mechanism(part, ranks) for slot, part in block.slots.items()}
    return replace(block, **changes)


def divided(part: Any) -> dict[str, Kind]:
    """The numbers of a mechanism that ranks divide; of KV heads each rank has one at least."""
    kinds = {name: count.kind for name, count in counts(type(part)).items()}
    return {name: kind for name, kind in kinds.items() if kind in ("heads", "inner", "kv_heads")}


def _mechanism(part: Any, ranks: int) -> Any:
    new = {}
    for name, kind in divided(part).items():
        size = getattr(part, name)
        if size is None:
            continue
        if size % ranks and not (kind == "kv_heads" and ranks % size == 0):
            raise UnsupportedError(
                f"tensor parallelism over {ranks} ranks: {name} {size} of {part.kind} does not divide"
            )
        new[name] = max(1, size // ranks)
    return replace(part, **new)


# ---------------------------------------------------------------- weights


def cut(tensor: ParamTensor, whole: Tensor, rank: int, ranks: int) -> Tensor:
    """A rank's share of a weight, in storage of its own; rows beyond the table's end are zeros."""
    if tensor.shard is None:
        return whole.clone()
    axis, begin, pieces = tensor.shard.axis % whole.dim(), 0, []
    for part in tensor.shard.parts:
        start, size = _stretch(part, rank, ranks)
        inside = max(0, min(size, part.size - start))
        piece = whole.narrow(axis, begin + min(start, part.size), inside)
        if inside < size:
            shape = (*whole.shape[:axis], size - inside, *whole.shape[axis + 1 :])
            piece = torch.cat((piece, whole.new_zeros(shape)), axis)
        pieces.append(piece)
        begin += part.size
    return torch.cat(pieces, axis).contiguous().clone()


def _stretch(part: Part, rank: int, ranks: int) -> tuple[int, int]:
    """Where a rank's share of a part begins, and its size."""
    size = part.per_rank(ranks)
    if part.units % ranks and part.replicate:
        return rank * part.units // ranks * size, size
    return rank * size, size


def load(
    model: ReferenceModel, whole: dict[str, Tensor], spec: ModelSpec, ranks: Ranks
) -> list[str]:
    """Give a rank's model its share of the weights; return what does not fit, by name."""
    own = dict(model.named_parameters()) | dict(model.named_buffers())
    problems = []
    for group in parameter_groups(spec):
        for layer in group.layers or (None,):
            prefix = group.prefix if layer is None else group.prefix.format(layer)
            for tensor in group.tensors:
                name = prefix + tensor.name
                share = cut(tensor, whole[name], ranks.rank, ranks.size)
                if own[name].shape != share.shape:
                    problems.append(
                        f"rank {ranks.rank}: {name}: the shard is {list(share.shape)}, "
                        f"the rank's module has {list(own[name].shape)}"
                    )
                    continue
                own[name].data = share
    return problems


# ---------------------------------------------------------------- what ranks do together


def connect(model: ReferenceModel, spec: ModelSpec, ranks: Ranks) -> None:
    """Make the modules whose weights are cut complete each other's results."""
    modules = dict(model.named_modules())
    for group in parameter_groups(spec):
        for layer in group.layers or (None,):
            prefix = group.prefix if layer is None else group.prefix.format(layer)
            for tensor in group.tensors:
                path, _, name = (prefix + tensor.name).rpartition(".")
                if tensor.shard is None or path not in modules:
                    continue
                module, axis = modules[path], tensor.shard.axis % len(tensor.shape)
                if isinstance(module, Linear) and name == "weight" and axis == 1:
                    _instead(module, _summed(module, ranks))
                elif isinstance(module, Embedding) and axis == 0:
                    _instead(module, _looked_up(module, ranks))
                elif isinstance(module, Norm) and name == "weight":
                    _instead(module, _normed(module, ranks))
    for module in modules.values():
        if isinstance(module, Module):
            module.rank, module.num_ranks = ranks.rank, ranks.size
        if isinstance(module, (Experts, HeadExperts)):
            setattr(module, "total", ranks.add)  # noqa: B010
        elif isinstance(module, Head):
            _instead(module, _gathered(module, ranks, spec.vocab_size))


def _instead(module: nn.Module, forward: Callable[..., Tensor]) -> None:
    """This instance computes ``forward``."""
    setattr(module, "forward", forward)  # noqa: B010


def _summed(module: Linear, ranks: Ranks) -> Callable[[Tensor], Tensor]:
    def forward(x: Tensor) -> Tensor:
        y = ranks.add(F.linear(x, module.weight))
        return y if module.bias is None else y + module.bias

    return forward


def _looked_up(module: Embedding, ranks: Ranks) -> Callable[[Tensor], Tensor]:
    def forward(index: Tensor) -> Tensor:
        rows = module.weight.shape[0]
        own = index - ranks.rank * rows
        here = (own >= 0) & (own < rows)
        y = F.embedding(own.clamp(0, rows - 1), module.weight)
        return ranks.add(y.masked_fill(~here[..., None], 0.0))

    return forward


def _normed(module: Norm, ranks: Ranks) -> Callable[[Tensor], Tensor]:
    def mean(x: Tensor) -> Tensor:
        return ranks.add(x.mean(-1, keepdim=True)) / ranks.size

    def forward(x: Tensor) -> Tensor:
        y = up(x)
        if module.kind != "rmsnorm":
            y = y - mean(y)
        y = (y * torch.rsqrt(mean(y.square()) + 1e-6)).to(x.dtype) * module.weight
        return y + module.bias if module.kind == "layernorm" else y

    return forward


def _gathered(module: Head, ranks: Ranks, vocab_size: int) -> Callable[..., Tensor]:
    def forward(x: Tensor, table: Tensor) -> Tensor:
        logits = Head.forward(module, x, table)
        return torch.cat(ranks.gather(logits), -1)[..., :vocab_size]

    return forward

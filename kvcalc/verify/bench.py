"""A model, or one layer of it, on a device with inputs of true size, ready to run.

Layers beside the one under test stay on the meta device: no weight of theirs is ever made.
"""

from collections.abc import Iterator
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from kvcalc.frozen import frozen
from kvcalc.spec.model import ModelSpec
from kvcalc.verify.build import on_meta
from kvcalc.verify.ffn.moe import Experts, Router
from kvcalc.verify.layer import Layer
from kvcalc.verify.model import ModelCache, ReferenceModel, source_shape
from kvcalc.verify.parts import KeyValue, Norm, Step
from kvcalc.verify.stack import hyper_connections


@frozen
class Size:
    """What is run: ``tokens`` positions of each of ``batch`` sequences, the last one decoded."""

    tokens: int
    batch: int
    encoder_tokens: int
    backend: str


@frozen
class Trial:
    """The whole model, or one layer with those whose keys and values it reads before it.

    layers: what is under test, in order. count: how many layers of the model are of its kind.
    """

    name: str
    layers: tuple[int, ...]
    count: int
    whole: bool = False


class Bench:
    """A trial on a device: its inputs, and the passes over them."""

    def __init__(self, spec: ModelSpec, trial: Trial, size: Size, device: torch.device) -> None:
        self.spec, self.trial, self.size, self.device = spec, trial, size, device
        self.model = on_meta(spec)
        materialise(self.model, trial, device)
        batch, tokens, d = size.batch, size.tokens, spec.hidden_size
        self.ids = torch.zeros((batch, tokens), dtype=torch.int64, device=device)
        self.source = self._source()
        self.x: Tensor | None = None
        self.p: Tensor | None = None
        if not trial.whole:
            self.x = self._numbers(batch, tokens, d)
            if spec.per_layer_embeddings is not None:
                width = spec.per_layer_embeddings.hidden_size_per_layer_input
                self.p = self._numbers(batch, tokens, width)

    def _numbers(self, *shape: int) -> Tensor:
        return torch.empty(shape, dtype=torch.bfloat16, device=self.device).normal_()

    def _source(self) -> Tensor | None:
        """The encoder's input for a whole model, its output for a layer."""
        encoder, batch, tokens = self.spec.encoder, self.size.batch, self.size.encoder_tokens
        if encoder is None:
            return None
        if not self.trial.whole:
            return self._numbers(batch, tokens, encoder.hidden_size or self.spec.hidden_size)
        shape = source_shape(self.spec, batch, tokens)
        if len(shape) == 2:
            return torch.zeros(shape, dtype=torch.int64, device=self.device)
        return self._numbers(*shape)

    def tensors(self) -> Iterator[Tensor]:
        """Weights and inputs: everything that is there before the first pass."""
        for part in parts_of(self.model, self.trial):
            yield from (*part.parameters(), *part.buffers())
        yield from (t for t in (self.ids, self.source, self.x, self.p) if t is not None)

    def run(self, cache: ModelCache, start: int, end: int) -> None:
        """One pass over tokens ``start`` to ``end``; its result is dropped."""
        source = self.source if start == 0 else None
        ids = self.ids[:, start:end]
        if self.trial.whole:
            self.model(ids, cache, source)
            return
        assert self.x is not None
        spec, x = self.spec, self.x[:, start:end]
        order = torch.arange(start, end, device=self.device)
        relative = None
        if spec.relative_attention_num_buckets is not None:
            relative = self.model.relative_attention_bias
        step = Step(order, order, start, ids, x, source, relative)
        if spec.hyper_connections is not None:
            x = hyper_connections.widen(x, spec.hyper_connections)
        if spec.altup is not None:
            x = torch.stack([x] * spec.altup.altup_num_inputs)
        p = self.p[:, start:end] if self.p is not None else None
        latest: KeyValue | None = None
        for index in self.trial.layers:
            shares = getattr(spec.blocks[self.model.names[index]].attention, "shared_kv", None)
            own = step.of(source=latest if shares else None)
            states = cache.of_layer(index)
            x = self.model.layers[index](x, states, own, p)
            latest = own.made
            cache.keep(index, states)
        cache.seen = end


def causal(spec: ModelSpec) -> bool:
    """Whether anything is decoded: not in an encoder."""
    return any(
        block.recurrent is not None or getattr(block.attention, "mask", "causal") != "bidirectional"
        for block in spec.blocks.values()
    )


def parts_of(model: ReferenceModel, trial: Trial) -> list[nn.Module]:
    """The modules that a trial needs."""
    if trial.whole:
        return [model]
    parts: list[nn.Module] = []
    for index in trial.layers:
        layer = model.layers[index]
        assert isinstance(layer, Layer)
        parts += [*layer.lender, layer]
    if model.spec.relative_attention_num_buckets is not None:
        parts.append(model.relative_attention_bias)
    return parts


def materialise(model: ReferenceModel, trial: Trial, device: torch.device) -> None:
    """Weights of the modules under test, and of no other."""
    parts = parts_of(model, trial)
    for part in parts:
        for module in part.modules():
            if isinstance(module, Experts):
                # Looking up k matrices for each token would take more memory than the device has.
                setattr(module, "forward", partial(grouped, module))  # noqa: B010
    if device.type == "meta":
        return
    with torch.no_grad():
        for part in parts:
            if any(tensor.is_meta for tensor in (*part.parameters(), *part.buffers())):
                part.to_empty(device=device)
            for module in part.modules():
                for tensor in (*module.parameters(False), *module.buffers(False)):
                    if not tensor.is_floating_point():
                        tensor.random_(0, module.c.num_experts if isinstance(module, Router) else 1)
                    elif isinstance(module, Norm) or tensor.dim() < 2:
                        tensor.fill_(1.0 if isinstance(module, Norm) else 0.1)
                    else:
                        tensor.normal_(0.0, tensor.shape[-1] ** -0.5)


def grouped(experts: Experts, x: Tensor, chosen: Tensor) -> Tensor:
    """Routed experts with tokens sorted by expert, as engines compute them: (N, w) -> (N, k, w)."""
    c, (count, k) = experts.c, chosen.shape
    gated = c.expert == "gated"
    flat = chosen.clamp(max=c.num_experts - 1).flatten()  # (N k)
    order = flat.argsort()
    if x.device.type == "meta":
        share, rest = divmod(count * k, c.num_experts)
        sizes = [share + (index < rest) for index in range(c.num_experts)]
    else:
        sizes = torch.bincount(flat, minlength=c.num_experts).tolist()
    inner = _each(x[order // k], experts.gate_up_proj if gated else experts.up_proj, sizes)
    if c.expert_bias:
        bias = experts.gate_up_proj_bias if gated else experts.up_proj_bias
        inner = inner + bias[flat[order]]
    if gated:
        gate, value = inner.chunk(2, -1)
        inner = F.silu(gate) * value
    else:
        inner = F.relu(inner).square()
    y = _each(inner, experts.down_proj, sizes)
    if c.expert_bias:
        y = y + experts.down_proj_bias[flat[order]]
    y = y[order.argsort()].view(count, k, -1)
    if c.num_zero_experts is not None:
        y = torch.where((chosen >= c.num_experts)[..., None], x[:, None], y)
    return y


def _each(rows: Tensor, weights: Tensor, sizes: list[int]) -> Tensor:
    """Each stretch of rows times its expert's matrix."""
    y = rows.new_empty((rows.shape[0], weights.shape[1]))
    start = 0
    for expert, size in enumerate(sizes):
        if size:
            torch.mm(rows[start : start + size], weights[expert].t(), out=y[start : start + size])
        start += size
    return y

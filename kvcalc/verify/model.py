"""A whole model from a spec: embeddings, the stack of layers, the head.

The stack is laid out here from the spec's fields, apart from kvcalc/spec/layers.py, so that a fault
there shows. Weights used twice are one module in two places, which ``named_parameters()`` lists
under the first. Multi-token-prediction layers are left out.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from kvcalc.errors import UnsupportedError
from kvcalc.spec.model import Block, LayerGroup, ModelSpec
from kvcalc.verify.parts import Embedding, KeyValue, Linear, Module, Norm, State, Step, weight
from kvcalc.verify.stack import altup, hyper_connections, per_layer_embeddings, recursion
from kvcalc.verify.stack.laurel import Laurel
from kvcalc.verify.stack.shared_adapter import SharedAdapter

# (stack, layer, slot): whose cache a State is.
Place = tuple[str, int, str]


@dataclass
class ModelCache:
    """What a model keeps between decode steps.

    states: a plain dict of tensors per layer and mechanism, written by the mechanism.
    seen, prompt, given: token counts, of the model, of the first pass and of single layers.
    """

    states: dict[Place, State] = field(default_factory=dict)
    seen: int = 0
    prompt: int = 0
    given: dict[int, int] = field(default_factory=dict)

    def tensors(self) -> Iterator[tuple[Place, str, Tensor]]:
        """Every tensor that is kept, with its place and its name."""
        for place, state in self.states.items():
            for name, tensor in state.items():
                yield place, name, tensor


def build(fields: Any, *sizes: int) -> Module:
    """The reference module of a mechanism: the class of its name in the module of its name."""
    cls = type(fields)
    module = import_module(cls.__module__.replace("kvcalc.", "kvcalc.verify.", 1))
    made: Module = getattr(module, cls.__name__)(fields, *sizes)
    return made


class Layer(Module):
    """One layer: a mixer, cross-attention, a feed-forward layer, their norms, what surrounds them.

    owner: the layer whose weights this one uses; adapters are always its own.
    """

    def __init__(
        self, spec: ModelSpec, block: Block, hidden_size: int, encoder_size: int,
        decoder: bool, owner: "Layer | None" = None,
    ) -> None:  # fmt: skip
        super().__init__()
        self.block, d = block, hidden_size
        self.attention: Module | None = None
        self.recurrent: Module | None = None
        self.cross_attention: Module | None = None
        self.ffn: Module | None = None
        self.per_layer: per_layer_embeddings.PerLayerInput | None = None
        self.altup: altup.AltUp | None = None
        self.laurel: Laurel | None = None
        self.adapter: SharedAdapter | None = None
        self.attn_hc: hyper_connections.HyperConnection | None = None
        self.ffn_hc: hyper_connections.HyperConnection | None = None
        # In a list, so that the owner's weights are not listed here as well.
        self.lender = [owner] if owner is not None else []
        if owner is None:
            self._own(spec, block, d, encoder_size, decoder)
        else:
            for name in ("attention", "recurrent", "cross_attention", "ffn", "norms", "altup",
                         "laurel", "attn_hc", "ffn_hc", "per_layer"):  # fmt: skip
                setattr(self, name, getattr(owner, name))
        if block.adapter is not None:
            self.adapter = SharedAdapter(block.adapter, d)
        self._list_per_layer()
        self._place_norms()

    def _list_per_layer(self) -> None:
        """Register the per-layer embedding's weights under the layer's own name."""
        if self.per_layer is not None:
            for name, part in self.per_layer.parts().items():
                self.add_module(name, part)

    def _own(self, spec: ModelSpec, block: Block, d: int, encoder_size: int, decoder: bool) -> None:
        if block.attention is not None:
            self.attention = build(block.attention, d)
        if block.recurrent is not None:
            self.recurrent = build(block.recurrent, d)
        if block.cross_attention is not None:
            self.cross_attention = build(block.cross_attention, d, encoder_size)
        if block.ffn is not None:
            self.ffn = build(block.ffn, d)
        self.norms = nn.ModuleList(Norm(d, spec.norm) for _ in range(self._num_norms(block)))
        if block.layer_scalar:
            self.register_buffer("layer_scalar", torch.empty(1))
        if not decoder:
            return
        if spec.hyper_connections is not None:
            self.attn_hc = hyper_connections.HyperConnection(spec.hyper_connections, d)
            self.ffn_hc = hyper_connections.HyperConnection(spec.hyper_connections, d)
        if spec.altup is not None:
            self.altup = altup.AltUp(spec.altup, d)
        if spec.laurel is not None:
            self.laurel = Laurel(spec.laurel, d)
        if spec.per_layer_embeddings is not None:
            self.per_layer = per_layer_embeddings.PerLayerInput(spec.per_layer_embeddings, d)

    @staticmethod
    def _num_norms(block: Block) -> int:
        if block.norms is not None:
            return block.norms
        mixer = block.attention is not None or block.recurrent is not None
        return mixer + (block.cross_attention is not None) + (block.ffn is not None)

    def _place_norms(self) -> None:
        """Deal the block's norms out to its sublayers; what is left over follows the last one."""
        names = [
            name
            for name, there in (
                ("mixer", self.attention is not None or self.recurrent is not None),
                ("cross", self.cross_attention is not None),
                ("ffn", self.ffn is not None),
            )
            if there
        ]
        position = self.block.norm_position
        if position is None:
            position = "both" if len(self.norms) >= 2 * len(names) else "pre"
        self.doubled = getattr(self.block.attention, "attention_hidden_size", None) is not None
        wanted = []
        for name in names:
            if position in ("pre", "both"):
                wanted.append(f"pre_{name}")
                if name == "mixer" and self.doubled and len(self.norms) > len(names):
                    wanted.append("pre_embedded")
            if position in ("post", "both"):
                wanted.append(f"post_{name}")
        self.parallel = len(self.norms) == 1 and names == ["mixer", "ffn"]
        if self.parallel:
            wanted = ["pre_mixer"]
        self.norm_at: dict[str, list[int]] = {}
        for index in range(len(self.norms)):
            place = wanted[index] if index < len(wanted) else f"post_{names[-1]}"
            self.norm_at.setdefault(place, []).append(index)

    def _norm(self, place: str, x: Tensor) -> Tensor:
        for index in self.norm_at.get(place, ()):
            x = self.norms[index](x)
        return x

    def forward(
        self, x: Tensor, states: dict[str, State] | None, step: Step, p: Tensor | None = None
    ) -> Tensor:
        """x: (B, T, d), or streams (B, T, n, d) with hyper-connections, (n, B, T, d) with AltUp.

        p: (B, T, d_p), this layer's embedding of the tokens.
        """
        if self.attn_hc is not None and self.ffn_hc is not None:
            if self.attention is not None or self.recurrent is not None:
                x = self.attn_hc(x, lambda h: self._mixer(h, states, step))
            if self.ffn is not None:
                x = self.ffn_hc(x, lambda h: self._ffn(h, states, step))
        elif self.altup is not None:
            predicted = self.altup.predict(x)
            y = self._body(predicted[self.altup.active], states, step)
            x = self.altup.correct(predicted, y)
            if self.per_layer is not None and p is not None:
                more = self.per_layer.added(self.altup.scaled(x), p)
                x = torch.cat((x[:1], x[1:] + more))
        else:
            x = self._body(x, states, step)
            if self.per_layer is not None and p is not None:
                x = x + self.per_layer.added(x, p)
        if not self.block.layer_scalar:
            return x
        owner = self.lender[0] if self.lender else self
        return x * owner.get_buffer("layer_scalar")

    def _body(self, x: Tensor, states: dict[str, State] | None, step: Step) -> Tensor:
        """The residual stream after the sublayers, (B, T, d)."""
        if self.adapter is not None:
            # A shared block has no residual connection inside: its output joins the stream once.
            y = self._ffn(self._mixer(x, states, step), states, step)
            return x + self.adapter.linear(y)
        if self.parallel:
            h = self._norm("pre_mixer", x)
            y = self._mix(h, states, step)
            return x + y + self._feed(h, states, step)
        if self.attention is not None or self.recurrent is not None:
            y = x + self._mixer(x, states, step)
            if self.laurel is not None:
                y = (y + self.laurel(self._norm("pre_mixer", x))) * 2**-0.5
            x = y
        if self.cross_attention is not None:
            h = self._norm("pre_cross", x)
            y = self.cross_attention(h, _slot(states, "cross_attention"), step)
            x = x + self._norm("post_cross", y)
        if self.ffn is not None:
            x = x + self._ffn(x, states, step)
        return x

    def _mixer(self, x: Tensor, states: dict[str, State] | None, step: Step) -> Tensor:
        h = self._norm("pre_mixer", x)
        return self._norm("post_mixer", self._mix(h, states, step))

    def _mix(self, h: Tensor, states: dict[str, State] | None, step: Step) -> Tensor:
        """Attention, a recurrent mixer, or the sum of both."""
        y = torch.zeros_like(h)
        if self.attention is not None:
            slot = _slot(states, "attention")
            if self.doubled:
                h2 = torch.cat((h, self._norm("pre_embedded", step.embedded)), -1)  # (B, T, 2 d)
                extra = self.adapter.for_attention(h2) if self.adapter is not None else None
                y = y + self.attention(h2, slot, step, extra)
            else:
                y = y + self.attention(h, slot, step)
        if self.recurrent is not None:
            y = y + self.recurrent(h, _slot(states, "recurrent"), step)
        return y

    def _ffn(self, x: Tensor, states: dict[str, State] | None, step: Step) -> Tensor:
        return self._norm("post_ffn", self._feed(self._norm("pre_ffn", x), states, step))

    def _feed(self, h: Tensor, states: dict[str, State] | None, step: Step) -> Tensor:
        if self.ffn is None:
            return h
        slot = _slot(states, "ffn")
        if self.adapter is None:
            return self.ffn(h, slot, step)
        return self.ffn(h, slot, step, self.adapter.gate_up_proj_adapter(h))


def _slot(states: dict[str, State] | None, name: str) -> State | None:
    return None if states is None else states.setdefault(name, {})


def stack(
    groups: tuple[LayerGroup, ...], spec: ModelSpec, hidden_size: int, decoder: bool
) -> tuple[nn.ModuleList, list[str], list[int | None]]:
    """The layers in order of execution, the block of each, and which recursion each is."""
    names: list[str] = []
    owners: list[int] = []
    shared: dict[str, int] = {}
    for group in groups:
        unit = (tuple(group.pattern) if group.pattern is not None else group.blocks) * group.repeat
        start = len(names)
        for _ in range(group.loops):
            for offset, name in enumerate(unit):
                owner = start + offset
                if spec.blocks[name].share_weights:
                    owner = shared.setdefault(name, owner)
                names.append(name)
                owners.append(owner)
    turns: list[int | None] = [None] * len(names)
    if decoder and spec.recursion is not None:
        for index, (owner, turn) in enumerate(recursion.turns(spec.recursion, len(names))):
            owners[index], turns[index] = owner, turn
    encoder_size = spec.encoder.hidden_size if spec.encoder else None
    layers: list[Layer] = []
    for index, (name, owner) in enumerate(zip(names, owners, strict=True)):
        used = layers[owner] if owner < index else None
        layers.append(
            Layer(spec, spec.blocks[name], hidden_size, encoder_size or hidden_size, decoder, used)
        )
    return nn.ModuleList(layers), names, turns


class Encoder(nn.Module):
    """The encoder's stack; its layers see their whole input at once and keep nothing."""

    def __init__(self, spec: ModelSpec) -> None:
        super().__init__()
        encoder = spec.encoder
        assert encoder is not None
        width = encoder.hidden_size or spec.hidden_size
        self.spec, self.c, self.width = spec, encoder, width
        if encoder.embedding == "own":
            self.embedding = Embedding(spec.vocab_size, width)
        if encoder.conv_stem is not None:
            stem = encoder.conv_stem
            self.conv1 = nn.Conv1d(stem.in_channels, width, stem.kernel, padding=stem.kernel // 2)
            self.conv2 = nn.Conv1d(width, width, stem.kernel, stride=2, padding=stem.kernel // 2)
        if encoder.positions is not None:
            self.position_embedding = Embedding(encoder.positions, width)
        if encoder.embedding_norm:
            self.embedding_norm = Norm(width, spec.norm)
        if encoder.relative_attention_num_buckets is not None:
            first = spec.blocks[_first(encoder.layers)].attention
            num_heads = getattr(first, "num_attention_heads", 0)
            self.relative_attention_bias = Embedding(
                encoder.relative_attention_num_buckets, num_heads
            )
        self.layers, _, _ = stack(encoder.layers, spec, width, decoder=False)
        if encoder.final_norm:
            self.final_norm = Norm(width, spec.norm)

    def encode(self, source: Tensor, shared: Embedding) -> Tensor:
        """source: token ids (B, S), frames (B, mels, 2 S) for a stem, or vectors (B, S, d_e)."""
        encoder = self.c
        if encoder.conv_stem is not None:
            x = F.gelu(self.conv2(F.gelu(self.conv1(source)))).transpose(1, 2)  # (B, S, d_e)
        elif encoder.embedding == "none":
            x = source
        else:
            x = (self.embedding if encoder.embedding == "own" else shared)(source)
        order = torch.arange(x.shape[1], device=x.device)
        if encoder.positions is not None:
            x = x + self.position_embedding(order)
        if encoder.embedding_norm:
            x = self.embedding_norm(x)
        relative = None
        if encoder.relative_attention_num_buckets is not None:
            relative = self.relative_attention_bias
        ids = source if not source.is_floating_point() else order.expand(x.shape[0], -1)
        step = Step(order, order, 0, ids, x, relative=relative)
        for layer in self.layers:
            x = layer(x, None, step)
        return self.final_norm(x) if encoder.final_norm else x


def _first(groups: tuple[LayerGroup, ...]) -> str:
    group = groups[0]
    return group.pattern[0] if group.pattern is not None else group.blocks[0]


class Head(Module):
    """Logits from a matrix of its own or from the token table, with a bias if asked for."""

    def __init__(self, spec: ModelSpec, width: int) -> None:
        super().__init__()
        self.own = spec.tie_word_embeddings is False
        self.biased = spec.head == "mlm" or spec.head_bias
        if self.own:
            self.weight = weight(spec.vocab_size, width)
        if self.biased:
            self.bias = weight(spec.vocab_size)

    def forward(self, x: Tensor, table: Tensor) -> Tensor:
        return F.linear(x, self.weight if self.own else table, self.bias if self.biased else None)


class ReferenceModel(nn.Module):
    """The model that a spec describes."""

    def __init__(self, spec: ModelSpec) -> None:
        super().__init__()
        self.spec, d = spec, spec.hidden_size
        about = spec.embedding
        size = about.size if about is not None and about.size is not None else d
        self.embedding = Embedding(spec.vocab_size, size)
        if about is not None:
            if about.projection != "none":
                self.embedding_projection = Linear(size, d, about.projection == "in_bias")
            # OPT-350m projects first; ALBERT adds up and norms narrow embeddings before.
            inner = d if about.projection == "in_out" else size
            if about.positions is not None:
                self.position_embedding = Embedding(about.positions, inner)
            if about.token_types is not None:
                self.token_type_embedding = Embedding(about.token_types, inner)
            if about.norm:
                self.embedding_norm = Norm(inner, spec.norm)
        if spec.relative_attention_num_buckets is not None:
            first = spec.blocks[_first(spec.layers)].attention
            self.relative_attention_bias = Embedding(
                spec.relative_attention_num_buckets, getattr(first, "num_attention_heads", 0)
            )
        if spec.encoder is not None:
            self.encoder = Encoder(spec)
        self.layers, self.names, self.turns = stack(spec.layers, spec, d, decoder=True)
        if spec.final_norm:
            self.final_norm = Norm(d, spec.norm)
        if spec.pooler:
            self.pooler = Linear(d, d, bias=True)
        if about is not None and about.projection == "in_out":
            self.head_projection = Linear(d, size)
        if spec.head == "mlm":
            self.head_transform = Linear(d, size, bias=True)
            self.head_norm = Norm(size, spec.norm)
        if spec.head != "none":
            self.head = Head(spec, size)
        self._around(spec, d)

    def _around(self, spec: ModelSpec, d: int) -> None:
        """What stands once beside the layers."""
        self.per_layer: per_layer_embeddings.PerLayerTable | None = None
        if spec.hyper_connections is not None:
            self.hc_head = hyper_connections.HyperHead(spec.hyper_connections, d)
        if spec.altup is not None:
            self.altup_projections = altup.projections(spec.altup, d)
            self.altup_unembed_projections = altup.projections(spec.altup, d)
        if spec.per_layer_embeddings is not None:
            self.per_layer = per_layer_embeddings.PerLayerTable(
                spec.per_layer_embeddings, d, len(self.layers)
            )
            for name, part in self.per_layer.parts().items():
                self.add_module(name, part)
        if spec.recursion is not None:
            self.recursion_router = recursion.routers(spec.recursion, d)

    def forward(
        self, token_ids: Tensor, cache: ModelCache | None = None, source: Tensor | None = None,
        prompt: int | None = None, forced_depth: int | None = None,
    ) -> Tensor:  # fmt: skip
        """Logits (B, T, V), or the last hidden states (B, T, d) of a model without a head.

        token_ids: (B, T), the new tokens. cache: what was kept, brought up to date; None for one
        pass over a whole sequence. source: the encoder's input, in the first pass only.
        prompt: how many of a whole sequence's tokens a decode would have got at first (routing).
        """
        batch, tokens = token_ids.shape
        start = cache.seen if cache is not None else 0
        order = torch.arange(start, start + tokens, device=token_ids.device)
        x = self._embed(token_ids, order)
        encoded = self.encoder.encode(source, self.embedding) if source is not None else None
        relative = None
        if self.spec.relative_attention_num_buckets is not None:
            relative = self.relative_attention_bias
        step = Step(order, order, start, token_ids, x, encoded, relative)
        if cache is not None and not cache.seen:
            cache.prompt = tokens
        if self.spec.recursion is not None:
            if batch != 1:
                raise UnsupportedError("a recursion routes one sequence at a time")
            first = cache.prompt if cache is not None else prompt or tokens
            routing = recursion.Routing(
                self.spec.recursion, self.recursion_router, first, forced_depth
            )
            x = self._recurse(x, cache, step, routing)
        else:
            x = self._stack(x, cache, step)
        if cache is not None:
            cache.seen += tokens
        return self._read_out(x)

    def _embed(self, token_ids: Tensor, order: Tensor) -> Tensor:
        x, about = self.embedding(token_ids), self.spec.embedding
        if about is not None:
            if about.projection == "in_out":
                x = self.embedding_projection(x)
            if about.token_types is not None:
                x = x + self.token_type_embedding(torch.zeros_like(token_ids))
            if about.positions is not None:
                x = x + self.position_embedding(order)
            if about.norm:
                x = self.embedding_norm(x)
            if about.projection in ("in", "in_bias"):
                x = self.embedding_projection(x)
        return x

    def _stack(self, x: Tensor, cache: ModelCache | None, step: Step) -> Tensor:
        """All layers, one after the other."""
        spec = self.spec
        per_layer = None
        if self.per_layer is not None:
            per_layer = self.per_layer.look_up(step.token_ids, x)  # (B, T, L, d_p)
        if spec.hyper_connections is not None:
            x = hyper_connections.widen(x, spec.hyper_connections)
        if spec.altup is not None:
            x = altup.spread(x, self.altup_projections)
        latest: dict[str, KeyValue] = {}
        for index, (layer, name) in enumerate(zip(self.layers, self.names, strict=True)):
            shares = getattr(spec.blocks[name].attention, "shared_kv", None)
            own = step.of(source=latest[shares] if shares else None)
            p = per_layer[:, :, index] if per_layer is not None else None
            x = self._layer(layer, index, x, cache, own, p)
            if own.made is not None:
                latest[name] = own.made
        if spec.altup is not None:
            x = altup.fold(x, self.altup_unembed_projections)
        if spec.hyper_connections is not None:
            x = self.hc_head(x)
        return x

    def _layer(
        self, layer: nn.Module, index: int, x: Tensor, cache: ModelCache | None, step: Step,
        p: Tensor | None = None,
    ) -> Tensor:  # fmt: skip
        states: dict[str, State] | None = None
        if cache is not None:
            slots = ("attention", "cross_attention", "recurrent", "ffn")
            states = {slot: cache.states.get(("decoder", index, slot), {}) for slot in slots}
        y: Tensor = layer(x, states, step, p)
        if cache is not None and states is not None:
            for slot, state in states.items():
                if state:
                    cache.states["decoder", index, slot] = state
        return y

    def _recurse(
        self, x: Tensor, cache: ModelCache | None, step: Step, routing: recursion.Routing
    ) -> Tensor:
        """All layers; those of a recursion get only the tokens that were routed to it."""
        positions = list(range(step.start, step.start + x.shape[1]))
        c = routing.c
        kept: dict[int, KeyValue] = {}
        entered: int | None = None
        chosen: list[int] = []
        weights: list[int] = [owner for owner, _ in recursion.turns(c, len(self.layers))]
        for index, (layer, turn) in enumerate(zip(self.layers, self.turns, strict=True)):
            if turn is None:
                x = self._layer(layer, index, x, cache, step)
                continue
            if turn != entered or (c.sharing.endswith("sequence") and turn == 0):
                chosen = routing.enter(turn, x, positions)
                entered = turn
            if not chosen:
                continue
            at = torch.tensor(chosen, device=x.device)
            given = cache.given.get(index, 0) if cache is not None else 0
            order = torch.arange(given, given + len(chosen), device=x.device)
            own = step.of(order=order, positions=step.positions[at], start=given)
            if c.kv_cache == "shared" and turn > 0:
                own = own.of(source=kept[weights[index]], order=step.positions[at])
            y = self._layer(layer, index, x[:, at], cache, own)
            if own.made is None:
                raise UnsupportedError(f"a recursion over {self.names[index]} is not published")
            if turn == 0:
                kept[weights[index]] = own.made
            if cache is not None:
                cache.given[index] = given + len(chosen)
            x = routing.weighed(x, y, chosen)
        return x

    def _read_out(self, x: Tensor) -> Tensor:
        spec = self.spec
        if spec.final_norm:
            x = self.final_norm(x)
        if spec.head == "none":
            return x
        if spec.embedding is not None and spec.embedding.projection == "in_out":
            x = self.head_projection(x)
        if spec.head == "mlm":
            x = self.head_norm(F.gelu(self.head_transform(x)))
        return self.head(x, self.embedding.weight)

    def pool(self, hidden: Tensor) -> Tensor:
        """BERT's pooled output of the first token: (B, d)."""
        return torch.tanh(self.pooler(hidden[:, 0]))

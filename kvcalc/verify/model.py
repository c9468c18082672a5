"""A whole model from a spec: embeddings, the stack of layers, the head.

The stack is laid out here from the spec's fields, apart from kvcalc/spec/layers.py, so that a fault
there shows. Weights used twice are one module in two places, which ``named_parameters()`` lists
under the first. Multi-token-prediction layers are left out.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from kvcalc.errors import UnsupportedError
from kvcalc.spec.model import LayerGroup, ModelSpec
from kvcalc.verify.layer import Layer
from kvcalc.verify.parts import Embedding, KeyValue, Linear, Module, Norm, State, Step, weight
from kvcalc.verify.stack import altup, hyper_connections, per_layer_embeddings, recursion

# (stack, layer, slot): whose cache a State is.
Place = tuple[str, int, str]
SLOTS = ("ngram", "attention", "cross_attention", "recurrent", "ffn")


@dataclass
class ModelCache:
    """What a model keeps between decode steps.

    states: a plain dict of tensors per layer and mechanism, written by the mechanism.
    seen, prompt, given: token counts, of the model, of the first pass and of single layers.
    history: (B, S) the sequence itself, which n-grams are read from; nothing that is kept beside it.
    """

    states: dict[Place, State] = field(default_factory=dict)
    seen: int = 0
    prompt: int = 0
    given: dict[int, int] = field(default_factory=dict)
    history: Tensor | None = None

    def tensors(self) -> Iterator[tuple[Place, str, Tensor]]:
        """Every tensor that is kept, with its place and its name."""
        for place, state in self.states.items():
            for name, tensor in state.items():
                yield place, name, tensor

    def of_layer(self, layer: int) -> dict[str, State]:
        """What each sublayer of a decoder layer has kept so far."""
        return {slot: self.states.get(("decoder", layer, slot), {}) for slot in SLOTS}

    def keep(self, layer: int, states: dict[str, State]) -> None:
        """Put back what a decoder layer has written."""
        self.states |= {("decoder", layer, slot): state for slot, state in states.items() if state}


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
        if encoder.global_tokens is not None:
            self.global_embedding = Embedding(encoder.global_tokens, width)
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
        lead = encoder.global_tokens or 0
        if lead:
            first = self.global_embedding(order.new_tensor(range(lead)))
            x = torch.cat([first.expand(x.shape[0], -1, -1), x], 1)
            order = torch.arange(x.shape[1], device=x.device)
        relative = None
        if encoder.relative_attention_num_buckets is not None:
            relative = self.relative_attention_bias
        plain = source.is_floating_point() or lead
        ids = order.expand(x.shape[0], -1) if plain else source
        step = Step(order, order, 0, ids, x, relative=relative)
        for layer in self.layers:
            x = layer(x, None, step)
        return (self.final_norm(x) if encoder.final_norm else x)[:, lead:]


def source_shape(spec: ModelSpec, batch: int, tokens: int) -> tuple[int, ...]:
    """Shape of what ``encode`` takes: ids (B, S), frames (B, mels, 2 S), or vectors (B, S, d_e)."""
    encoder = spec.encoder
    assert encoder is not None
    if encoder.conv_stem is not None:
        return (batch, encoder.conv_stem.in_channels, 2 * tokens)
    if encoder.embedding == "none":
        return (batch, tokens, encoder.hidden_size or spec.hidden_size)
    return (batch, tokens)


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
        extra = (about.extra_rows or 0) if about is not None else 0
        self.embedding = Embedding(spec.vocab_size + extra, size)
        if about is not None:
            if about.projection != "none":
                self.embedding_projection = Linear(size, d, about.projection == "in_bias")
            # OPT-350m projects first; ALBERT adds up and norms narrow embeddings before.
            inner = d if about.projection == "in_out" else size
            if about.positions is not None:
                self.position_embedding = Embedding(about.positions, inner)
            if about.token_types is not None:
                self.token_type_embedding = Embedding(about.token_types, inner)
            if about.task_types is not None:
                self.task_type_embedding = Embedding(about.task_types, inner)
            if about.relative_positions is not None:
                self.relative_position_embedding = Embedding(about.relative_positions, d)
                if about.relative_norm:
                    self.relative_position_norm = Norm(d, spec.norm)
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
        if spec.head == "mlm" or spec.head_transform:
            self.head_transform = Linear(d, size, bias=spec.head == "mlm")
            self.head_norm = Norm(size, spec.norm)
        if spec.head != "none":
            self.head = Head(spec, size)
        self._around(spec, d)

    def _around(self, spec: ModelSpec, d: int) -> None:
        """What stands once beside the layers."""
        self.per_layer: per_layer_embeddings.PerLayerTable | None = None
        if spec.hyper_connections is not None:
            self.hc_head = hyper_connections.head(spec.hyper_connections, d)
        if spec.altup is not None:
            self.altup_projections = altup.projections(spec.altup, d)
            self.altup_unembed_projections = altup.projections(spec.altup, d)
        if spec.per_layer_embeddings is not None:
            self.per_layer = per_layer_embeddings.PerLayerTable(
                spec.per_layer_embeddings, d, len(self.layers)
            )
            for name, part in self.per_layer.parts().items():
                self.add_module(name, part)
        for tensor, shape in spec.class_tensors.items():
            *path, last = tensor.split(".")
            place: nn.Module = self
            for word in path:
                if word not in dict(place.named_children()):
                    place.add_module(word, nn.Module())
                place = place.get_submodule(word)
            place.register_parameter(last, nn.Parameter(torch.empty(shape)))
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
        step = Step(order, order, start, token_ids, x, encoded, relative, self._places())
        if cache is not None and not cache.seen:
            cache.prompt = tokens
        if any(block.ngram is not None for block in self.spec.blocks.values()):
            past = None if cache is None else cache.history
            step.history = token_ids if past is None else torch.cat((past, token_ids), 1)
            if cache is not None:
                cache.history = step.history
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
            if about.task_types is not None:
                x = x + self.task_type_embedding(torch.zeros_like(token_ids))
            if about.positions is not None:
                x = x + self.position_embedding(order)
            if about.norm:
                x = self.embedding_norm(x)
            if about.projection in ("in", "in_bias"):
                x = self.embedding_projection(x)
        return x

    def _places(self) -> Tensor | None:
        """DeBERTa's table of relative positions, (R, d), after its norm."""
        about = self.spec.embedding
        if about is None or about.relative_positions is None:
            return None
        table = self.relative_position_embedding.weight
        return self.relative_position_norm(table) if about.relative_norm else table

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
        states = cache.of_layer(index) if cache is not None else None
        y: Tensor = layer(x, states, step, p)
        if cache is not None and states is not None:
            cache.keep(index, states)
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
        if spec.head == "mlm" or spec.head_transform:
            x = self.head_norm(F.gelu(self.head_transform(x)))
        return self.head(x, self.embedding.weight)

    def pool(self, hidden: Tensor) -> Tensor:
        """BERT's pooled output of the first token: (B, d)."""
        return torch.tanh(self.pooler(hidden[:, 0]))

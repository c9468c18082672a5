"""One layer from a spec's block: its sublayers, where their norms stand, what surrounds them."""

from importlib import import_module
from importlib.util import find_spec
from typing import Any

import torch
from torch import Tensor, nn

from kvcalc.errors import UnsupportedError
from kvcalc.spec.model import Block, ModelSpec
from kvcalc.verify.parts import Module, Norm, State, Step
from kvcalc.verify.stack import altup, hyper_connections, per_layer_embeddings
from kvcalc.verify.stack.laurel import Laurel
from kvcalc.verify.stack.shared_adapter import SharedAdapter


def build(fields: Any, *sizes: int) -> Module:
    """The reference module of a mechanism: the class of its name in the module of its name.

    Raises UnsupportedError naming the file where there is none yet.
    """
    cls = type(fields)
    home = cls.__module__.replace("kvcalc.", "kvcalc.verify.", 1)
    if find_spec(home) is None or not hasattr(import_module(home), cls.__name__):
        raise UnsupportedError(
            f"{fields.kind} has no reference module to hold it against: "
            f"write a class {cls.__name__} in {home.replace('.', '/')}.py"
        )
    made: Module = getattr(import_module(home), cls.__name__)(fields, *sizes)
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
        self.attn_hc: Module | None = None
        self.ffn_hc: Module | None = None
        self.ngram: Module | None = None
        # In a list, so that the owner's weights are not listed here as well.
        self.lender = [owner] if owner is not None else []
        if owner is None:
            self._own(spec, block, d, encoder_size, decoder)
        else:
            for name in ("attention", "recurrent", "cross_attention", "ffn", "norms", "altup",
                         "laurel", "attn_hc", "ffn_hc", "ngram", "per_layer"):  # fmt: skip
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
        if block.ngram is not None:
            self.ngram = build(block.ngram, d)
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
            self.attn_hc = hyper_connections.connection(spec.hyper_connections, d)
            self.ffn_hc = hyper_connections.connection(spec.hyper_connections, d)
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
        if self.ngram is not None:
            x = self.ngram(x, _slot(states, "ngram"), step)
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

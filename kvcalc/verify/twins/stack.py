"""A spec's layers as a config sees them: all of them agree, or a list says which differ."""

from typing import Any, TypeVar

from kvcalc.errors import UnsupportedError
from kvcalc.spec.layers import decoder_layers, encoder_layers
from kvcalc.spec.model import Block, ModelSpec

T = TypeVar("T")


class NotExpressibleError(UnsupportedError):
    """The spec says something that no config of its model_type can say."""


def needs(part: T | None, name: str) -> T:
    """A part that every model of the type has. Raises NotExpressibleError without it."""
    if part is None:
        raise NotExpressibleError(f"a model of this model_type has {name}, and the spec has none")
    return part


class Stack:
    """A spec's layers, and what all of them agree on."""

    def __init__(self, spec: ModelSpec, *, encoder: bool = False) -> None:
        self.spec = spec
        layers = encoder_layers(spec) if encoder else decoder_layers(spec)
        self.blocks: list[Block] = [spec.blocks[layer.block] for layer in layers]
        self.num_layers = len(self.blocks)
        self.attentions: list[Any] = self._all("attention")
        self.mixers: list[Any] = self._all("recurrent")
        ffns = self._all("ffn")
        self.experts: list[Any] = [ffn for ffn in ffns if ffn.kind == "moe"]
        self.ffns: list[Any] = [ffn for ffn in ffns if ffn.kind != "moe"]

    def _all(self, slot: str) -> list[Any]:
        return [part for block in self.blocks if (part := getattr(block, slot)) is not None]

    def where(self, slot: str, **fields: Any) -> list[int]:
        """Indices of the layers that have ``slot``, with these values of its fields."""
        return [
            index
            for index, block in enumerate(self.blocks)
            if (part := getattr(block, slot)) is not None
            and all(getattr(part, name, None) == value for name, value in fields.items())
        ]

    def one(self, parts: list[Any], field: str, default: Any = None) -> Any:
        """The value that all parts have. Raises NotExpressibleError when they differ."""
        if not parts:
            return default
        values = {getattr(part, field, default) for part in parts}
        if len(values) > 1:
            shown = ", ".join(sorted(map(str, values)))
            raise NotExpressibleError(
                f"{self.spec.name}: layers differ in {field} ({shown}), "
                f"and a {self.spec.model_type} config has one value"
            )
        return values.pop()

    def attention(self, field: str, default: Any = None) -> Any:
        return self.one(self.attentions, field, default)

    def mixer(self, field: str) -> Any:
        return self.one(self.mixers, field)

    def ffn(self, field: str = "intermediate_size") -> Any:
        return self.one(self.ffns, field)

    def expert(self, field: str) -> Any:
        return self.one(self.experts, field)

    def bias(self, side: str = "q") -> bool:
        """Whether that projection has a bias in all layers."""
        sides = {side in attention.bias for attention in self.attentions}
        return sides == {True}

    def window(self, field: str = "sliding_window") -> int | None:
        """The one window that layers with a window have."""
        values = {value for part in self.attentions if (value := getattr(part, field)) is not None}
        if len(values) > 1:
            raise NotExpressibleError(f"{self.spec.name}: layers have windows of {sorted(values)}")
        return values.pop() if values else None

    def interval(self, indices: list[int]) -> int:
        """Every how many layers one of these stands, by their number alone."""
        return self.num_layers // len(indices) if indices else self.num_layers + 1

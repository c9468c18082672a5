"""The type that llama.cpp gives each tensor of a file: its quantisation rule, tensor by tensor.

Source: llama.cpp v0.5.0, src/llama-quant.cpp: tensor_allows_quantization (what stays),
tensor_get_category, llama_tensor_get_type and its _impl (the mixtures, with their counters of layers
and their exceptions), tensor_type_fallback (rows that a block does not divide) and
tensor_requires_imatrix. tests/gguf/sweep.py holds every tensor against that library.
"""

from collections.abc import Iterable
from functools import cache
from typing import Literal

from kvcalc.dtypes import GGML
from kvcalc.errors import KvcalcError, UnsupportedError, UsageError
from kvcalc.file_types import FileType, Recipe
from kvcalc.frozen import remembered
from kvcalc.gguf.tensors import GgufModel, GgufTensor, Place, TensorKind

Category = Literal[
    "output",
    "token_embd",
    "qkv",
    "kv_b",
    "v",
    "k",
    "q",
    "attn_output",
    "up",
    "gate",
    "down",
    "other",
]


def tensor_types(model: GgufModel, recipe: Recipe) -> tuple[str, ...]:
    """The ggml type of each of ``model.tensors``, in their order. Raises as ``kind_types``."""
    found = [
        types * kind.count if len(types) == 1 else types
        for kind, types in zip(model.kinds, kind_types(model, recipe), strict=True)
    ]
    return tuple([found[index][number] for index, number in model.order])


def kind_types(model: GgufModel, recipe: Recipe) -> tuple[tuple[str, ...], ...]:
    """The ggml types of each of ``model.kinds``: one for all its tensors, or one for each.

    Raises UsageError where the type needs an importance matrix and the recipe has none, and
    UnsupportedError where llama.cpp has no type to fall back to, naming the loader's first tensor.
    """
    mixture = _Mixture(model, recipe)
    found: list[tuple[str, ...]] = []
    refused: list[tuple[Place, KvcalcError]] = []
    for index, (kind, category) in enumerate(zip(model.kinds, _categories(model), strict=True)):
        if category is None:
            found.append((kind.source,))
            continue
        types: list[str] = []
        try:
            for tensor, layer, seen in mixture.differing(index, kind, category):
                chosen = mixture.type_of(tensor, category, layer, seen)
                types.append(_checked(chosen, tensor, recipe))
        except (UsageError, UnsupportedError) as error:
            refused.append((kind.places[len(types)], error))
        found.append(tuple(types if len(set(types)) > 1 else types[:1]))
    if refused:
        raise min(refused, key=lambda each: each[0])[1]
    return tuple(found)


def _checked(chosen: str, tensor: GgufTensor, recipe: Recipe) -> str:
    if not recipe.imatrix and _needs_imatrix(tensor.name, chosen, recipe.file_type):
        raise UsageError(
            f"{recipe.file_type.word} needs an importance matrix: {tensor.name} would be "
            f"{chosen}, and llama.cpp quantises nothing to that without one; say --imatrix"
        )
    return chosen


@remembered
def _categories(model: GgufModel) -> list[Category | None]:
    """What each kind is to the rule; None for one that stays as it is."""
    return [
        category(kind.stem) if _allowed(kind.stem) and kind.num_dimensions > 1 else None
        for kind in model.kinds
    ]


@remembered
def _numbers(model: GgufModel) -> list[list[int]]:
    """Which of its category each tensor of each kind is, in the loader's order.

    The rule counts values, down-projections, gates and up-projections as it meets them; others
    stand as 0.
    """
    numbers = [[0] * kind.count for kind in model.kinds]
    categories = _categories(model)
    counted: tuple[Category, ...]
    for counted in (_VALUE_LIKE, ("down",), ("gate",), ("up",)):
        met = [
            (place, index, number)
            for index, kind in enumerate(model.kinds)
            if categories[index] in counted
            for number, place in enumerate(kind.places)
        ]
        for seen, (_, index, number) in enumerate(sorted(met)):
            numbers[index][number] = seen
    return numbers


def tensor_bytes(tensor: GgufTensor, kind: str) -> int:
    """Bytes of a tensor in a ggml type: ggml's rows. Raises UnsupportedError for a broken row."""
    try:
        return GGML[kind].tensor(tensor.shape)
    except ValueError as error:
        raise UnsupportedError(f"{tensor.name} {list(tensor.shape)}: {error}") from None


# ---------------------------------------------------------------- what stays as it is

# Matrices that stay in the converter's type wherever such a part is in their names.
_KEPT = (
    "_norm.weight", "ffn_gate_inp.weight", "ffn_gate_tid2eid.weight", "altup", "laurel",
    "per_layer_model_proj", "ssm_conv1d", "shortconv.conv.weight",
    "indexer.k_proj.weight", "indexer.q_proj.weight", "attn_rel_b.weight",
    "time_mix_first.weight", "time_mix_lerp_fused.weight",
    "time_mix_decay_w1.weight", "time_mix_decay_w2.weight",
    *(f"time_mix_{part}.weight" for part in (
        "w0", "w1", "w2", "v0", "v1", "v2", "a0", "a1", "a2", "g1", "g2")),
    ".position_embd", ".rel_pos", ".patch_embd", ".patch_merger",
)  # fmt: skip


@cache
def _allowed(name: str) -> bool:
    """Whether quantize touches such a matrix at all (tensor_allows_quantization)."""
    return (
        name.endswith("weight")
        and name not in ("position_embd.weight", "token_types.weight")
        and not any(part in name for part in _KEPT)
    )


def _needs_imatrix(name: str, kind: str, file_type: FileType) -> bool:
    if name in ("token_embd.weight", "per_layer_token_embd.weight", "output.weight"):
        return False
    if kind == "q2_K":
        return file_type.name == "Q2_K_S"
    return kind in ("iq1_s", "iq1_m", "iq2_xxs", "iq2_xs", "iq2_s", "iq3_xxs")


# ---------------------------------------------------------------- which tensors are alike

_CATEGORIES: tuple[tuple[str, Category], ...] = (
    ("attn_qkv.weight", "qkv"), ("attn_kv_b.weight", "kv_b"), ("attn_v.weight", "v"),
    ("attn_k.weight", "k"), ("attn_q.weight", "q"), ("attn_output.weight", "attn_output"),
    ("ffn_up", "up"), ("ffn_gate", "gate"), ("ffn_down", "down"),
)  # fmt: skip


@cache
def category(name: str) -> Category:
    """What a tensor is to the rule, by the first part of its name that matches."""
    if name == "output.weight":
        return "output"
    if name in ("token_embd.weight", "per_layer_token_embd.weight"):
        return "token_embd"
    return next((kind for part, kind in _CATEGORIES if part in name), "other")


_VALUE_LIKE: tuple[Category, ...] = ("v", "qkv", "kv_b")
_LOW_BITS = ("IQ1_S", "IQ1_M", "IQ2_XXS", "IQ2_XS", "IQ2_S", "IQ2_M")
# Files in which layers differ, and in what; in others all tensors of a name have one type.
_LAYERED: dict[str, tuple[Category, ...]] = {
    **dict.fromkeys((*_LOW_BITS, "IQ3_XXS", "IQ3_M", "IQ4_NL", "IQ4_XS", "Q2_K_S"), ("down",)),
    **dict.fromkeys(("Q3_K_M", "Q4_K_S", "Q4_K_M", "Q5_K_M"), (*_VALUE_LIKE, "down")),
    "IQ3_XS": ("gate", "up"),
}
_LAYERED_BY_IMATRIX = ("Q4_0", "Q5_0")
# What a row takes when the type's block does not divide it.
_FALLBACKS = {
    "iq1_s": "iq4_nl", "iq1_m": "iq4_nl", "iq2_xxs": "iq4_nl", "iq2_xs": "iq4_nl",
    "iq2_s": "iq4_nl", "iq3_xxs": "iq4_nl", "iq3_s": "iq4_nl", "iq4_xs": "iq4_nl",
    "q2_0": "q4_0", "q2_K": "q4_0", "q3_K": "q4_0", "tq1_0": "q4_0", "tq2_0": "q4_0",
    "q4_K": "q5_0", "q5_K": "q5_1", "q6_K": "q8_0",
}  # fmt: skip


def fallback(tensor: GgufTensor, kind: str) -> str:
    """The type itself, or what stands in for it where its block does not divide the row."""
    if tensor.row % GGML[kind].block_elements == 0:
        return kind
    if GGML[kind].block_elements > 32 and kind not in _FALLBACKS:
        raise UnsupportedError(
            f"{tensor.name} has rows of {tensor.row}, which blocks of {kind} do not divide, and "
            f"llama.cpp has no type to fall back to"
        )
    stand_in = _FALLBACKS.get(kind, kind)
    return "f16" if tensor.row % GGML[stand_in].block_elements else stand_in


def _more_bits(layer: int, num_layers: int) -> bool:
    """The first and last eighth, and every third layer between (use_more_bits)."""
    eighth = num_layers // 8
    return layer < eighth or layer >= 7 * num_layers // 8 or _remainder(layer - eighth) == 2


def _remainder(distance: int) -> int:
    """C's remainder by 3, which is not positive for a negative distance."""
    return distance % 3 if distance >= 0 else -(-distance % 3)


@remembered
def _tied_and_values(model: GgufModel) -> tuple[bool, int]:
    """Whether the file has no output table of its own, and how many tensors hold values."""
    held = [(category(kind.stem), kind.count) for kind in model.kinds]
    tied = "output" not in [each for each, _ in held]
    return tied, sum(count for each, count in held if each in _VALUE_LIKE)


class _Mixture:
    """The rule for one file. seen: which of its category a tensor is, as ``_numbers`` says it."""

    def __init__(self, model: GgufModel, recipe: Recipe) -> None:
        self.model = model
        self.recipe = recipe
        self.file = recipe.file_type.name
        by_imatrix = recipe.imatrix and self.file in _LAYERED_BY_IMATRIX
        self.layered = ("down",) if by_imatrix else _LAYERED.get(self.file, ())
        self.falcon = model.architecture == "falcon"
        self.experts_by_name = model.architecture == "bailingmoe3"
        self.eight = model.num_experts == 8
        self.experts = model.num_experts
        self.groups = model.query_groups
        self.is_70b = model.is_70b
        self.num_layers = model.num_layers
        self.tied, self.num_values = _tied_and_values(model)

    def differing(
        self, index: int, kind: TensorKind, category: Category
    ) -> Iterable[tuple[GgufTensor, int, int]]:
        """The tensors of a kind whose types may differ, each with its layer and ``seen``.

        The first alone where the rule looks at neither.
        """
        if category not in self.layered:
            return ((kind.first, kind.layers[0] if kind.layers else -1, 0),)
        layers = [layer for layer, _ in kind.places]
        return zip(kind.tensors, layers, _numbers(self.model)[index], strict=True)

    def type_of(self, tensor: GgufTensor, kind: Category, layer: int, seen: int) -> str:
        """The type of a tensor that is quantised (llama_tensor_get_type)."""
        recipe = self.recipe
        if recipe.token_embedding and kind == "token_embd":
            return recipe.token_embedding
        if recipe.output and kind == "output":
            return recipe.output
        default = recipe.file_type.default
        if default in ("f32", "f16", "bf16"):
            return default
        if recipe.pure:
            return fallback(tensor, default)
        return fallback(tensor, self._mixed(tensor, kind, layer, seen, default))

    def _mixed(
        self, tensor: GgufTensor, kind: Category, layer: int, seen: int, default: str
    ) -> str:
        if kind == "output" or (self.tied and kind == "token_embd"):
            return self._output(tensor, default)
        if self.file == "MXFP4_MOE":
            # What is stacked: MLA's halves too, but for the architecture that experts are asked of by name.
            stacked = len(tensor.shape) > 2 and tensor.shape[-3] > 1
            expert = kind in ("gate", "up", "down") or not self.experts_by_name
            return "mxfp4" if stacked and expert else "q8_0"
        if kind == "token_embd":
            return self._token_embedding(default)
        if self.file in _LOW_BITS:
            return self._low_bits(kind, seen, default)
        if kind in _VALUE_LIKE:
            return self._value(seen, default)
        if kind in ("k", "q"):
            return self._key_or_query(kind, default)
        if kind == "down":
            return self._down(self._layer(layer, seen), default)
        if kind == "attn_output":
            return self._attention_output(default)
        if kind in ("gate", "up"):
            return self._gate_or_up(self._layer(layer, seen), default)
        return default

    # ------------------------------------------------------------ tables

    def _output(self, tensor: GgufTensor, default: str) -> str:
        if self.recipe.output:
            return self.recipe.output
        if self.file == "MXFP4_MOE" or self.falcon or tensor.row % GGML[default].block_elements:
            return "q8_0"
        if self.file in (*_LOW_BITS, "IQ3_XXS"):
            return "q5_K"
        return default if default == "q8_0" else "q6_K"

    def _token_embedding(self, default: str) -> str:
        if self.file in ("IQ1_S", "IQ1_M", "IQ2_XXS", "IQ2_XS"):
            return "q2_K"
        if self.file in ("IQ2_S", "IQ2_M", "IQ3_XXS"):
            return "iq3_s"
        return "q4_K" if self.file in ("TQ1_0", "TQ2_0", "Q2_0") else default

    # ------------------------------------------------------------ files of one and two bits

    def _low_bits(self, kind: Category, seen: int, default: str) -> str:
        fuller = self.file in ("IQ2_S", "IQ2_M")
        if kind in _VALUE_LIKE:
            if self.groups >= 4 or self.experts >= 4:
                return "q4_K"
            return "iq3_s" if fuller else "q2_K"
        if kind == "k" and self.eight:
            return "q4_K"
        if kind == "down" and seen < self.num_layers // 8:
            return "iq3_s" if fuller else "q2_K"
        if kind == "attn_output":
            if self.eight:
                return "q5_K"
            if self.file in ("IQ1_S", "IQ1_M"):
                return "iq2_xxs"
            return "iq3_s" if fuller else default
        return default

    # ------------------------------------------------------------ attention

    def _value(self, seen: int, default: str) -> str:
        """Values, and what holds them: a fused q, k and v, an MLA up-projection."""
        chosen = self._value_by_file(seen, default)
        if self.is_70b and chosen in ("q3_K", "q4_K"):
            chosen = "q5_K"
        return "q8_0" if self.eight else chosen

    def _value_by_file(self, seen: int, default: str) -> str:
        many = self.groups >= 4
        match self.file:
            case "Q2_K":
                return "q4_K" if many else "q3_K"
            case "IQ3_XXS" if not many:
                return "iq3_xxs" if self.recipe.imatrix else "iq3_s"
            case "Q2_K_S" | "IQ3_XXS" | "IQ3_XS" | "IQ3_S" if many:
                return "q4_K"
            case "IQ3_M":
                return "q4_K"
            case "Q3_K_M":
                return "q5_K" if seen < 2 else "q4_K"
            case "Q3_K_L":
                return "q5_K"
            case "IQ4_NL" | "IQ4_XS" if many:
                return "q5_K"
            case "Q4_K_M" | "Q5_K_M" if _more_bits(seen, self.num_values):
                return "q6_K"
            case "Q4_K_S" if seen < 4:
                return "q5_K"
        return default

    def _key_or_query(self, kind: Category, default: str) -> str:
        if kind == "k" and self.eight:
            return "q8_0"
        return {"IQ3_XS": "iq3_xxs", "IQ3_XXS": "iq2_s"}.get(self.file, default)

    def _attention_output(self, default: str) -> str:
        if self.falcon:
            return "q4_K" if self.file == "Q3_K_L" else default
        if self.eight:
            raised = ("Q2_K", "IQ3_XS", "IQ3_XXS", "Q3_K_S", "Q3_K_M", "IQ4_NL", "Q4_K_S",
                      "Q4_K_M", "IQ3_S", "IQ3_M", "IQ4_XS")  # fmt: skip
            return "q5_K" if self.file in raised else default
        return {
            "Q2_K": "q3_K", "IQ3_XXS": "iq3_s", "Q3_K_M": "q4_K", "Q3_K_L": "q5_K", "IQ3_M": "q4_K",
        }.get(self.file, default)  # fmt: skip

    # ------------------------------------------------------------ feed-forward layers

    def _layer(self, layer: int, seen: int) -> int:
        """The layer: by its name where there are experts, else by how many came before."""
        return layer if self.experts > 1 else seen

    def _down(self, layer: int, default: str) -> str:
        count = self.num_layers
        first, more = layer < count // 8, _more_bits(layer, count)
        imatrix = self.recipe.imatrix
        match self.file:
            case "Q2_K":
                return "q3_K"
            case "Q2_K_S" if first:
                return "q4_K"
            case "IQ3_XXS" if not imatrix:
                return "q4_K" if first else "q3_K"
            case "Q3_K_M" if layer < count // 16:
                return "q5_K"
            case "Q3_K_M":
                return "q4_K" if more or not self.falcon else "q3_K"
            case "IQ3_M" if first or (self.eight and more):
                return "q4_K"
            case "Q3_K_L":
                return "q4_K" if self.falcon else "q5_K"
            case "Q4_K_M" if self.falcon:
                if layer < count // 16:
                    return "q6_K"
                return "q5_K" if more else "q4_K"
            case "Q4_K_M" | "Q5_K_M" if more:
                return "q6_K"
            case "IQ4_NL" | "IQ4_XS" if first and not imatrix:
                return "q5_K"
            case "Q4_K_S" if first and not self.falcon:
                return "q5_K"
            case "Q4_0" | "Q5_0" if first and imatrix:
                return "q4_1" if self.file == "Q4_0" else "q5_1"
        return default

    def _gate_or_up(self, layer: int, default: str) -> str:
        count = self.num_layers
        middle = count // 8 <= layer < 7 * count // 8
        return "iq3_xxs" if self.file == "IQ3_XS" and middle else default

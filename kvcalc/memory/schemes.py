"""The schemes that ``--dtype`` names: one format for a model, or what its checkpoint mixes."""

import re
from collections.abc import Mapping, Sequence
from functools import cached_property, lru_cache

from kvcalc.dtypes import BLOCK, Format, weight_format
from kvcalc.errors import UnsupportedError, UsageError
from kvcalc.file_types import Recipe, recipe, weight_word
from kvcalc.frozen import frozen
from kvcalc.memory.inventory import ParamGroup, mtp_groups, parameter_groups
from kvcalc.memory.ledger import Scheme, Stored, Weight, make_rows
from kvcalc.mlx_types import mlx_recipe
from kvcalc.spec.model import ModelSpec, TensorFormat
from kvcalc.spec.stored_formats import stored_format
from kvcalc.spec.tensor_formats import parse_layers, rule_name
from kvcalc.tensors import Component

# The components whose matrices a narrow --dtype applies to.
QUANTISED: tuple[Component, ...] = ("attention", "recurrent", "ffn", "experts")
PLAIN = ("fp32", "bf16", "fp16")
_WITHOUT_FORMAT = Format("bytes", 1, 1)

Formats = tuple[Format, ...]


@frozen
class ByComponent:
    """One format for each component's matrices and one for everything else.

    word: what the default is called where that is not its name.
    """

    name: str
    default: Format
    by_component: Mapping[str, Format]
    word: str = ""

    def store(self, weight: Weight) -> Sequence[Stored]:
        """The component's format for what quantisers take; buffers are not stored."""
        tensor = weight.tensor
        if tensor.buffer:
            return ()
        chosen = self.by_component.get(tensor.component) if tensor.quantised else None
        return (Stored(self.default, dtype=self.word) if chosen is None else Stored(chosen),)

    @property
    def extras(self) -> Sequence[ParamGroup]:
        """Nothing beside the model's own weights."""
        return ()


class Checkpoint:
    """What a spec says that its published files hold: by component, then tensor by tensor.

    A buffer is stored where a rule names it.
    """

    name = "checkpoint"

    def __init__(self, spec: ModelSpec) -> None:
        formats = {str(part): weight_format(name) for part, name in spec.weight_dtypes.items()}
        default = formats.pop("default", weight_format("bf16"))
        word = spec.weight_dtypes.get("default", "")
        self._usual = ByComponent(self.name, default, formats, word)
        self._spec = spec
        self._rules = [_Rule(rule) for rule in spec.weight_formats]
        self._names = dict.fromkeys(name for rule in spec.weight_formats for name in rule.tensors)

    def finish(self) -> None:
        """Raise UnsupportedError where a rule named a tensor that the model does not have."""
        modules = {rule_name(group.prefix + tensor.name) for group in mtp_groups(self._spec)
                   for tensor in group.tensors}  # fmt: skip
        for name in self._names:
            if name in modules:
                continue
            raise UnsupportedError(
                f"weight_formats: no tensor of the model is called {name}; 'kvcalc explain --all' has "
                f"the mechanisms' names"
            )

    def store(self, weight: Weight) -> Sequence[Stored]:
        """One answer for each format that the rules leave for the weight."""
        usual = self._usual.store(weight)
        name = rule_name(weight.name)
        self._names.pop(name, None)
        for glob in [glob for glob in self._names if "*" in glob]:
            if re.fullmatch(re.escape(glob).replace(r"\*", ".*"), name):
                del self._names[glob]
        rules = [rule for rule in self._rules if rule.reaches(name, weight)]
        if not rules:
            return usual
        layers = weight.group.layers or (None,)
        chosen: dict[int | None, _Rule | None] = dict.fromkeys(layers)
        for rule in rules:
            for layer in chosen:
                if rule.layers is None or layer in rule.layers:
                    chosen[layer] = rule
        found: dict[int, tuple[_Rule | None, list[int]]] = {}
        for layer, last in chosen.items():
            held = found.setdefault(id(last), (last, []))[1]
            if layer is not None:
                held.append(layer)
        answers: list[Stored] = []
        for last, held_by in found.values():
            own = usual if last is None else last.stored(weight)
            answers += [Stored(**{**vars(one), "layers": tuple(held_by)}) for one in own]
        return answers

    @property
    def extras(self) -> Sequence[ParamGroup]:
        """Nothing beside the model's own weights."""
        return ()


class _Rule:
    """One of a spec's ``weight_formats``, ready to be asked."""

    def __init__(self, rule: TensorFormat) -> None:
        self.exact = {name for name in rule.tensors if "*" not in name}
        globs = (re.escape(name).replace(r"\*", ".*") for name in rule.tensors if "*" in name)
        self.globs = [re.compile(glob) for glob in globs]
        self.layers = parse_layers(rule.layers) if rule.layers is not None else None
        self.num_bytes = rule.bytes
        self.formats: Formats = stored_format(rule.format) if rule.format is not None else ()
        self.words = [word.partition("+")[0] for word in (rule.format or "").split("|", 1)]

    def reaches(self, name: str, weight: Weight) -> bool:
        if name in self.exact:
            return True
        if weight.tensor.buffer or not any(glob.fullmatch(name) for glob in self.globs):
            return False
        return weight.tensor.quantised or self._plain

    @cached_property
    def _plain(self) -> bool:
        return all(each.name in PLAIN for each in self.formats)

    def stored(self, weight: Weight) -> tuple[Stored, ...]:
        if not self.formats:
            return (Stored(_WITHOUT_FORMAT, num_bytes=self.num_bytes),)
        if len(self.formats) == 1:
            return (Stored(self.formats[0], dtype=self.words[0]),)
        shape = weight.tensor.shape
        half = (*shape[:-2], shape[-2] // 2, shape[-1])
        return tuple(
            Stored(each, shape=half, dtype=word)
            for each, word in zip(self.formats, self.words, strict=True)
        )


def scheme_of(spec: ModelSpec, dtype: str) -> Scheme:
    """What ``--dtype`` names: one format for the layers' matrices; ``checkpoint``, what the spec
    says its checkpoint mixes; or a type of GGUF files or of mlx-lm. Raises UsageError for an unknown
    name."""
    found = uniform(dtype)
    if found is not None:
        return found
    gguf = recipe(dtype)
    if gguf is not None:
        return _gguf(spec, gguf)
    mlx = mlx_recipe(dtype)
    if mlx is not None:
        from kvcalc.mlx.scheme import mlx_scheme

        return mlx_scheme(spec, mlx)
    return Checkpoint(spec)


@lru_cache(256)
def uniform(dtype: str) -> ByComponent | None:
    """The scheme of a ``--dtype`` that looks at nothing but a weight's component; None for the
    checkpoint's, GGUF's and mlx-lm's. Raises UsageError for an unknown name."""
    if dtype == "checkpoint" or recipe(dtype) or mlx_recipe(dtype):
        return None
    try:
        chosen = weight_format(weight_word(dtype))
    except ValueError as error:
        raise UsageError(f"dtype {error}") from None
    if chosen.name in PLAIN:
        return ByComponent(chosen.name, chosen, {})
    return _matrices(chosen)


def _matrices(chosen: Format) -> ByComponent:
    """As quantised checkpoints: the layers' matrices; tables, head and vectors stay in bf16."""
    return ByComponent(chosen.name, weight_format("bf16"), dict.fromkeys(QUANTISED, chosen))


def _gguf(spec: ModelSpec, gguf: Recipe) -> Scheme:
    """The file that llama.cpp makes; where it cannot, what the block format itself would take."""
    from kvcalc.gguf.scheme import gguf_scheme

    try:
        return gguf_scheme(spec, gguf)
    except UnsupportedError as error:
        name = gguf.file_type.default
        if gguf.file_type.word not in BLOCK:
            raise
        rows = make_rows(parameter_groups(spec), _matrices(BLOCK[name]))
        raise UnsupportedError(
            f"{error}; matrices of its layers in {name} blocks and the rest in bf16 would take "
            f"{sum(row.bytes for row in rows):,} bytes"
        ) from None

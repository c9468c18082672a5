"""A config.json as a reader: typed values, class defaults that are recorded, and no key forgotten.

Three rules keep an import from being a plausible guess.

1. A value has the type and the range that its meaning needs, or the file is wrong (SpecError).
2. A key that the file leaves out has the default of the ``model_type``'s own configuration class in
   transformers 5.23 (class_defaults.json), and every default so used is an assumption of the answer.
   Hidden size, layers and heads of a flat config have no default: without them a file is broken.
3. Every key that the file holds was read, or is known to have no influence on memory (ignored.py),
   or has the value that the class has anyway. Anything else is refused by name (``finish``).
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from functools import lru_cache
from typing import Any, NoReturn

from kvcalc.convert.ignored import is_ignored
from kvcalc.convert.limits import Limits, limits_of
from kvcalc.errors import Problem, SpecError, UnsupportedError
from kvcalc.names import listed, meant
from kvcalc.spec.layers import MAX_LAYERS

# No dimension of a model comes near; 10^30 layers are a typing error or an attack.
MAX_DIMENSION = 10**10

# A flat config that lacks one of these is broken or foreign: a default would be another model's.
IDENTITY = ("hidden_size", "num_hidden_layers", "num_attention_heads", "vocab_size")

_STRUCTURAL = re.compile(
    r"layer|head|hidden|size|dim|rank|expert|window|(^|_)kv|latent|conv|state|bias|mlp|ffn|embed"
    r"|norm|attn|attention|vocab|moe|mtp|nextn|share|group|cross|gate|mamba|ssm|recur|lora|proj|tie"
    r"|width|depth|block|pattern|index|compress|recurs|sparse|loop|memory"
)

_UNSET: Any = object()

_MTP_KEYS = (
    "num_nextn_predict_layers", "mtp_num_hidden_layers", "num_mtp_layers", "num_mtp_modules",
)  # fmt: skip

# Of more keys than a real config has, so many are named, and so many are problems of their own.
MAX_NAMED, MAX_PROBLEMS = 50, 200


@lru_cache(maxsize=1)
def class_defaults() -> dict[str, Any]:
    """What transformers' configuration classes hold when a file says nothing, by model_type."""
    import json
    from pathlib import Path

    # importlib.resources would read zip files, temporary folders and random numbers for it.
    text = Path(__file__).with_name("class_defaults.json").read_text("utf-8")
    table: dict[str, Any] = json.loads(text)
    return table


def reader(
    values: Mapping[str, Any], model_type: str, *, path: str, assumptions: list[str],
    where: str = "", nested: bool = False,
) -> "Config":  # fmt: skip
    """A Config with the defaults of the model_type's class."""
    entry = class_defaults().get(model_type, {})
    return Config(
        values, model_type, class_name=entry.get("class", ""), defaults=entry.get("defaults"),
        aliases=entry.get("aliases"), path=path, where=where, nested=nested,
        assumptions=assumptions, limits=limits_of(entry) if entry else None,
    )  # fmt: skip


class Config:
    """The keys of one config (or of a nested one) of one ``model_type``.

    values: the JSON object. class_name, defaults, aliases: of transformers' configuration class.
    nested: a text_config inside another config, which may leave out even the identity.
    where: dotted path before the keys, for messages.
    """

    def __init__(
        self,
        values: Mapping[str, Any],
        model_type: str,
        *,
        class_name: str = "",
        defaults: Mapping[str, Any] | None = None,
        aliases: Mapping[str, str] | None = None,
        path: str = "config.json",
        where: str = "",
        nested: bool = False,
        assumptions: list[str] | None = None,
        limits: Limits | None = None,
    ) -> None:
        self.model_type = model_type
        self.assumptions: list[str] = [] if assumptions is None else assumptions
        self.nested = nested
        self.path = path
        self._values = values
        self._class = class_name
        self._defaults = defaults or {}
        self._aliases = dict(aliases or {})
        self._where = f"{where}." if where else ""
        self._read: set[str] = {"model_type", "architectures"}
        if limits is not None:
            limits.hold(self)

    # ------------------------------------------------------------ problems

    def wrong(self, key: str, message: str) -> NoReturn:
        """The file contradicts itself or holds a value of the wrong type."""
        field = f"{self._where}{key}"
        problem = Problem("KV104", self.path, 0, 0, field, message)
        raise SpecError(f"{self.path}: {field}: {message}", (problem,))

    def missing(self, key: str) -> NoReturn:
        """The file lacks a key that the model cannot be told without."""
        field = f"{self._where}{key}"
        message = f"required and missing: without it this is no {self.model_type} config"
        problem = Problem("KV103", self.path, 0, 0, field, message)
        raise SpecError(f"{self.path}: {field}: {message}", (problem,))

    def refuse(self, key: str, what: str) -> NoReturn:
        """The file says something that kvcalc knows it cannot account for."""
        self._refuse({key: what})

    def _refuse(self, reasons: Mapping[str, str]) -> NoReturn:
        """Refuse keys, each for its reason."""
        if len(reasons) == 1:
            [(key, what)] = reasons.items()
            said = f"{self._where}{_shown(key)} = {short(self._values.get(key))}: {what}"
        else:
            keys = ", ".join(f"{self._where}{_shown(key)}" for key in [*reasons][:MAX_NAMED])
            if len(reasons) > MAX_NAMED:
                keys += f" and {len(reasons) - MAX_NAMED:,} more"
            said = f"{len(reasons)} keys that nothing accounts for: {keys}"
        by_hand = "write the spec by hand ('kvcalc schema' has the language)"
        raise UnsupportedError(f"{self.path}: {said}; {by_hand}", tuple(
            Problem("KV106", self.path, 0, 0, f"{self._where}{_shown(key)}", what)
            for key, what in [*reasons.items()][:MAX_PROBLEMS]
        ))  # fmt: skip

    def assume(self, key: str, value: Any, reason: str) -> None:
        """Record a value that the file leaves out."""
        self.assumptions.append(f"{self._where}{key} = {short(value)}: {reason}")

    # ------------------------------------------------------------ raw values

    @property
    def values(self) -> Mapping[str, Any]:
        """The keys as the file has them, unchecked."""
        return self._values

    def own(self, key: str) -> str:
        """What the class calls a key."""
        return key if key in self._defaults else self._aliases.get(key, key)

    def stated(self, key: str) -> Any:
        """The value in the file, unchecked, or the class's default; the key does not count as read."""
        name = self.spelling(key)
        return self._defaults.get(self.own(key)) if name is None else self._values[name]

    def _spellings(self, key: str) -> Iterable[str]:
        """The key as asked for, as the class spells it, and whatever else the class maps to it."""
        own = self._aliases.get(key, key)
        yield own
        if own != key:
            yield key
        yield from (name for name, target in self._aliases.items() if target == own and name != key)

    def spelling(self, key: str) -> str | None:
        """The spelling in which the file holds the key; None when it does not."""
        return next((name for name in self._spellings(key) if name in self._values), None)

    def has(self, key: str) -> bool:
        """Whether the file holds the key with a value."""
        name = self.spelling(key)
        return name is not None and self._values[name] is not None

    def also(self, key: str, old: str) -> None:
        """An older spelling of a key, which its class still reads."""
        self._aliases.setdefault(old, key)

    def skip(self, *keys: str) -> None:
        """Keys whose value makes no difference for this type."""
        self._read.update(keys)

    def fixed(
        self, key: str, *values: Any, what: str = "only the usual value is accounted for"
    ) -> None:
        """The key, if the file holds it, must have one of these values."""
        self._read.add(key)
        if key in self._values and self._values[key] not in values:
            self.refuse(key, what)

    def value(self, key: str, default: Any = _UNSET) -> Any:
        """The key's value as it stands; the class default, recorded, when the file leaves it out.

        default: used instead of the class default where transformers fills the key in by other means.
        """
        name = self.spelling(key)
        self._read.update(self._spellings(key))
        if name is not None:
            return self._values[name]
        if key in IDENTITY and not self.nested and default is _UNSET:
            self.missing(key)
        own = self._aliases.get(key, key)
        if default is not _UNSET:
            return default
        if own not in self._defaults:
            own = key  # KimiLinearConfig has a field whose name it maps to another.
        if own not in self._defaults:
            self.missing(key)
        found = self._defaults[own]
        if found is not None:
            self.assume(own, found, f"not in the file; the default of transformers' {self._class}")
        return found

    # ------------------------------------------------------------ typed values

    def number(self, key: str, default: Any = _UNSET, *, least: int = 1) -> int:
        """A whole number."""
        value = self.maybe(key, default, least=least)
        if value is None:
            if self.spelling(key) is None:
                self.missing(key)
            self.wrong(key, "has no value")
        return value

    def maybe(self, key: str, default: Any = _UNSET, *, least: int = 1) -> int | None:
        """A whole number, or None where the key is null."""
        value = self.value(key, default)
        return None if value is None else self.whole(key, value, least=least)

    def whole(self, key: str, value: Any, *, least: int = 1) -> int:
        """Check that a value is a whole number in range."""
        if isinstance(value, bool) or not isinstance(value, int):
            self.wrong(key, f"expected a whole number, found {short(value)}")
        most = MAX_LAYERS if "layers" in key else MAX_DIMENSION
        if not least <= value <= most:
            self.wrong(key, f"{short(value)} is out of range ({least} to {most})")
        return value

    def count(self, key: str, default: Any = _UNSET) -> int:
        """A whole number that may be zero; null counts as zero."""
        return self.maybe(key, default, least=0) or 0

    def flag(self, key: str, default: Any = _UNSET) -> bool:
        """A truth value; null counts as false."""
        value = self.value(key, default)
        if value is not None and not isinstance(value, bool):
            self.wrong(key, f"expected true or false, found {short(value)}")
        return bool(value)

    def word(self, key: str, default: Any = _UNSET) -> str | None:
        """Text, or None where the key is null."""
        value = self.value(key, default)
        if value is not None and not isinstance(value, str):
            self.wrong(key, f"expected text, found {short(value)}")
        return value

    def listed(
        self, key: str, length: int | None = None, default: Any = _UNSET
    ) -> list[Any] | None:
        """A list of the given length, or None where the key is null."""
        value = self.value(key, default)
        if value is None:
            return None
        if not isinstance(value, list | tuple):
            self.wrong(key, f"expected a list, found {short(value)}")
        if length is not None and len(value) != length:
            self.wrong(key, f"has {len(value)} entries for {length} layers")
        return list(value)

    def words(self, key: str, length: int | None = None, default: Any = _UNSET) -> list[str] | None:
        """A list of words, or None."""
        items = self.listed(key, length, default)
        for item in items or ():
            if not isinstance(item, str):
                self.wrong(key, f"expected words, found {short(item)}")
        return items

    def numbers(
        self, key: str, length: int | None = None, default: Any = _UNSET, *, least: int = 0
    ) -> list[int] | None:
        """A list of whole numbers, or None."""
        items = self.listed(key, length, default)
        return None if items is None else [self.whole(key, item, least=least) for item in items]

    def real(self, key: str, default: Any = _UNSET) -> float:
        """A finite number, for sizes that a config gives as a factor."""
        value = self.value(key, default)
        if isinstance(value, bool) or not isinstance(value, int | float) or value != value:
            self.wrong(key, f"expected a number, found {short(value)}")
        if not 0 <= value <= MAX_DIMENSION:
            self.wrong(key, f"{short(value)} is out of range")
        return value

    def table(self, key: str) -> Mapping[str, Any]:
        """A nested object; empty where the file has none."""
        value = self._values.get(key)
        self._read.add(key)
        if value is None:
            return {}
        if not isinstance(value, dict):
            self.wrong(key, f"expected an object, found {short(value)}")
        return value

    def inside(self, key: str, class_name: str) -> "Config":
        """A reader of a nested object of this config; its own ``finish`` is the caller's to call."""
        return Config(
            self.table(key), self.model_type, class_name=class_name, path=self.path,
            where=f"{self._where}{key}", nested=True, assumptions=self.assumptions,
        )  # fmt: skip

    def child(self, key: str, model_type: str) -> "Config":
        """A reader of a nested config with the defaults of its own class (T5Gemma's two sides)."""
        return reader(
            self.table(key), model_type, path=self.path, where=f"{self._where}{key}", nested=True,
            assumptions=self.assumptions,
        )  # fmt: skip

    # ------------------------------------------------------------ the dimensions that all share

    @property
    def hidden_size(self) -> int:
        return self.number("hidden_size")

    @property
    def num_layers(self) -> int:
        return self.number("num_hidden_layers")

    @property
    def num_heads(self) -> int:
        return self.number("num_attention_heads")

    def num_kv_heads(self, key: str = "num_key_value_heads") -> int:
        """KV heads: as stated; as many as query heads where the class says null."""
        stated = self.maybe(key)
        if stated is None:
            if not self.has(key):
                self.assume(key, self.num_heads, "not in the file; as many as query heads")
            return self.num_heads
        return stated

    def head_dim(self, key: str = "head_dim") -> int:
        """Width of a head: as stated; hidden_size / num_attention_heads where the class says so."""
        own = self._aliases.get(key, key)
        stated = self.maybe(key, self._defaults.get(own))
        if stated is not None:
            if not self.has(key):
                self.assume(
                    own, stated, f"not in the file; the default of transformers' {self._class}"
                )
            return stated
        return self.divide("hidden_size", self.hidden_size, self.num_heads)

    def divide(self, key: str, size: int, parts: int) -> int:
        """size / parts, which must be whole."""
        width, rest = divmod(size, parts)
        if rest or not width:
            self.wrong(key, f"{size} is not divisible by {parts} heads")
        return width

    def agree(self, key: str, expected: Any) -> None:
        """A second spelling of what another key, or the class, has said already."""
        self._read.add(key)
        if key in self._values and self._values[key] not in (None, expected):
            self.refuse(key, f"contradicts {short(expected)}, which transformers builds")

    def mtp_modules(self) -> int:
        """Layers that predict further tokens: no causal model of transformers builds them."""
        found = 0
        for key in _MTP_KEYS:
            if self._values.get(key) is not None:
                found = max(found, self.whole(key, self._values[key], least=0))
        self._read.update(_MTP_KEYS)
        self._read.update(key for key in self._values if key.startswith("mtp_"))
        self._read.update(("use_mtp", "index_share_for_mtp_iteration"))
        return found

    # ------------------------------------------------------------ the end

    def finish(self) -> None:
        """Refuse what the file says and nothing has accounted for; note what was ignored."""
        refused = dict(self._twice())
        ignored: list[str] = []
        for key, value in self._values.items():
            if key in self._read or is_ignored(key):
                continue
            own = self._aliases.get(key, key)
            if own in self._defaults:
                if own in self._read or _same(value, self._defaults[own]):
                    continue
                only = f"{key} = {short(self._defaults[own])} only"
                refused[key] = f"kvcalc accounts for {self.model_type} with {only}"
                continue
            if value is None or value is False or value in ("", [], {}):
                continue
            # A number of things that is zero is a feature that is off.
            if value != 0 and _STRUCTURAL.search(key.lower()):
                near = meant(key, [name for name in self._defaults if name not in self._values])
                instead = f" (did you mean {listed(near)}?)" if near else ""
                refused[key] = (
                    f"transformers' {self._class or self.model_type} has no such field{instead}, and by "
                    f"its name it could change the model's tensors"
                )
                continue
            ignored.append(key)
        for key in ignored[:MAX_NAMED]:
            self.assumptions.append(f"ignored key '{self._where}{_shown(key)}'")
        if len(ignored) > MAX_NAMED:
            self.assumptions.append(f"ignored {len(ignored) - MAX_NAMED:,} more keys")
        if refused:
            self._refuse(refused)

    def _twice(self) -> Iterator[tuple[str, str]]:
        """Keys that say a field again, otherwise: transformers takes the one that is set last."""
        for key, own in self._aliases.items():
            said, again = self._values.get(own), self._values.get(key)
            # KimiLinearConfig has a field whose name it maps to another.
            if key in self._defaults or said is None or again is None or said == again:
                continue
            yield key, f"contradicts {own} = {short(said)}, which is the same field"


def _same(value: Any, default: Any) -> bool:
    return bool(value == default) and isinstance(value, bool) == isinstance(default, bool)


def _shown(key: str) -> str:
    """A key as a message shows it; one that would break the line, quoted."""
    return key if key.isprintable() and len(key) <= 60 else short(key)


def short(value: Any) -> str:
    """A value as a message shows it."""
    import json

    try:
        text = json.dumps(value, default=str)
    except (ValueError, RecursionError):
        text = "a number too large to print"
    return text if len(text) <= 60 else f"{text[:57]}..."

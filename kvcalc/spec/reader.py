"""YAML nodes -> frozen dataclasses, with every problem of a file at once and where it stands.

The reader walks the composed node graph instead of loaded values, because only the nodes still
know their line and column, their raw text (``010``, ``1:30`` and ``yes`` are what was written, not
8, 90 and True), and the keys that stand twice.
"""

import re
from collections.abc import Iterator
from dataclasses import MISSING, Field, fields, is_dataclass
from fractions import Fraction
from importlib import import_module
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin

import yaml

from kvcalc.errors import Problem
from kvcalc.spec.model import Bytes, Tokens
from kvcalc.units import parse_bytes, parse_tokens

MAX_FILE_BYTES = 1 << 20
MAX_DEPTH = 60
MAX_NODES = 50_000
# No dimension of a model comes near; 10^30 layers are a typing error.
MAX_INTEGER = 10**15

_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_INTEGER = re.compile(r"-?(0|[1-9][0-9]*)")
_FRACTION = re.compile(r"(0|[1-9][0-9]*)(?:/([1-9][0-9]*)|\.([0-9]{1,18}))?")
# Inline nesting is the only way to pass a recursive composer's depth within the size limit.
_STEEP = re.compile(r"[-?:][ \t]+[-?:][ \t]+[-?:][ \t]")
_TAGS = {
    "tag:yaml.org,2002:" + name
    for name in ("str", "int", "float", "bool", "null", "map", "seq", "timestamp", "merge")
}

FAILED: Any = object()


class SpecReader:
    """Reads one document. ``problems`` and ``marks`` (field path -> line, column) fill up as it goes."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.problems: list[Problem] = []
        self.marks: dict[str, tuple[int, int]] = {}
        self._num_nodes = 0
        self._open: set[int] = set()

    # ------------------------------------------------------------ documents

    def compose(self, text: str) -> yaml.Node | None:
        """Parse the text; a problem is recorded and None returned when it is no YAML mapping."""
        if len(text) > MAX_FILE_BYTES:
            self.problem("KV101", "", (0, 0), f"larger than {MAX_FILE_BYTES} bytes: not a spec")
            return None
        try:
            if text.count("[") + text.count("{") > 4 * MAX_DEPTH or _STEEP.search(text):
                self._refuse_deep(text)
            node = yaml.compose(text, Loader=_LOADER)
        except (yaml.YAMLError, RecursionError, ValueError) as error:
            mark = getattr(error, "problem_mark", None)
            where = (mark.line + 1, mark.column + 1) if mark else (0, 0)
            reason = getattr(error, "problem", None) or getattr(error, "reason", None) or str(error)
            self.problem("KV101", "", where, f"not YAML: {reason}")
            return None
        if not isinstance(node, yaml.MappingNode):
            self.problem("KV101", "", (0, 0), "a spec is a mapping of keys to values")
            return None
        return node

    def _refuse_deep(self, text: str) -> None:
        depth = 0
        for number, event in enumerate(yaml.parse(text, Loader=_LOADER)):
            if isinstance(event, yaml.CollectionStartEvent):
                depth += 1
            elif isinstance(event, yaml.CollectionEndEvent):
                depth -= 1
            if depth > MAX_DEPTH or number > 4 * MAX_NODES:
                raise ValueError(f"nested deeper than {MAX_DEPTH}, or too many values")

    # ------------------------------------------------------------ problems

    def problem(self, code: str, where: str, mark: tuple[int, int], message: str) -> None:
        """Record a problem at a (line, column)."""
        self.problems.append(Problem(code, self.path, *mark, where, message))

    def report(self, code: str, where: str, message: str) -> None:
        """Record a problem at a field path, or at its nearest parent that stands in the file."""
        parent = where
        while parent and parent not in self.marks:
            parent = re.sub(r"(\.[^.\[]+|\[\d+\]|^[^.\[]+)$", "", parent)
        self.problem(code, where, self.marks.get(parent, (1, 1)), message)

    # ------------------------------------------------------------ nodes

    def read(self, node: yaml.Node, kind: Any, where: str, meta: Any = None) -> Any:
        """The value of a node as ``kind``, or FAILED after recording why not."""
        mark = (node.start_mark.line + 1, node.start_mark.column + 1)
        self.marks.setdefault(where, mark)
        self._num_nodes += 1
        if self._num_nodes > MAX_NODES:
            if self._num_nodes == MAX_NODES + 1:
                self.problem("KV101", where, mark, f"more than {MAX_NODES} values: not a spec")
            return FAILED
        if id(node) in self._open:
            self.problem("KV108", where, mark, "an anchor that contains itself")
            return FAILED
        if node.tag not in _TAGS:
            self.problem("KV108", where, mark, f"a spec has no tags: remove {node.tag}")
            return FAILED
        self._open.add(id(node))
        try:
            return self._read(node, kind, where, mark, meta or {})
        finally:
            self._open.discard(id(node))

    def _read(
        self, node: yaml.Node, kind: Any, where: str, mark: tuple[int, int], meta: Any
    ) -> Any:
        if "lazy" in meta or "kinds" in meta:
            if _is_null(node):
                return None
            if "kinds" in meta:
                return self._mechanism(node, meta["kinds"], where, mark)
            module, name = meta["lazy"]
            return self._dataclass(node, getattr(import_module(module), name), where, mark)
        origin = get_origin(kind)
        if origin in (UnionType, Union):
            if _is_null(node):
                return None
            kind = next(arg for arg in get_args(kind) if arg is not NoneType)
            origin = get_origin(kind)
        if origin is tuple:
            return self._tuple(node, get_args(kind)[0], where, meta)
        if origin is dict:
            key_kind, item = get_args(kind)
            return self._dict(node, key_kind, item, where, mark)
        if is_dataclass(kind):
            return self._dataclass(node, kind, where, mark)
        if not isinstance(node, yaml.ScalarNode):
            self.problem("KV104", where, mark, f"expected {_say(kind)}, found a {_say_node(node)}")
            return FAILED
        return self._scalar(node, kind, where, mark, meta)

    def _scalar(
        self, node: yaml.ScalarNode, kind: Any, where: str, mark: tuple[int, int], meta: Any
    ) -> Any:
        text, quoted = str(node.value), node.style in ("'", '"')
        if get_origin(kind) is Literal:
            choices = get_args(kind)
            if text not in choices:
                known = ", ".join(choices)
                self.problem("KV106", where, mark, f"'{text}' is none of: {known}{near(text, choices)}")
                return FAILED
            return text
        if kind is str:
            if not quoted and node.tag != "tag:yaml.org,2002:str":
                self.problem("KV104", where, mark, f"expected text, found {text or 'nothing'}: quote it")
                return FAILED
            return text
        if quoted:
            self.problem("KV104", where, mark, f'expected {_say(kind)}, found text: remove the quotes')
            return FAILED
        if kind is bool:
            if text not in ("true", "false"):
                self.problem("KV104", where, mark, f"expected true or false, found {text or 'nothing'}")
                return FAILED
            return text == "true"
        try:
            if kind is Tokens:
                return Tokens(parse_tokens(text))
            if kind is Bytes:
                return Bytes(parse_bytes(text))
        except ValueError as error:
            self.problem("KV104", where, mark, str(error))
            return FAILED
        if kind is Fraction:
            match = _FRACTION.fullmatch(text)
            if match is None or (share := Fraction(text)) > 1:
                self.problem("KV104", where, mark, f"expected a share such as 2/3 or 0.5, found {text}")
                return FAILED
            return share
        return self._integer(text, where, mark, meta.get("min", 1))

    def _integer(self, text: str, where: str, mark: tuple[int, int], least: int) -> Any:
        if not _INTEGER.fullmatch(text):
            hint = " (readers of YAML disagree on what this is)" if text[:1].isdigit() else ""
            self.problem("KV104", where, mark, f"expected a whole number, found {text or 'nothing'}{hint}")
            return FAILED
        # Length first: int() of a million digits is slow.
        if len(text) > 20 or abs(int(text)) > MAX_INTEGER:
            self.problem("KV107", where, mark, "larger than any model: at most 10^15")
            return FAILED
        if int(text) < least:
            self.problem("KV107", where, mark, f"must be at least {least}, found {text}")
            return FAILED
        return int(text)

    def _tuple(self, node: yaml.Node, item: Any, where: str, meta: Any) -> Any:
        if isinstance(node, yaml.ScalarNode) and not _is_null(node):
            # `bias: q` and `source: https://...` say the same as a list of one.
            value = self._read(node, item, where, self.marks[where], meta)
            return FAILED if value is FAILED else (value,)
        if not isinstance(node, yaml.SequenceNode):
            self.problem("KV104", where, self.marks[where], f"expected a list, found a {_say_node(node)}")
            return FAILED
        values = [self.read(n, item, f"{where}[{i}]", meta) for i, n in enumerate(node.value)]
        return FAILED if any(value is FAILED for value in values) else tuple(values)

    def _dict(
        self, node: yaml.Node, key_kind: Any, kind: Any, where: str, mark: tuple[int, int]
    ) -> Any:
        result: dict[str, Any] = {}
        choices = _literals(key_kind)
        for key, key_mark, value in self._items(node, where, mark):
            if choices and key not in choices:
                self.problem("KV102", where, key_mark, f"unknown key '{key}'{near(key, choices)}")
                continue
            result[key] = self.read(value, kind, f"{where}.{key}")
        return FAILED if any(value is FAILED for value in result.values()) else result

    def _mechanism(self, node: yaml.Node, package: str, where: str, mark: tuple[int, int]) -> Any:
        """A mapping whose ``kind`` picks one of the package's mechanisms."""
        registry: dict[str, tuple[str, str]] = import_module(package).KINDS
        kinds = [value for key, _, value in self._items(node, where, mark) if key == "kind"]
        # Read again below by the dataclass: problems of the mapping itself are recorded once.
        if not kinds:
            if isinstance(node, yaml.MappingNode):
                known = ", ".join(registry)
                self.problem("KV103", f"{where}.kind", mark, f"required; one of {known}")
            return FAILED
        name = str(kinds[0].value)
        if name not in registry:
            at = (kinds[0].start_mark.line + 1, kinds[0].start_mark.column + 1)
            elsewhere = ""
            for other in ("attention", "recurrent", "ffn"):
                if name in import_module(f"kvcalc.{other}").KINDS:
                    elsewhere = f" ({name} belongs under '{other}:')"
            message = f"unknown kind '{name}'{elsewhere or near(name, registry) or _known(registry)}"
            self.problem("KV106", f"{where}.kind", at, message)
            return FAILED
        module, cls = registry[name]
        return self._dataclass(node, getattr(import_module(module), cls), where, mark)

    def _dataclass(self, node: yaml.Node, cls: Any, where: str, mark: tuple[int, int]) -> Any:
        known: dict[str, Field[Any]] = {field.name: field for field in fields(cls)}
        values: dict[str, Any] = {}
        prefix = f"{where}." if where else ""
        if not isinstance(node, yaml.MappingNode):
            self.problem("KV104", where, mark, f"expected a mapping, found a {_say_node(node)}")
            return FAILED
        for key, key_mark, value in self._items(node, where, mark):
            if key not in known:
                message = f"unknown key '{key}'{near(key, known)}"
                self.problem("KV102", f"{prefix}{key}", key_mark, message)
                continue
            field = known[key]
            optional = field.default is None or "None" in str(field.type)
            if _is_null(value) and not optional:
                self.problem("KV104", f"{prefix}{key}", key_mark, "has no value")
                values[key] = FAILED
                continue
            values[key] = self.read(value, field.type, f"{prefix}{key}", field.metadata)
        for name, field in known.items():
            required = field.default is MISSING and field.default_factory is MISSING
            if required and name not in values:
                self.problem("KV103", f"{prefix}{name}", mark, "required and missing")
                values[name] = FAILED
        if any(value is FAILED for value in values.values()):
            return FAILED
        return cls(**values)

    def _items(
        self, node: yaml.Node, where: str, mark: tuple[int, int]
    ) -> list[tuple[str, tuple[int, int], yaml.Node]]:
        """Keys and value nodes of a mapping, ``<<`` merged in; a mapping's own keys win."""
        if not isinstance(node, yaml.MappingNode):
            self.problem("KV104", where, mark, f"expected a mapping, found a {_say_node(node)}")
            return []
        own: dict[str, tuple[tuple[int, int], yaml.Node]] = {}
        merged: dict[str, tuple[tuple[int, int], yaml.Node]] = {}
        for key_node, value in node.value:
            key_mark = (key_node.start_mark.line + 1, key_node.start_mark.column + 1)
            if key_node.tag == "tag:yaml.org,2002:merge":
                for key, at, inherited in self._merged(value, where, key_mark):
                    merged.setdefault(key, (at, inherited))
                continue
            if not isinstance(key_node, yaml.ScalarNode):
                self._once("KV104", where, key_mark, "a key is a word")
                continue
            key = str(key_node.value)
            if key in own:
                first = own[key][0][0]
                self._once("KV105", f"{where}.{key}".lstrip("."), key_mark,
                           f"'{key}' already stands at line {first}")  # fmt: skip
                continue
            own[key] = (key_mark, value)
        items = {**merged, **own}
        return [(key, at, value) for key, (at, value) in items.items()]

    def _merged(
        self, node: yaml.Node, where: str, mark: tuple[int, int]
    ) -> Iterator[tuple[str, tuple[int, int], yaml.Node]]:
        sources = node.value if isinstance(node, yaml.SequenceNode) else [node]
        for source in sources:
            if not isinstance(source, yaml.MappingNode) or id(source) in self._open:
                self._once("KV108", where, mark, "<< merges a mapping that was anchored before")
                continue
            self._num_nodes += 1
            self._open.add(id(source))
            if self._num_nodes <= MAX_NODES:
                yield from self._items(source, where, mark)
            self._open.discard(id(source))

    def _once(self, code: str, where: str, mark: tuple[int, int], message: str) -> None:
        """Record a problem that two passes over one mapping would both find."""
        problem = Problem(code, self.path, *mark, where, message)
        if problem not in self.problems:
            self.problems.append(problem)


def near(word: str, known: Any) -> str:
    """`` (did you mean 'x'?)`` for the nearest known word, or nothing."""
    from difflib import get_close_matches

    matches = get_close_matches(word, list(known), n=1, cutoff=0.6)
    return f" (did you mean '{matches[0]}'?)" if matches else ""


def _known(registry: Any) -> str:
    return f"; known: {', '.join(registry)}"


def _is_null(node: yaml.Node) -> bool:
    return isinstance(node, yaml.ScalarNode) and node.tag == "tag:yaml.org,2002:null"


def _literals(kind: Any) -> tuple[str, ...]:
    """The words of a Literal, nested ones too."""
    if get_origin(kind) is not Literal:
        return ()
    return tuple(get_args(kind))


def _say(kind: Any) -> str:
    names = {int: "a whole number", bool: "true or false", str: "text", Fraction: "a share",
             Tokens: "a token count", Bytes: "a size"}  # fmt: skip
    return names.get(kind, "a word")


def _say_node(node: yaml.Node) -> str:
    if isinstance(node, yaml.MappingNode):
        return "mapping"
    if isinstance(node, yaml.SequenceNode):
        return "list"
    return "value that is empty" if _is_null(node) else f"single value ({str(node.value)[:40]})"

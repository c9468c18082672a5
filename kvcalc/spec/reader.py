"""YAML nodes -> frozen dataclasses, with every problem of a file at once and where it stands.

The reader walks the composed node graph instead of loaded values, because only the nodes still
know their line and column, their raw text (``010``, ``1:30`` and ``yes`` are what was written, not
8, 90 and True), and the keys that stand twice.

A file is somebody else's: every quantity it controls has a bound (bytes, depth, values after
aliases and merges, problems, the length of what a message quotes), so that the worst one ends in an
error, soon, and prints nothing that a terminal would act on.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import is_dataclass
from importlib import import_module
from typing import Any, get_args, get_origin

import yaml

from kvcalc.errors import Problem
from kvcalc.spec.fields import is_word, required_fields, spec_fields
from kvcalc.spec.model import Bytes, LayerGroup, Tokens
from kvcalc.spec.parser import Parser
from kvcalc.spec.words import (
    MAX_QUOTED,
    home_of,
    meanings,
    missing,
    near,
    plain_yaml,
    quoted,
    say,
    say_node,
    shortened,
)
from kvcalc.units import parse_bytes, parse_tokens

MAX_FILE_BYTES = 1 << 18
MAX_DEPTH = 60
MAX_NODES = 50_000
MAX_PROBLEMS = 200
MAX_MESSAGE = 400
MAX_INTEGER = 10**15

# Where text may have lines; a name with a line break would be a line of its own in what is printed.
_PROSE = ("notes", "source", "left_out")
_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,39}")
_INTEGER = re.compile(r"-?(0|[1-9][0-9]*)")
_SHORT = re.compile(r"[1-9][0-9]{0,9}[kKmM]")
_SHARE = r"(0|[1-9][0-9]{0,17})(?:/([1-9][0-9]{0,17})|\.([0-9]{1,18}))?"
# What YAML 1.1 does not allow in a stream; looked for here so that every parser says the same.
_NOT_YAML = yaml.reader.Reader.NON_PRINTABLE
# Only inline nesting passes a composer's depth within the size limit.
_STEEP = re.compile(r"[-?:][ \t]+[-?:][ \t]+[-?:][ \t]")


def _tags(*names: str) -> frozenset[str]:
    return frozenset(f"tag:yaml.org,2002:{name}" for name in names)


# What a node without a tag resolves to; anything else was written as a tag.
_TAGS: dict[type, frozenset[str]] = {
    yaml.ScalarNode: _tags("str", "int", "float", "bool", "null", "timestamp", "merge", "value"),
    yaml.SequenceNode: _tags("seq"),
    yaml.MappingNode: _tags("map"),
}
_INT, _BOOL = "tag:yaml.org,2002:int", "tag:yaml.org,2002:bool"
_STR, _NULL = "tag:yaml.org,2002:str", "tag:yaml.org,2002:null"
_MERGE = "tag:yaml.org,2002:merge"

FAILED: Any = object()
_PLAIN: Mapping[str, Any] = {"min": 1}

Mark = tuple[int, int]
Items = list[tuple[str, Mark, yaml.Node]]


class _EnoughError(Exception):
    """Reading on would cost more than it tells."""


class SpecReader:
    """Reads one document. ``problems`` and ``marks`` (field path -> line, column) fill up."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.problems: list[Problem] = []
        self.marks: dict[str, Mark] = {}
        self._found: set[tuple[str, str, Mark, str]] = set()
        self._num_nodes = 0
        self._open: set[int] = set()

    # ------------------------------------------------------------ documents

    def document(self, text: str, cls: type) -> Any:
        """The text as ``cls``, or FAILED when anything is wrong with its form."""
        try:
            node = self._compose(text)
            value = FAILED if node is None else self.read(node, cls, "")
        except _EnoughError:
            return FAILED
        return FAILED if self.problems else value

    def _compose(self, text: str) -> yaml.Node | None:
        """Parse the text; a problem is recorded and None returned when it is no YAML mapping."""
        if len(text) > MAX_FILE_BYTES:
            self.problem("KV101", "", (0, 0), f"larger than {MAX_FILE_BYTES} bytes: not a spec")
            return None
        character = _NOT_YAML.search(text)
        if character is not None:
            line = text.count("\n", 0, character.start()) + 1
            column = character.start() - text.rfind("\n", 0, character.start())
            message = f"not YAML: the character U+{ord(character[0]):04X} may not stand in it"
            self.problem("KV101", "", (line, column), message)
            return None
        try:
            if text.count("[") + text.count("{") > 4 * MAX_DEPTH or _STEEP.search(text):
                self._refuse_deep(text)
            node = yaml.compose(text, Loader=Parser)
        except (yaml.YAMLError, RecursionError, ValueError) as error:
            mark = getattr(error, "problem_mark", None)
            where = (mark.line + 1, mark.column + 1) if mark else (0, 0)
            said = [getattr(error, part, None) for part in ("context", "problem")]
            reason = ", ".join(part for part in said if part) or str(error)
            self.problem("KV101", "", where, f"not YAML: {plain_yaml(reason)}")
            return None
        if not isinstance(node, yaml.MappingNode):
            self.problem("KV101", "", (1, 1), "a spec is a mapping of keys to values")
            return None
        return node

    def _refuse_deep(self, text: str) -> None:
        depth = 0
        for number, event in enumerate(yaml.parse(text, Loader=Parser)):
            if isinstance(event, yaml.CollectionStartEvent):
                depth += 1
            elif isinstance(event, yaml.CollectionEndEvent):
                depth -= 1
            if depth > MAX_DEPTH or number > 2 * MAX_NODES:
                raise ValueError(f"nested deeper than {MAX_DEPTH}, or too many values")

    def keys(self, text: str) -> frozenset[str]:
        """The keys that a text has at its top; none of what is no YAML mapping."""
        node = self._compose(text)
        pairs = () if node is None else node.value
        return frozenset(key.value for key, _ in pairs if isinstance(key, yaml.ScalarNode))

    # ------------------------------------------------------------ problems

    def problem(self, code: str, where: str, mark: Mark, message: str) -> None:
        """Record a problem at a (line, column); one of an anchor used twice counts once."""
        found = (code, where.rpartition(".")[2], mark, message)
        if found in self._found:
            return
        if len(self.problems) == MAX_PROBLEMS:
            message = f"more than {MAX_PROBLEMS} problems: these are the first"
            self.problems.append(Problem("KV101", self.path, 0, 0, "", message))
            raise _EnoughError
        self._found.add(found)
        if len(message) > MAX_MESSAGE:
            message = f"{message[:MAX_MESSAGE]}..."
        self.problems.append(Problem(code, self.path, *mark, where, message))

    def report(self, findings: Iterable[tuple[str, str, str]]) -> None:
        """Record (code, field path, message) where the field, or its nearest parent, stands."""
        try:
            for code, where, message in findings:
                self.problem(code, where, self.mark(where), message)
        except _EnoughError:
            return

    def mark(self, where: str) -> Mark:
        """Line and column of a field, or of its nearest parent that stands in the file."""
        while where and where not in self.marks:
            where = where[: max(where.rfind("."), where.rfind("["), 0)]
        return self.marks.get(where, (1, 1))

    def _count(self, num_nodes: int, where: str, mark: Mark) -> None:
        self._num_nodes += num_nodes
        if self._num_nodes > MAX_NODES:
            self.problem("KV101", where, mark, f"more than {MAX_NODES} values: not a spec")
            raise _EnoughError

    # ------------------------------------------------------------ nodes

    def read(self, node: yaml.Node, kind: Any, where: str, meta: Mapping[str, Any] = _PLAIN) -> Any:
        """The value of a node as ``kind``, or FAILED after recording why not."""
        mark = _mark(node)
        self.marks.setdefault(where, mark)
        self._count(1, where, mark)
        if id(node) in self._open:
            self.problem("KV108", where, mark, "an anchor that contains itself")
            return FAILED
        if node.tag not in _TAGS[type(node)]:
            self.problem("KV108", where, mark, f"a spec has no tags: remove {_tag(node)}")
            return FAILED
        if isinstance(node, yaml.ScalarNode):
            return self._read(node, kind, where, mark, meta)
        self._open.add(id(node))
        try:
            return self._read(node, kind, where, mark, meta)
        finally:
            self._open.discard(id(node))

    def _read(self, node: yaml.Node, kind: Any, where: str, mark: Mark, meta: Any) -> Any:
        if "named" in meta:
            return self._named(node, meta["kinds"], where, mark)
        if isinstance(node, yaml.ScalarNode) and is_word(kind) and "lazy" not in meta:
            return self._scalar(node, kind, where, mark, meta)
        if "kinds" in meta:
            return self._mechanism(node, meta["kinds"], where, mark)
        if "lazy" in meta:
            module, name = meta["lazy"]
            return self._dataclass(node, getattr(import_module(module), name), where, mark)
        if is_dataclass(kind):
            return self._dataclass(node, kind, where, mark)
        origin = get_origin(kind)
        if origin is tuple:
            return self._tuple(node, get_args(kind)[0], where, mark, meta)
        if origin is dict:
            key_kind, item = get_args(kind)
            return self._dict(node, key_kind, item, where, mark)
        if not isinstance(node, yaml.ScalarNode):
            self.problem("KV104", where, mark, f"expected {say(kind)}, found a {say_node(node)}")
            return FAILED
        return self._choice(node, get_args(kind), where, mark)

    def _choice(
        self, node: yaml.ScalarNode, choices: tuple[str, ...], where: str, mark: Mark
    ) -> Any:
        text = node.value
        if text not in choices:
            message = f"{quoted(text)} is none of: {', '.join(choices)}{near(text, choices)}"
            self.problem("KV106", where, mark, message)
            return FAILED
        return text

    def _scalar(self, node: yaml.ScalarNode, kind: Any, where: str, mark: Mark, meta: Any) -> Any:
        text: str = node.value
        if kind is str:
            return self._text(node, where, mark)
        if node.style in ("'", '"'):
            message = f"expected {say(kind)}, found text: remove the quotes"
            self.problem("KV104", where, mark, message)
            return FAILED
        if kind is int:
            return self._integer(node, where, mark, meta)
        if kind is bool:
            if text not in ("true", "false") or node.tag != _BOOL:
                self.problem("KV104", where, mark, f"expected true or false, found {_found(text)}")
                return FAILED
            return text == "true"
        if kind not in (Tokens, Bytes):
            return self._share(text, where, mark)
        try:
            parse = parse_tokens if kind is Tokens else parse_bytes
            return kind(parse(text if len(text) <= MAX_QUOTED else f"{text[:MAX_QUOTED]}..."))
        except ValueError as error:
            self.problem("KV104", where, mark, str(error))
            return FAILED

    def _share(self, text: str, where: str, mark: Mark) -> Any:
        # Only mixtures of recursions have shares, and the module costs a tenth of an estimate.
        from fractions import Fraction

        if not re.fullmatch(_SHARE, text) or (share := Fraction(text)) > 1:
            message = f"expected a share such as 2/3 or 0.5, found {_found(text)}"
            self.problem("KV104", where, mark, message)
            return FAILED
        return share

    def _text(self, node: yaml.ScalarNode, where: str, mark: Mark) -> Any:
        text = node.value
        if node.tag != _STR:
            message = f"expected text, found {_found(text)}: quote it" if text else "has no value"
        elif not text.strip():
            message = "expected text, found nothing between the quotes"
        elif "\n" in text and not where.startswith(_PROSE):
            message = f"expected one line, found a line break in {quoted(text)}"
        elif not text.replace("\n", "").isprintable():
            message = f"a character that does not print, in {quoted(text)}"
        else:
            return text
        self.problem("KV104", where, mark, message)
        return FAILED

    def _integer(self, node: yaml.ScalarNode, where: str, mark: Mark, meta: Any) -> Any:
        text, least, count = node.value, meta["min"], meta.get("count")
        if not _INTEGER.fullmatch(text):
            hint = " (readers of YAML disagree on what this is)" if text[:1].isdigit() else ""
            if _SHORT.fullmatch(text):
                hint = f": write {parse_tokens(text)}"
            message = f"expected a whole number, found {_found(text)}{hint}"
            self.problem("KV104", where, mark, message)
            return FAILED
        if node.tag != _INT:
            message = f"a spec has no tags: remove {_tag(node)}"
            self.problem("KV108", where, mark, message)
            return FAILED
        # Length first: int() of a million digits is slow.
        great = len(text) > 20 or int(text) > (MAX_INTEGER if count is None else count.most)
        if text.startswith("-") or (not great and int(text) < least):
            message = f"must be at least {least}, found {shortened(text)}"
        elif great and count is None:
            message = f"must be from {least} to 10^15, found {shortened(text)}"
        elif great:
            message = count.exceeded(shortened(text))
        else:
            return int(text)
        self.problem("KV107", where, mark, message)
        return FAILED

    def _tuple(self, node: yaml.Node, item: Any, where: str, mark: Mark, meta: Any) -> Any:
        if isinstance(node, yaml.ScalarNode) and node.tag != _NULL and not is_dataclass(item):
            # `bias: q` and `source: https://...` say the same as a list of one.
            value = self._read(node, item, where, mark, meta)
            return FAILED if value is FAILED else (value,)
        if not isinstance(node, yaml.SequenceNode):
            message = f"expected a list, found a {say_node(node)}{_as_group(item, node)}"
            self.problem("KV104", where, mark, message)
            return FAILED
        values = [self.read(n, item, f"{where}[{i}]", meta) for i, n in enumerate(node.value)]
        return FAILED if any(value is FAILED for value in values) else tuple(values)

    def _dict(self, node: yaml.Node, key_kind: Any, kind: Any, where: str, mark: Mark) -> Any:
        result: dict[str, Any] = {}
        choices = get_args(key_kind)
        items = self._items(node, where, mark)
        if items is None:
            return FAILED
        for key, key_mark, value in items:
            path = f"{where}.{shortened(key)}"
            if choices and key not in choices:
                message = f"unknown key {quoted(key)}{near(key, choices)}"
                self.problem("KV102", path, key_mark, message)
                continue
            result[key] = self.read(value, kind, path)
        return FAILED if any(value is FAILED for value in result.values()) else result

    def _named(self, node: yaml.Node, package: str, where: str, mark: Mark) -> Any:
        """Mechanisms by names that the file gives them."""
        items = self._items(node, where, mark)
        if items is None:
            return FAILED
        result: dict[str, Any] = {}
        for key, key_mark, value in items:
            if not _NAME.fullmatch(key):
                message = f"a name is letters, digits and underscores, not {quoted(key)}"
                self.problem("KV104", f"{where}.{shortened(key)}", key_mark, message)
                continue
            result[key] = self._mechanism(value, package, f"{where}.{key}", _mark(value))
        return FAILED if any(value is FAILED for value in result.values()) else result

    def _mechanism(self, node: yaml.Node, package: str, where: str, mark: Mark) -> Any:
        """A mapping whose ``kind`` picks one of the package's mechanisms."""
        registry: dict[str, tuple[str, str]] = import_module(package).KINDS
        items = self._items(node, where, mark)
        if items is None:
            return FAILED
        kind = next((value for key, _, value in items if key == "kind"), None)
        if kind is None:
            message = f"required and missing; one of {', '.join(registry)}"
            self.problem("KV103", f"{where}.kind", mark, message)
            return FAILED
        name = kind.value if isinstance(kind, yaml.ScalarNode) else ""
        if name not in registry:
            meant = meanings(name)
            elsewhere = "" if registry.keys() & {*meant} else home_of(name, *meant)
            hint = elsewhere or near(name, registry) or _known(registry)
            found = quoted(name) if name else f"({say_node(kind)})"
            self.problem("KV106", f"{where}.kind", _mark(kind), f"unknown kind {found}{hint}")
            return FAILED
        module, cls = registry[name]
        return self._fields(items, getattr(import_module(module), cls), where, mark)

    def _dataclass(self, node: yaml.Node, cls: Any, where: str, mark: Mark) -> Any:
        items = self._items(node, where, mark)
        return FAILED if items is None else self._fields(items, cls, where, mark)

    def _fields(self, items: Items, cls: Any, where: str, mark: Mark) -> Any:
        known = spec_fields(cls)
        values: dict[str, Any] = {}
        prefix = f"{where}." if where else ""
        for key, key_mark, value in items:
            field = known.get(key)
            if field is None:
                hint = near(key, known) or _as_group(cls, value, key)
                message = f"unknown key {quoted(key)}{hint}"
                self.problem("KV102", f"{prefix}{shortened(key)}", key_mark, message)
                continue
            path = f"{prefix}{key}"
            if value.tag == _NULL and isinstance(value, yaml.ScalarNode):
                if field.nullable:
                    self.marks.setdefault(path, key_mark)
                    values[key] = None
                else:
                    self.problem("KV104", path, key_mark, "has no value")
                    values[key] = FAILED
                continue
            values[key] = self.read(value, field.kind, path, field.meta)
        for name in required_fields(cls):
            if name not in values:
                self.problem("KV103", f"{prefix}{name}", mark, missing(name))
                values[name] = FAILED
        if any(value is FAILED for value in values.values()):
            return FAILED
        return cls(**values)

    def _items(self, node: yaml.Node, where: str, mark: Mark) -> Items | None:
        """Keys and value nodes of a mapping, ``<<`` merged in; a mapping's own keys win."""
        if not isinstance(node, yaml.MappingNode):
            self.problem("KV104", where, mark, f"expected a mapping, found a {say_node(node)}")
            return None
        self._count(len(node.value), where, mark)
        own: dict[str, tuple[Mark, yaml.Node]] = {}
        merged: dict[str, tuple[Mark, yaml.Node]] = {}
        for key_node, value in node.value:
            key_mark = _mark(key_node)
            if key_node.tag == _MERGE:
                for key, at, inherited in self._merged(value, where, key_mark):
                    merged.setdefault(key, (at, inherited))
                continue
            if not isinstance(key_node, yaml.ScalarNode):
                message = f"a key is a word, not a {say_node(key_node)}"
                self.problem("KV104", where, key_mark, message)
                continue
            key = key_node.value
            if key_node.tag not in _TAGS[yaml.ScalarNode]:
                message = f"a spec has no tags: remove {_tag(key_node)}"
                self.problem("KV108", f"{where}.{shortened(key)}".lstrip("."), key_mark, message)
            elif not key or not key.isprintable():
                self.problem("KV104", where, key_mark, f"a key is a word, not {quoted(key)}")
            elif key in own:
                message = f"{quoted(key)} already stands at line {own[key][0][0]}"
                self.problem("KV105", f"{where}.{shortened(key)}".lstrip("."), key_mark, message)
            else:
                own[key] = (key_mark, value)
        items = {**merged, **own} if merged else own
        return [(key, at, value) for key, (at, value) in items.items()]

    def _merged(self, node: yaml.Node, where: str, mark: Mark) -> Iterator[Any]:
        sources = node.value if isinstance(node, yaml.SequenceNode) else [node]
        for source in sources:
            if not isinstance(source, yaml.MappingNode) or id(source) in self._open:
                self.problem("KV108", where, mark, "<< merges a mapping that was anchored before")
                continue
            self._count(1, where, mark)
            self._open.add(id(source))
            yield from self._items(source, where, mark) or ()
            self._open.discard(id(source))


# ---------------------------------------------------------------- words for messages


def keys_of(text: str) -> frozenset[str]:
    """The keys at the top of a YAML text, to see what a file is; none of what is no mapping."""
    return SpecReader("").keys(text)


def _as_group(cls: Any, value: yaml.Node, name: str = "NAME") -> str:
    """How a number of layers is written where a run of layers stands."""
    if cls is not LayerGroup or not isinstance(value, yaml.ScalarNode) or value.tag != _INT:
        return ""
    run = f"{{repeat: {_found(value.value)}, blocks: [{shortened(name)}]}}"
    return f" (write {run})" if name != "NAME" else f": write [{run}]"


def _known(registry: Iterable[str]) -> str:
    return f"; known: {', '.join(registry)}"


def _mark(node: yaml.Node) -> Mark:
    start = node.start_mark
    return (start.line + 1, start.column + 1)


def _tag(node: yaml.Node) -> str:
    """A node's tag as it was written."""
    return shortened(node.tag.replace("tag:yaml.org,2002:", "!!"))


def _found(text: str) -> str:
    return shortened(text) or "nothing"

"""YAML nodes -> frozen dataclasses, with every problem of a file at once and where it stands.

The reader walks the composed node graph instead of loaded values, because only the nodes still
know their line and column, their raw text (``010``, ``1:30`` and ``yes`` are what was written, not
8, 90 and True), and the keys that stand twice.

A file is somebody else's: every quantity it controls has a bound (bytes, depth, values after
aliases and merges, problems, the length of what a message quotes), so that the worst one ends in an
error, soon, and prints nothing that a terminal would act on.
"""

import contextlib
import re
from collections.abc import Callable, Iterable, Iterator
from typing import Any, ClassVar

import yaml

from kvcalc.errors import Problem
from kvcalc.spec.fields import (
    Form,
    SpecField,
    member,
    record_of,
    required_fields,
    spec_fields,
)
from kvcalc.spec.model import LayerGroup
from kvcalc.spec.parser import COLLECTIONS, Parser
from kvcalc.spec.plain import (
    INT,
    MAX_NODES,
    MERGE,
    NAME,
    NULL,
    QUOTES,
    STR,
    WORDS,
    OddError,
    Plain,
    amount,
)
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
from kvcalc.units import parse_tokens

MAX_FILE_BYTES = 1 << 18
MAX_DEPTH = 60
MAX_PROBLEMS = 200
MAX_MESSAGE = 400

# Where text may have lines; a name with a line break would be a line of its own in what is printed.
_PROSE = ("notes", "source", "left_out")
_INTEGER = re.compile(r"-?(0|[1-9][0-9]*)")
_SHORT = re.compile(r"[1-9][0-9]{0,9}[kKmM]")
_SHARE = r"(0|[1-9][0-9]{0,17})(?:/([1-9][0-9]{0,17})|\.([0-9]{1,18}))?"
# What YAML 1.1 does not allow in a stream; looked for here so that every parser says the same.
_NOT_YAML = yaml.reader.Reader.NON_PRINTABLE
# Only inline nesting passes a composer's depth within the size limit.
_STEEP = re.compile(r"[-?:][ \t]+[-?:][ \t]+[-?:][ \t]")


FAILED: Any = object()

Mark = tuple[int, int]
# The values of a mapping, and the nodes of their keys.
Items = dict[str, tuple[yaml.Node, yaml.Node]]


class _EnoughError(Exception):
    """Reading on would cost more than it tells."""


class SpecReader:
    """Reads one document. ``problems`` and ``places`` (field path -> its node) fill up.

    Lines and columns, and words for what is wrong, are worked out when somebody asks.
    """

    def __init__(self, path: str) -> None:
        self.path = path
        self.problems: list[Problem] = []
        self.places: dict[str, yaml.Node] = {}
        self._found: set[tuple[str, str, Mark, str]] = set()
        self._num_nodes = 0
        self._open: set[int] = set()
        self._plain = Plain()
        # The document and its form, once they are known.
        self._root: tuple[yaml.Node, SpecField] | None = None

    # ------------------------------------------------------------ documents

    def document(self, text: str, cls: type) -> Any:
        """The text as ``cls``, or FAILED when anything is wrong with its form."""
        try:
            node, form = self._compose(text), record_of(cls)
            if node is None:
                return FAILED
            self._root = node, form
            with contextlib.suppress(OddError):
                return self._plain.value(node, form)
            value = self.read(node, form, "")
        except _EnoughError:
            return FAILED
        return FAILED if self.problems else value

    def _compose(self, text: str) -> yaml.Node | None:
        """Parse the text; a problem is recorded and None returned when it is no YAML mapping."""
        if len(text) > MAX_FILE_BYTES:
            self.problem("KV101", "", (0, 0), f"larger than {MAX_FILE_BYTES} bytes: not a spec")
            return None
        # What prints may stand in YAML; to see that it does is quick.
        prints = text.replace("\n", "").isprintable()
        character = None if prints else _NOT_YAML.search(text)
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
        if not self.places and self._root is not None:
            self.read(*self._root, "")  # What is sound was read without its places.
        while where and where not in self.places:
            where = where[: max(where.rfind("."), where.rfind("["), 0)]
        return _mark(self.places[where]) if where in self.places else (1, 1)

    def _wrong(self, code: str, where: str, node: yaml.Node, message: str) -> Any:
        """Record a problem where a node stands; FAILED."""
        self.problem(code, where, _mark(node), message)
        return FAILED

    def _count(self, num_nodes: int, where: str, node: yaml.Node) -> None:
        self._num_nodes += num_nodes
        if self._num_nodes > MAX_NODES:
            self._wrong("KV101", where, node, f"more than {MAX_NODES} values: not a spec")
            raise _EnoughError

    # ------------------------------------------------------------ nodes

    def read(self, node: yaml.Node, field: SpecField, where: str) -> Any:
        """The value of a node as a field's, or FAILED after recording why not."""
        self.places.setdefault(where, node)
        self._count(1, where, node)
        form = self._FORMS[field.form]
        if isinstance(node, yaml.ScalarNode):
            return self._word(node, field, where) if node.tag in WORDS else self._tag(node, where)
        if id(node) in self._open:
            return self._wrong("KV108", where, node, "an anchor that contains itself")
        if node.tag != COLLECTIONS[type(node)]:
            return self._tag(node, where)
        self._open.add(id(node))
        try:
            return form(self, node, field, where)
        finally:
            self._open.discard(id(node))

    def _tag(self, node: yaml.Node, where: str) -> Any:
        """Record a tag that was written."""
        tag = shortened(node.tag.replace("tag:yaml.org,2002:", "!!"))
        return self._wrong("KV108", where, node, f"a spec has no tags: remove {tag}")

    def _no_word(self, node: yaml.Node, field: SpecField, where: str) -> Any:
        message = f"expected {say(field.kind)}, found a {say_node(node)}"
        return self._wrong("KV104", where, node, message)

    def _word(self, node: yaml.Node, field: SpecField, where: str) -> Any:
        try:
            return self._plain.value(node, field)
        except OddError:
            return self._FORMS[field.form](self, node, field, where)

    # Of words: what is wrong with one that is not plain.

    def _choice(self, node: yaml.Node, field: SpecField, where: str) -> Any:
        if not isinstance(node, yaml.ScalarNode):
            return self._no_word(node, field, where)
        text = node.value
        message = f"{quoted(text)} is none of: {', '.join(field.words)}{near(text, field.words)}"
        return self._wrong("KV106", where, node, message)

    def _text(self, node: yaml.Node, field: SpecField, where: str) -> Any:
        text = node.value
        if not isinstance(node, yaml.ScalarNode):
            return self._no_word(node, field, where)
        if node.tag != STR:
            message = f"expected text, found {_found(text)}: quote it" if text else "has no value"
        elif not text.strip():
            message = "expected text, found nothing between the quotes"
        elif "\n" in text and not where.startswith(_PROSE):
            message = f"expected one line, found a line break in {quoted(text)}"
        elif not text.replace("\n", "").isprintable():
            message = f"a character that does not print, in {quoted(text)}"
        else:
            return text
        return self._wrong("KV104", where, node, message)

    def _is_bare(self, node: yaml.Node, field: SpecField, where: str) -> bool:
        """Whether it is a word without quotes; recorded where it is not."""
        if not isinstance(node, yaml.ScalarNode):
            self._no_word(node, field, where)
            return False
        if node.style in QUOTES:
            message = f"expected {say(field.kind)}, found text: remove the quotes"
            self._wrong("KV104", where, node, message)
            return False
        return True

    def _flag(self, node: yaml.Node, field: SpecField, where: str) -> Any:
        if not self._is_bare(node, field, where):
            return FAILED
        message = f"expected true or false, found {_found(node.value)}"
        return self._wrong("KV104", where, node, message)

    def _amount(self, node: yaml.Node, field: SpecField, where: str) -> Any:
        if not self._is_bare(node, field, where):
            return FAILED
        text = node.value
        try:
            return amount(text if len(text) <= MAX_QUOTED else f"{text[:MAX_QUOTED]}...", field)
        except ValueError as error:
            return self._wrong("KV104", where, node, str(error))

    def _share(self, node: yaml.Node, field: SpecField, where: str) -> Any:
        # Only mixtures of recursions have shares, and the module costs a tenth of an estimate.
        from fractions import Fraction

        if not self._is_bare(node, field, where):
            return FAILED
        if not re.fullmatch(_SHARE, node.value) or (share := Fraction(node.value)) > 1:
            message = f"expected a share such as 2/3 or 0.5, found {_found(node.value)}"
            return self._wrong("KV104", where, node, message)
        return share

    def _integer(self, node: yaml.Node, field: SpecField, where: str) -> Any:
        if not self._is_bare(node, field, where):
            return FAILED
        text: str = node.value
        if not _INTEGER.fullmatch(text):
            hint = " (readers of YAML disagree on what this is)" if text[:1].isdigit() else ""
            if _SHORT.fullmatch(text):
                hint = f": write {parse_tokens(text)}"
            message = f"expected a whole number, found {_found(text)}{hint}"
            return self._wrong("KV104", where, node, message)
        if node.tag != INT:
            return self._tag(node, where)
        # Length first: int() of a million digits is slow.
        least, most = field.bounds
        count, great = field.meta.get("count"), len(text) > 20 or int(text) > most
        if text.startswith("-") or not great:
            message = f"must be at least {least}, found {shortened(text)}"
        elif count is None:
            message = f"must be from {least} to 10^15, found {shortened(text)}"
        else:
            message = count.exceeded(shortened(text))
        return self._wrong("KV107", where, node, message)

    def _list(self, node: yaml.Node, field: SpecField, where: str) -> Any:
        item = field.item
        if isinstance(node, yaml.SequenceNode):
            values = [self.read(n, item, f"{where}[{i}]") for i, n in enumerate(node.value)]
            return FAILED if any(value is FAILED for value in values) else tuple(values)
        if isinstance(node, yaml.ScalarNode) and node.tag != NULL and item.form != "record":
            # `bias: q` and `source: https://...` say the same as a list of one.
            value = self._word(node, item, where)
            return FAILED if value is FAILED else (value,)
        message = f"expected a list, found a {say_node(node)}{_as_group(item.kind, node)}"
        return self._wrong("KV104", where, node, message)

    def _mapping(self, node: yaml.Node, field: SpecField, where: str) -> Any:
        items = self._items(node, where)
        if items is None:
            return FAILED
        result: dict[str, Any] = {}
        for key, (at, value) in items.items():
            path = f"{where}.{shortened(key)}"
            if field.words and key not in field.words:
                message = f"unknown key {quoted(key)}{near(key, field.words)}"
                self._wrong("KV102", path, at, message)
                continue
            result[key] = self.read(value, field.item, path)
        return FAILED if any(value is FAILED for value in result.values()) else result

    def _mechanisms(self, node: yaml.Node, field: SpecField, where: str) -> Any:
        """Mechanisms by names that the file gives them."""
        items = self._items(node, where)
        if items is None:
            return FAILED
        result: dict[str, Any] = {}
        for key, (at, value) in items.items():
            if not NAME.fullmatch(key):
                message = f"a name is letters, digits and underscores, not {quoted(key)}"
                self._wrong("KV104", f"{where}.{shortened(key)}", at, message)
                continue
            result[key] = self._mechanism(value, field, f"{where}.{key}")
        return FAILED if any(value is FAILED for value in result.values()) else result

    def _mechanism(self, node: yaml.Node, field: SpecField, where: str) -> Any:
        """A mapping whose ``kind`` picks one of a package's mechanisms."""
        registry: dict[str, tuple[str, str]] = member(field.meta["kinds"], "KINDS")
        items = self._items(node, where)
        if items is None:
            return FAILED
        if "kind" not in items:
            message = f"required and missing; one of {', '.join(registry)}"
            return self._wrong("KV103", f"{where}.kind", node, message)
        kind = items["kind"][1]
        name = kind.value if isinstance(kind, yaml.ScalarNode) else ""
        if name not in registry:
            meant = meanings(name)
            elsewhere = "" if registry.keys() & {*meant} else home_of(name, *meant)
            hint = elsewhere or near(name, registry) or _known(registry)
            found = quoted(name) if name else f"({say_node(kind)})"
            return self._wrong("KV106", f"{where}.kind", kind, f"unknown kind {found}{hint}")
        return self._fields(node, items, member(*registry[name]), where)

    def _record(self, node: yaml.Node, field: SpecField, where: str) -> Any:
        items = self._items(node, where)
        return FAILED if items is None else self._fields(node, items, field.cls, where)

    def _fields(self, node: yaml.Node, items: Items, cls: Any, where: str) -> Any:
        known = spec_fields(cls)
        values: dict[str, Any] = {}
        prefix = f"{where}." if where else ""
        for key, (at, value) in items.items():
            field = known.get(key)
            if field is None:
                hint = near(key, known) or _as_group(cls, value, key)
                message = f"unknown key {quoted(key)}{hint}"
                self._wrong("KV102", f"{prefix}{shortened(key)}", at, message)
                continue
            path = f"{prefix}{key}"
            if value.tag != NULL or not isinstance(value, yaml.ScalarNode):
                values[key] = self.read(value, field, path)
            elif field.nullable:
                self.places.setdefault(path, at)
                values[key] = None
            else:
                values[key] = self._wrong("KV104", path, at, "has no value")
        for name in required_fields(cls):
            if name not in values:
                values[name] = self._wrong("KV103", f"{prefix}{name}", node, missing(name))
        if any(value is FAILED for value in values.values()):
            return FAILED
        return cls(**values)

    def _items(self, node: yaml.Node, where: str, at: yaml.Node | None = None) -> Items | None:
        """Keys and values of a mapping, ``<<`` merged in; a mapping's own keys win. at: that ``<<``."""
        if not isinstance(node, yaml.MappingNode):
            self._wrong("KV104", where, node, f"expected a mapping, found a {say_node(node)}")
            return None
        self._count(len(node.value), where, at or node)
        own: Items = {}
        merged: Items = {}
        for key_node, value in node.value:
            key = key_node.value
            if key_node.tag == MERGE:
                for inherited, found in self._merged(value, where, key_node):
                    merged.setdefault(inherited, found)
            elif self._is_key(key_node, own, where):
                own[key] = (key_node, value)
        return {**merged, **own} if merged else own

    def _is_key(self, node: yaml.Node, own: Items, where: str) -> bool:
        """Whether a node can be a further key of a mapping; recorded where it cannot."""
        if not isinstance(node, yaml.ScalarNode):
            self._wrong("KV104", where, node, f"a key is a word, not a {say_node(node)}")
            return False
        key = node.value
        if node.tag not in WORDS:
            self._tag(node, f"{where}.{shortened(key)}".lstrip("."))
        elif not key or not key.isprintable():
            self._wrong("KV104", where, node, f"a key is a word, not {quoted(key)}")
        elif key in own:
            message = f"{quoted(key)} already stands at line {_mark(own[key][0])[0]}"
            self._wrong("KV105", f"{where}.{shortened(key)}".lstrip("."), node, message)
        else:
            return True
        return False

    def _merged(self, node: yaml.Node, where: str, at: yaml.Node) -> Iterator[Any]:
        sources = node.value if isinstance(node, yaml.SequenceNode) else [node]
        for source in sources:
            if not isinstance(source, yaml.MappingNode) or id(source) in self._open:
                self._wrong("KV108", where, at, "<< merges a mapping that was anchored before")
                continue
            self._count(1, where, at)
            self._open.add(id(source))
            yield from (self._items(source, where, at) or {}).items()
            self._open.discard(id(source))

    _FORMS: ClassVar[dict[Form, Callable[["SpecReader", Any, SpecField, str], Any]]] = {
        "text": _text,
        "integer": _integer,
        "flag": _flag,
        "amount": _amount,
        "share": _share,
        "choice": _choice,
        "list": _list,
        "mapping": _mapping,
        "record": _record,
        "mechanism": _mechanism,
        "mechanisms": _mechanisms,
    }


# ---------------------------------------------------------------- words for messages


def keys_of(text: str) -> frozenset[str]:
    """The keys at the top of a YAML text, to see what a file is; none of what is no mapping."""
    return SpecReader("").keys(text)


def _as_group(cls: Any, value: yaml.Node, name: str = "NAME") -> str:
    """How a number of layers is written where a run of layers stands."""
    if cls is not LayerGroup or not isinstance(value, yaml.ScalarNode) or value.tag != INT:
        return ""
    run = f"{{repeat: {_found(value.value)}, blocks: [{shortened(name)}]}}"
    return f" (write {run})" if name != "NAME" else f": write [{run}]"


def _known(registry: Iterable[str]) -> str:
    return f"; known: {', '.join(registry)}"


def _mark(node: yaml.Node) -> Mark:
    start = node.start_mark
    return (start.line + 1, start.column + 1)


def _found(text: str) -> str:
    return shortened(text) or "nothing"

"""The values of nodes in which nothing is wrong: the reader's first look at a document.

Most files are sound, and then nobody asks where each value stands or what would have been wrong with
it. What is accepted is said here alone, and what is not makes ``OddError``: the reader
(kvcalc/spec/reader.py) walks the document again and says what it is and where. A value that is seldom
written (a share, text of several lines, a merge of merges) is odd as well, and read there.
"""

import contextlib
import re
from collections.abc import Callable
from typing import Any, ClassVar

import yaml

from kvcalc.frozen import of_fields
from kvcalc.spec.fields import Form, SpecField, member, required_fields, spec_fields
from kvcalc.spec.model import Tokens
from kvcalc.spec.words import MAX_QUOTED
from kvcalc.units import parse_bytes, parse_tokens

NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,39}")
_SHORT_INTEGER = re.compile(r"0|[1-9][0-9]{0,19}")
QUOTES = ("'", '"')
_FLAGS = {"true": True, "false": False}
# Values of a document, aliases and merges followed. The reader counts keys and values, the first
# look pairs of them.
MAX_NODES = 50_000
_WORD = yaml.ScalarNode

INT, BOOL, STR, NULL, MERGE, LIST, MAPPING = (
    f"tag:yaml.org,2002:{name}" for name in ("int", "bool", "str", "null", "merge", "seq", "map")
)
# What a word without a tag resolves to; anything else was written as a tag.
WORDS = frozenset((INT, BOOL, STR, NULL, MERGE)) | {
    f"tag:yaml.org,2002:{name}" for name in ("float", "timestamp", "value")
}


_KEYS = WORDS - {MERGE}


class OddError(Exception):
    """Something that the reader has to look at."""


def amount(text: str, field: SpecField) -> Any:
    """Tokens or bytes. Raises ValueError with what is wrong."""
    return field.kind(parse_tokens(text) if field.kind is Tokens else parse_bytes(text))


class Plain:
    """Reads the nodes of one document. Raises OddError."""

    def __init__(self) -> None:
        self._room = MAX_NODES // 2 - 1

    def value(self, node: Any, field: SpecField) -> Any:
        """The value of a node as a field's."""
        return self._FORMS[field.form](self, node, field)

    def _odd(self, node: Any, field: SpecField) -> Any:
        raise OddError

    # ------------------------------------------------------------ words

    def _text(self, node: Any, field: SpecField) -> str:
        if type(node) is _WORD and node.tag == STR:
            text: str = node.value
            if text.isprintable() and text.strip():
                return text
        raise OddError

    def _integer(self, node: Any, field: SpecField) -> int:
        if type(node) is _WORD and node.tag == INT and node.style not in QUOTES:
            least, most = field.bounds
            if (
                _SHORT_INTEGER.fullmatch(node.value)
                and least <= (number := int(node.value)) <= most
            ):
                return number
        raise OddError

    def _flag(self, node: Any, field: SpecField) -> bool:
        bare = type(node) is _WORD and node.tag == BOOL and node.style not in QUOTES
        if bare and node.value in _FLAGS:
            return _FLAGS[node.value]
        raise OddError

    def _amount(self, node: Any, field: SpecField) -> Any:
        bare = type(node) is _WORD and node.tag in WORDS and node.style not in QUOTES
        if bare and len(node.value) <= MAX_QUOTED:
            with contextlib.suppress(ValueError):
                return amount(node.value, field)
        raise OddError

    def _choice(self, node: Any, field: SpecField) -> Any:
        if type(node) is _WORD and node.tag in WORDS and node.value in field.words:
            return node.value
        raise OddError

    # ------------------------------------------------------------ lists and mappings

    def _list(self, node: Any, field: SpecField) -> tuple[Any, ...]:
        item = field.item
        read = self._FORMS[item.form]
        if node.tag == LIST and type(node) is yaml.SequenceNode:
            self._take(len(node.value))
            return tuple([read(self, each, item) for each in node.value])
        if node.tag == NULL or type(node) is not _WORD or item.form == "record":
            raise OddError
        # `bias: q` and `source: https://...` say the same as a list of one.
        return (read(self, node, item),)

    def _mapping(self, node: Any, field: SpecField) -> dict[str, Any]:
        item, words = field.item, field.words
        read = self._FORMS[item.form]
        found = {}
        for key, value in self._members(node).items():
            if key not in words if words else not key or not key.isprintable():
                raise OddError
            found[key] = read(self, value, item)
        return found

    def _mechanisms(self, node: Any, field: SpecField) -> dict[str, Any]:
        found = {}
        for key, value in self._members(node).items():
            if not NAME.fullmatch(key):
                raise OddError
            found[key] = self._mechanism(value, field)
        return found

    def _mechanism(self, node: Any, field: SpecField) -> Any:
        members = self._members(node)
        registry: dict[str, tuple[str, str]] = member(field.meta["kinds"], "KINDS")
        kind = members.get("kind")
        if type(kind) is _WORD and kind.value in registry:
            return self._fields(members, member(*registry[kind.value]))
        raise OddError

    def _record(self, node: Any, field: SpecField) -> Any:
        return self._fields(self._members(node), field.cls)

    def _fields(self, members: dict[str, Any], cls: Any) -> Any:
        known, forms = spec_fields(cls), self._FORMS
        values: dict[str, Any] = {}
        for key, node in members.items():
            field = known.get(key)
            if field is None:
                raise OddError
            if node.tag != NULL:
                values[key] = forms[field.form](self, node, field)
            elif field.nullable and type(node) is _WORD:
                values[key] = None
            else:
                raise OddError
        if not required_fields(cls).keys() <= values.keys():
            raise OddError
        return of_fields(cls, values)

    def _members(self, node: Any) -> dict[str, Any]:
        """Values by their keys, one ``<<`` merged in; a mapping's own keys win."""
        members = self._keys(node)
        if len(members) == len(node.value):
            return members
        merges = [value for key, value in node.value if key.tag == MERGE]
        if len(merges) != 1 or len(members) + 1 != len(node.value):
            raise OddError
        inherited = self._keys(merges[0])
        if len(inherited) != len(merges[0].value):
            raise OddError
        return {**inherited, **members}

    def _keys(self, node: Any) -> dict[str, Any]:
        """Values by those keys that are plain words."""
        if node.tag != MAPPING or type(node) is not yaml.MappingNode:
            raise OddError
        self._take(len(node.value))
        return {
            key.value: value for key, value in node.value if key.tag in _KEYS and type(key) is _WORD
        }

    def _take(self, num_values: int) -> None:
        self._room -= num_values
        if self._room < 0:
            raise OddError

    _FORMS: ClassVar[dict[Form, Callable[["Plain", Any, SpecField], Any]]] = {
        "text": _text,
        "integer": _integer,
        "flag": _flag,
        "amount": _amount,
        "share": _odd,
        "choice": _choice,
        "list": _list,
        "mapping": _mapping,
        "record": _record,
        "mechanism": _mechanism,
        "mechanisms": _mechanisms,
    }

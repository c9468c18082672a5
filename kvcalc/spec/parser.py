"""The YAML parser, libyaml's where it is there, which remembers what words resolve to."""

from typing import Any, ClassVar

import yaml

_PARSER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
# The tag of a collection without one.
COLLECTIONS: dict[type, str] = {
    yaml.SequenceNode: "tag:yaml.org,2002:seq",
    yaml.MappingNode: "tag:yaml.org,2002:map",
}


class Parser(_PARSER):  # type: ignore[misc]
    """Asked for the tag of every node; specs say the same plain words.

    The parser's own looks at each node for rules by path, of which it has none.
    """

    _resolved: ClassVar[dict[str, str]] = {}

    def descend_resolver(self, parent: Any, index: Any) -> None:
        """Nothing to look for."""

    def ascend_resolver(self) -> None:
        """Nothing to leave."""

    def resolve(self, kind: Any, value: Any, implicit: Any) -> Any:
        """The tag of a node, as the parser's own."""
        if kind is not yaml.ScalarNode:
            return COLLECTIONS[kind]
        if not implicit[0]:
            return "tag:yaml.org,2002:str"
        tag = self._resolved.get(value)
        if tag is None:
            tag = super().resolve(kind, value, implicit)
            if len(value) <= 40:
                if len(self._resolved) > 4096:
                    self._resolved.clear()
                self._resolved[value] = tag
        return tag

"""The YAML parser, libyaml's where it is there, which remembers what words resolve to."""

from functools import lru_cache
from operator import is_
from typing import Any

import yaml

_PARSER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
# The tag of a collection without one.
COLLECTIONS: dict[type, str] = {
    yaml.SequenceNode: "tag:yaml.org,2002:seq",
    yaml.MappingNode: "tag:yaml.org,2002:map",
}
_RESOLVER: Any = yaml.resolver.Resolver()


@lru_cache(maxsize=4096)
def _tag(kind: Any, value: Any, implicit: Any) -> str:
    """The tag of a node, as the parser's own; specs say the same plain words."""
    if kind is not yaml.ScalarNode:
        return COLLECTIONS[kind]
    found: str = _RESOLVER.resolve(kind, value, implicit)
    return found


class Parser(_PARSER):  # type: ignore[misc]
    """Asked for the tag of every node, around it for rules by path, of which there are none.

    What is asked so often is no function of Python's: of these two one says nothing that is heard.
    """

    descend_resolver = staticmethod(is_)
    ascend_resolver = staticmethod(bool)
    resolve = staticmethod(_tag)

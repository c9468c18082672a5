"""What is read to know a model's rule: its config.json and the processor's settings beside it."""

from collections.abc import Mapping
from typing import Any

from kvcalc.errors import UnsupportedError
from kvcalc.frozen import frozen


@frozen
class Source:
    """config.json and the processor's settings. settings: None where there is no such file."""

    config: Mapping[str, Any]
    settings: Mapping[str, Any] | None

    def get(self, *keys: str, default: int) -> int:
        """A whole number of the settings, else of the config, else the class's default.

        A dotted key stands in an object: ``size.longest_edge``.
        """
        for source in (self.settings or {}, self.config):
            for key in keys:
                value = value_at(source, key)
                if isinstance(value, int) and not isinstance(value, bool):
                    return value
        return default

    def flag(self, key: str, default: bool) -> bool:
        value = value_at(self.settings or {}, key)
        return value if isinstance(value, bool) else default

    def pairs(self, key: str) -> tuple[tuple[int, int], ...]:
        """A list of (height, width); raises UnsupportedError where there is none."""
        for source in (self.settings or {}, self.config):
            value = value_at(source, key)
            if isinstance(value, list) and value and all(_is_pair(pair) for pair in value):
                return tuple((pair[0], pair[1]) for pair in value)
        raise UnsupportedError(f"{key}: how images are cut is not stated in the config")

    def edge(self, *keys: str, default: int) -> int:
        """A side that is written as a number or as height and width."""
        spelt = [name for key in keys for name in (key, f"{key}.height", f"{key}.shortest_edge")]
        return self.get(*spelt, default=default)


def value_at(source: Mapping[str, Any], key: str) -> Any:
    """What stands under a dotted key; None where nothing does."""
    value: Any = source
    for part in key.split("."):
        value = value.get(part) if isinstance(value, Mapping) else None
    return value


def _is_pair(value: Any) -> bool:
    return isinstance(value, list) and len(value) == 2 and all(type(item) is int for item in value)

"""What is read to know a model's rule: its config.json and the processor's settings beside it."""

from collections.abc import Mapping, Sequence
from typing import Any

from kvcalc.errors import UnsupportedError
from kvcalc.frozen import field, frozen
from kvcalc.media.words import MAX_SIDE

# The largest image that is resized to: 16,384 x 16,384 pixels.
MAX_PIXELS = 1 << 28
# Of an image; published processors cut at most 64. Grids are looked through one by one.
MAX_TILES = 128


@frozen
class Source:
    """config.json and the processor's settings.

    settings: None where there is no such file. published: the name of the model's file on the Hub that
    they are known of, where they were read from none here; typical: whose it is, where the model may be
    another of the same type. files: key of settings -> its file.
    """

    config: Mapping[str, Any]
    settings: Mapping[str, Any] | None
    published: str = ""
    typical: str = ""
    files: Mapping[str, str] = field(default_factory=dict)

    def get(self, *keys: str, default: int, most: int = MAX_PIXELS) -> int:
        """A whole number of the settings, else of the config, else the class's default.

        A dotted key stands in an object: ``size.longest_edge``. Raises UnsupportedError for what is
        stated and is no number from 1 to ``most``, and for settings that are no object where it stands.
        """
        for source in (self.settings or {}, self.config):
            for key in keys:
                value = value_at(source, key)
                if value is None and source is self.settings:
                    self._object_of(source, key)
                if isinstance(value, Mapping) and any(each.startswith(f"{key}.") for each in keys):
                    continue  # Its parts have keys of their own.
                if value is not None:
                    return _within(self.place(key), _square(value), most)
        return default

    def place(self, key: str) -> str:
        """A key with the file that states it, where that is known."""
        file = self.files.get(key.partition(".")[0])
        return f"{file}: {key}" if file else key

    def stated(self, *keys: str) -> str:
        """The first of the keys that the settings state, or the first."""
        return next(
            (key for key in keys if value_at(self.settings or {}, key) is not None), keys[0]
        )

    def bounds(
        self, least: Sequence[str], most: Sequence[str], default: tuple[int, int],
        highest: int = MAX_PIXELS,
    ) -> tuple[int, int]:  # fmt: skip
        """(least, most), each under the first of its keys that is stated.

        Raises UnsupportedError for a least above the most, besides as ``get``.
        """
        low = self.get(*least, default=default[0], most=highest)
        high = self.get(*most, default=default[1], most=highest)
        if low > high:
            low_name, high_name = self.stated(*least), self.stated(*most)
            home = self.place(low_name).removesuffix(low_name) or self.place(
                high_name
            ).removesuffix(high_name)
            raise UnsupportedError(
                f"{home}{low_name} = {low:,} is above {high_name} = {high:,}: no image is between them"
            )
        return low, high

    def flag(self, key: str, default: bool) -> bool:
        """A switch of the settings. Raises UnsupportedError for what is neither true nor false."""
        value = value_at(self.settings or {}, key)
        if value is None:
            return default
        if not isinstance(value, bool):
            raise UnsupportedError(
                f"{self.place(key)} = {short(value)}: a processor's switch is true or false"
            )
        return value

    def pairs(self, key: str) -> tuple[tuple[int, int], ...]:
        """A list of (height, width); raises UnsupportedError where there is none."""
        for source in (self.settings or {}, self.config):
            value = value_at(source, key)
            if isinstance(value, list) and value and all(_is_pair(pair) for pair in value):
                if len(value) > MAX_TILES:
                    raise UnsupportedError(f"{self.place(key)}: more than {MAX_TILES} canvases")
                place = self.place(key)
                return tuple((_within(place, high, MAX_SIDE), _within(place, wide, MAX_SIDE))
                             for high, wide in value)  # fmt: skip
        raise UnsupportedError(f"{key}: how images are cut is not stated in the config")

    def two(self, key: str, default: tuple[int, int]) -> tuple[int, int]:
        """Two whole numbers of the settings. Raises UnsupportedError for anything else."""
        value = value_at(self.settings or {}, key)
        if value is None:
            return default
        if not _is_pair(value):
            raise UnsupportedError(
                f"{self.place(key)} = {short(value)}: two whole numbers are needed"
            )
        first, second = (_within(self.place(key), each, MAX_SIDE) for each in value)
        return first, second

    def edge(self, *keys: str, default: int) -> int:
        """A side that is written as a number or as height and width."""
        for key in keys:
            value = value_at(self.settings or {}, key)
            if isinstance(value, Mapping) and (
                not value or value.get("height") != value.get("width")
            ):
                raise UnsupportedError(
                    f"{self.place(key)} = {short(dict(value))}: only equal height and width are known"
                )
        spelt = [name for key in keys for name in (key, f"{key}.height", f"{key}.shortest_edge")]
        return self.get(*spelt, default=default)

    def _object_of(self, settings: Mapping[str, Any], key: str) -> None:
        """Refuse a dotted key whose first part is stated and is no object."""
        first, dot, rest = key.partition(".")
        stated = settings.get(first)
        if dot and stated is not None and not isinstance(stated, Mapping):
            raise UnsupportedError(
                f"{self.place(first)} = {short(stated)}: a processor's {first} has {rest} in it"
            )


def value_at(source: Mapping[str, Any], key: str) -> Any:
    """What stands under a dotted key; None where nothing does."""
    value: Any = source
    for part in key.split("."):
        value = value.get(part) if isinstance(value, Mapping) else None
    return value


def _square(value: Any) -> Any:
    """The side of ``[448, 448]`` and ``{height: 448, width: 448}``; anything else as it is."""
    sides = value
    if isinstance(value, Mapping):
        sides = [value.get("height"), value.get("width")]
    if _is_pair(sides) and sides[0] == sides[1]:
        return sides[0]
    return value


def _within(key: str, value: Any, most: int) -> int:
    if type(value) is not int or not 1 <= value <= most:
        raise UnsupportedError(
            f"{key} = {short(value)}: a processor's setting is a whole number from 1 to {most:,}"
        )
    return value


def short(value: Any) -> str:
    """A value of a file in a few characters of one line."""
    return ascii(value)[:40]


def _is_pair(value: Any) -> bool:
    return isinstance(value, list) and len(value) == 2 and all(type(item) is int for item in value)

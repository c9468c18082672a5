"""A multimodal config as its towers' readers see it: nested configs with the defaults of their classes.

defaults.json (``python -m tests.convert.tower_defaults`` writes it) has, for each nested class, its
fields' defaults, and for each multimodal class the type of a nested config that does not say its own; a
``!`` behind it says that the class takes no other.
"""

from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

from kvcalc.convert.config import Config, reader
from kvcalc.convert.model_types import REMOTE_PARTS
from kvcalc.spec.model import ModelSpec


@lru_cache(maxsize=1)
def tower_defaults() -> dict[str, Any]:
    """What transformers' classes of towers hold when a file says nothing."""
    import json

    text = Path(__file__).with_name("defaults.json").read_text("utf-8")
    table: dict[str, Any] = json.loads(text)
    return table


class Whole:
    """A multimodal config: its own keys, its nested configs, and the language model beside them.

    text: the language model. top: the config's own keys, with the class's defaults.
    """

    def __init__(
        self, values: Mapping[str, Any], model_type: str, text: ModelSpec, path: str,
        assumptions: list[str],
    ) -> None:  # fmt: skip
        self.model_type = model_type
        self.text = text
        self.top: Config = reader(values, model_type, path=path, assumptions=assumptions)
        self._values, self._path, self._assumptions = values, path, assumptions
        self._parts: dict[str, Config] = {}

    def part(self, key: str) -> Config:
        """A nested config; what it leaves out, its class fills in.

        Raises UnsupportedError where the file has none: of a model without one, the class would build
        its own default, which is nobody's.
        """
        if key in self._parts:
            return self._parts[key]
        table = tower_defaults()
        stated = self._values.get(key)
        if stated is not None and not isinstance(stated, Mapping):
            self.top.wrong(key, "expected an object")
        if stated is None:
            self.top.refuse(key, "the file does not describe it")
        usual = table["parts"].get(self.model_type, {}).get(key, "")
        # Where the class takes no other, files say what they like: the whole model's type, or another's.
        own = usual.rstrip("!") if usual.endswith("!") else stated.get("model_type") or usual
        if not isinstance(own, str):
            self.top.wrong(f"{key}.model_type", "expected text")
        entry = table["classes"].get(own)
        if self.model_type in REMOTE_PARTS and key in REMOTE_PARTS[self.model_type]:
            # Code outside transformers: what the file leaves out is not known.
            own, entry = (
                REMOTE_PARTS[self.model_type][key],
                {"class": "", "defaults": {}, "aliases": {}},
            )
        if entry is None:
            self.top.refuse(key, f"a tower of model_type '{own}' is not accounted for")
        found = self._parts[key] = Config(
            stated, own, class_name=entry["class"], defaults=entry["defaults"],
            aliases=entry["aliases"], path=self._path, where=key, nested=True,
            assumptions=self._assumptions,
        )  # fmt: skip
        return found

    def has(self, key: str) -> bool:
        """Whether the file describes a nested config."""
        return self._values.get(key) is not None

    def raw(self, key: str) -> Mapping[str, Any]:
        """A nested config as the file has it; empty where it has none."""
        found = self._values.get(key)
        return found if isinstance(found, Mapping) else {}

    @property
    def keys(self) -> tuple[str, ...]:
        """The nested configs that were read."""
        return tuple(self._parts)

    def where(self, name: str) -> str:
        """The key that a tower was read from, for messages."""
        return next((key for key in self._parts if key.startswith(name)), name)

    def finish(self) -> None:
        """Refuse what the nested configs say and nothing has accounted for."""
        for part in self._parts.values():
            part.finish()

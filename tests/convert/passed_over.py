"""Keys that the importer passes over, held to transformers: `python -m tests.convert.passed_over`.

A converter says of some keys that their value makes no difference (``Config.skip``). For a draw of every
type each of these is given other values, and transformers builds the model on the meta device: where it
builds other tensors, the key makes a difference, and the importer has to count it or to refuse it. Those
keys are tests/convert/passed_over.json, {type: [[where, key, value], ...]}, which the tests replay without
torch. A full run takes six minutes; types named behind the command are measured alone.
"""

import json
import sys
from collections.abc import Callable, Iterator
from copy import deepcopy
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

from kvcalc.convert.config import Config, class_defaults
from kvcalc.convert.hf import TRANSFORMERS, spec_from_config
from kvcalc.convert.model_types import CONVERTERS
from kvcalc.errors import KvcalcError
from kvcalc.spec.model import ModelSpec
from tests.convert.measured import drawn
from tests.convert.tower_draws import TYPES, draw_whole

FILE = Path(__file__).with_name("passed_over.json")
# A multimodal draw that its class cannot build is followed by another.
NUM_TRIES = 12

Place = tuple[str, str]
Row = list[Any]


def others(value: Any) -> list[Any]:
    """Other values of a key that has this one."""
    if isinstance(value, bool):
        return [not value]
    if isinstance(value, int):
        return [value * 2 or 2, value // 2 if value > 1 else value + 1]
    if isinstance(value, float):
        return [value * 2 or 0.5]
    if value is None:
        return [True, 2, 64]
    if isinstance(value, list):
        return [[], value[:-1], *([[2 * one for one in value]] if _whole(value) else [])]
    return []


def _whole(value: list[Any]) -> bool:
    return all(type(one) is int for one in value)


def at(config: dict[str, Any], where: str) -> dict[str, Any]:
    """The object that holds a key. where: dotted, from Config."""
    for name in filter(None, where.split(".")):
        config = config[name] if isinstance(config.get(name), dict) else config.setdefault(name, {})
    return config


def base_of(model_type: str) -> dict[str, Any]:
    """The draw of a type: of its language model where it is one."""
    if model_type in CONVERTERS:
        return drawn(model_type, 0)
    return draw_whole(model_type, table()["seeds"].get(model_type, 0))


def put(config: dict[str, Any], where: str, key: str, value: Any) -> dict[str, Any]:
    """The same with one key changed."""
    found = deepcopy(config)
    at(found, where)[key] = value
    return found


def spec_of(config: dict[str, Any]) -> ModelSpec:
    """What the importer makes of it."""
    return spec_from_config(deepcopy(config), "drawn", "config.json").spec


def passed_over(config: dict[str, Any]) -> list[Place]:
    """(where, key) of what the importer passes over, be it in the file or not."""
    found: set[Place] = set()
    own = Config.skip

    def noted(self: Config, *keys: str) -> None:
        found.update((self._where, key) for key in keys)
        own(self, *keys)

    Config.skip = noted  # type: ignore[method-assign]
    try:
        spec_of(config)
    finally:
        Config.skip = own  # type: ignore[method-assign]
    return sorted(found)


Tensors = Callable[[dict[str, Any]], list[tuple[str, tuple[int, ...]]]]


def _tensors(model: Any) -> list[tuple[str, tuple[int, ...]]]:
    return sorted((name, tuple(one.shape)) for name, one in model.named_parameters())


def _language(config: dict[str, Any]) -> list[tuple[str, tuple[int, ...]]]:
    from tests.convert.oracle import build

    return _tensors(build(deepcopy(config)))


def _whole_model(config: dict[str, Any]) -> list[tuple[str, tuple[int, ...]]]:
    from tests.convert.towers_measured import build

    return _tensors(build(deepcopy(config)))


def deciding(config: dict[str, Any], tensors: Tensors) -> Iterator[Row]:
    """[where, key, value] of every key passed over with which transformers builds other tensors."""
    before = tensors(config)
    defaults = class_defaults().get(config["model_type"], {}).get("defaults", {})
    for where, key in passed_over(config):
        held = at(deepcopy(config), where)
        for value in others(held[key] if key in held else defaults.get(key)):
            try:
                if tensors(put(config, where, key, value)) != before:
                    yield [where, key, value]
            except Exception as error:  # transformers refuses it, as it pleases
                print(f"{config['model_type']} {where}{key}: {error!s:.60}", file=sys.stderr)


def in_silence(model_type: str, row: Row) -> bool:
    """Whether the importer makes the same of a key that decides."""
    config = base_of(model_type)
    try:
        return spec_of(put(config, *row)) == spec_of(config)
    except KvcalcError:
        return False


@cache
def table() -> dict[str, Any]:
    """The file as it is."""
    found: dict[str, Any] = json.loads(FILE.read_text("utf-8")) if FILE.exists() else {}
    return found or {"seeds": {}, "rows": {}}


def measure(model_type: str) -> list[Row] | None:
    """The rows of one type; None where its class cannot be built."""
    if model_type in CONVERTERS:
        try:
            return list(deciding(drawn(model_type, 0), _language))
        except KeyError:  # no class of transformers
            return None
    for seed in range(NUM_TRIES):
        config = draw_whole(model_type, seed)
        try:
            _whole_model(config)
        except Exception as error:
            print(f"{model_type} {seed}: {error!s:.80}", file=sys.stderr)
            continue
        table()["seeds"][model_type] = seed
        return list(deciding(config, _whole_model))
    return None


def main(only: list[str]) -> None:
    """only: the types to measure again; all where none is named."""
    rows = table()["rows"] if only else {}
    for model_type in only or [*sorted(CONVERTERS), *TYPES]:
        found = measure(model_type)
        rows.pop(model_type, None)
        if found:
            rows[model_type] = found
            for row in found:
                if in_silence(model_type, row):
                    print("in silence:", model_type, *row)
    lines = [f"{json.dumps(name)}: {json.dumps(found)}" for name, found in sorted(rows.items())]
    seeds = {name: table()["seeds"][name] for name in sorted(rows) if name in table()["seeds"]}
    FILE.write_text(
        f'{{"transformers": "{TRANSFORMERS}", "date": "{datetime.now(UTC):%Y-%m-%d}",\n'
        f'"seeds": {json.dumps(seeds)},\n"rows": {{\n' + ",\n".join(lines) + "\n}}\n",
        "utf-8",
    )


if __name__ == "__main__":
    main(sys.argv[1:])

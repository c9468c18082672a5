"""Configs that transformers refuses to build: `python -m tests.convert.invalid [TYPE ...]`.

A valid draw of every type, one key changed at a time, goes to the class of the config and to the model on
the meta device, and to kvcalc. The command prints every config that the library refuses and kvcalc
answers, and writes tests/convert/invalid.json: of each type, the changes that the library refuses, with its
release and the day. test_invalid.py replays them without transformers.
"""

import json
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from kvcalc.convert.hf import TRANSFORMERS, spec_from_config
from kvcalc.convert.ignored import is_ignored
from kvcalc.convert.model_types import CONVERTERS
from kvcalc.errors import KvcalcError
from tests.convert.class_defaults import is_of_this_release
from tests.convert.draws import draw

FILE = Path(__file__).with_name("invalid.json")

# Refused for what is no architecture: a token id outside the table, a name of a function.
_KEYS_APART = ("pad_token_id", "vocab_size", "model_type", "hidden_act", "id2label")

# (type, key) -> why kvcalc answers all the same.
EXCEPTED = {
    ("laguna", "head_dim"): "an odd width is refused where layers slide, and built where none does",
    (
        "cosmos3_edge_text",
        "head_dim",
    ): "the draw leaves out the rotary sections that must add up to it",
}


def changes(values: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    """One key with another value: a neighbour, an odd one, nothing, a list cut short."""
    for key, value in values.items():
        if key in _KEYS_APART or is_ignored(key) or isinstance(value, dict):
            continue
        if isinstance(value, bool):
            yield key, not value
        elif isinstance(value, int):
            yield from ((key, other) for other in (value + 1, 2 * value + 1, None))
        elif isinstance(value, list) and value:
            yield from ((key, other) for other in (value[:-1], [*value, value[0]]))
        elif value is None:
            yield from ((key, other) for other in (1, 5))


def library(values: dict[str, Any]) -> str:
    """What transformers says against a config; nothing where it builds the model."""
    from tests.convert.oracle import build

    try:
        build(values)
    except Exception as error:
        return " ".join(f"{type(error).__name__}: {error}".split())[:200]
    return ""


def answers(values: dict[str, Any]) -> bool:
    """Whether kvcalc does not refuse a config."""
    try:
        spec_from_config(values, "drawn", "invalid.py")
    except KvcalcError:
        return False
    return True


def valid(model_type: str) -> dict[str, Any]:
    """The draw that is changed."""
    from kvcalc.convert.config import class_defaults

    return draw(model_type, 0, class_defaults()[model_type]["defaults"])


def main() -> None:
    import warnings

    from transformers.utils import logging

    warnings.simplefilter("ignore")
    logging.set_verbosity_error()
    before = json.loads(FILE.read_text("utf-8")) if FILE.exists() else {}
    table: dict[str, Any] = {
        "transformers": TRANSFORMERS, "measured": datetime.now(UTC).date().isoformat(),
    }  # fmt: skip
    for model_type in CONVERTERS:
        if not is_of_this_release(model_type) or (sys.argv[1:] and model_type not in sys.argv[1:]):
            table[model_type] = before.get(model_type, [])
            continue
        values = valid(model_type)
        refused = []
        for key, other in changes(values):
            if said := library(values | {key: other}):
                refused.append([key, other])
                if answers(values | {key: other}):
                    print(f"{model_type}\t{key}\t{values[key]} -> {other}\t{said}", flush=True)
        table[model_type] = refused
    lines = [f"{json.dumps(key)}: {json.dumps(value)}" for key, value in table.items()]
    FILE.write_text("{\n" + ",\n".join(lines) + "\n}\n", "utf-8")


if __name__ == "__main__":
    main()

"""``--format json``: one object for one model, a list for several, and the version of them all.

Integers, and quotients where nothing else will do. ASCII alone: a path need not be text, and JSON
must be readable all the same.
"""

import json
from collections.abc import Iterator
from itertools import islice
from typing import Any

from kvcalc.report.sheet import Answer

# Of every answer, errors included. What it promises is in CHANGELOG.md.
SCHEMA_VERSION = 2
CHUNK_ITEMS = 256


def render(answer: Answer, quiet: bool) -> Iterator[str]:
    """The answer's objects. A field that is an iterator is written as it comes, an item a line."""
    found = answer.objects()
    if isinstance(found, list):
        yield document([versioned(each) for each in found])
        return
    fields, last = versioned(found), len(found)
    if not any(isinstance(value, Iterator) for value in fields.values()):
        yield document(fields)
        return
    yield "{\n"
    for number, (name, value) in enumerate(fields.items()):
        yield f" {json.dumps(name)}: "
        if isinstance(value, Iterator):
            yield from _items(value)
        else:
            yield json.dumps(value, indent=1).replace("\n", "\n ")
        yield ",\n" if number < last else "\n"
    yield "}\n"


def versioned(found: dict[str, Any]) -> dict[str, Any]:
    """An answer's object with its version, which stands first."""
    return {"schema_version": SCHEMA_VERSION, **found}


def document(found: Any) -> str:
    """JSON with a newline at its end."""
    return json.dumps(found, indent=1) + "\n"


def _items(values: Iterator[Any]) -> Iterator[str]:
    before = "[\n  "
    encode = json.JSONEncoder().encode
    while chunk := ",\n  ".join(map(encode, islice(values, CHUNK_ITEMS))):
        yield before + chunk
        before = ",\n  "
    yield "[]" if before.startswith("[") else "\n ]"

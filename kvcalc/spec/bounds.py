"""The bounds of every number of a spec that no reader has held to them: an import's, a program's.

A file's numbers are held to the same bounds where they are read, with line and column
(kvcalc/spec/reader.py); what bounds each is said once, by the type of its field (kvcalc/counts.py).
"""

from collections.abc import Iterator
from typing import Any

from kvcalc.counts import counts
from kvcalc.frozen import fields_of, is_record


def out_of_bounds(part: Any, where: str = "") -> Iterator[tuple[str, str, str]]:
    """(rule code, field path, message) for every number that is too great or too small."""
    about = counts(type(part))
    for name, _, _ in fields_of(type(part)):
        value, path = getattr(part, name), f"{where}.{name}" if where else name
        count = about.get(name)
        if count is not None:
            if value is not None and value > count.most:
                yield "KV107", path, count.exceeded(value)
            elif value is not None and value < count.least:
                yield "KV107", path, f"must be at least {count.least}, found {value}"
        elif is_record(value):
            yield from out_of_bounds(value, path)
        elif isinstance(value, dict):
            for key, item in value.items():
                if is_record(item):
                    yield from out_of_bounds(item, f"{path}.{key}")
        elif isinstance(value, tuple):
            for index, item in enumerate(value):
                if is_record(item):
                    yield from out_of_bounds(item, f"{path}[{index}]")

"""The equation of a kind of layer as HTML, for the report's page and the site's."""

import re
from collections.abc import Callable, Iterator
from html import escape
from typing import Any


def equation(told: dict[str, Any], prose: Callable[[str], str] = escape) -> Iterator[str]:
    """What ``explain`` says of it (``objects/explain.py``): the equation, its numbers, symbols and
    source. prose: how sentences become HTML."""
    yield f"<p>{escape(told['title'])}</p>\n"
    values = {symbol["letter"]: str(symbol["value"]) for symbol in told["symbols"]}
    formulas = {"position": told["per_position"], "fixed": told["fixed"]}
    for counted, result in told["elements"].items():
        what = "a position" if counted == "position" else counted
        steps = _steps(formulas[counted], values, result)
        yield f'<p class="equation"><span>elements, {what}</span> {steps}</p>\n'
    if told["symbols"]:
        items = "".join(
            f"<dt><code>{escape(symbol['letter'])}</code></dt><dd><code>{escape(symbol['field'])} = "
            f"{symbol['value']}</code> {escape(symbol['meaning'])}</dd>"
            for symbol in told["symbols"]
        )
        yield f'<dl class="symbols">{items}</dl>\n'
    said = [("Positions", told["positions"]), ("Stored", told["stored"]),
            ("Not stored", told["not_stored"]), ("Source", told["source"])]  # fmt: skip
    said += [("Note", note) for note in told["notes"]]
    yield from (f"<p><b>{name}:</b> {prose(words)}</p>\n" for name, words in said if words)


def _steps(formula: str, values: dict[str, str], result: int) -> str:
    """The equation, with its numbers, and what it comes to; * is × as people write it."""
    numbers = re.sub(r"[A-Za-z_][A-Za-z0-9_']*", lambda found: values[found[0]], formula)
    steps = dict.fromkeys((formula, numbers, f"{result:,}"))
    return " = ".join(f"<code>{escape(step.replace('*', '×'))}</code>" for step in steps)

"""The words and figures of a difference, shared by the formats of ``kvcalc diff``."""

from collections.abc import Callable, Iterator
from fractions import Fraction
from typing import Any

from kvcalc.checks.diff import Change, Diff, FailOn, OneSided, PolicyChange, Row, is_loosened
from kvcalc.checks.limits import FieldChange
from kvcalc.checks.quantities import QUANTITIES
from kvcalc.memory.workload import Asked
from kvcalc.spec.dump import flow
from kvcalc.units import format_bytes, format_count, format_tokens

# Fields of a budget that people write with a unit.
_UNITS: dict[str, Callable[[int], str]] = {
    "context": format_tokens,
    "encoder_context": format_tokens,
    **dict.fromkeys(("cache", "weights", "total", "cache_per_token", "gpu_memory"), format_bytes),
}
# What a field's old and new value may take of a line, and a whole budget or layer that comes or goes.
_MAX_VALUE, _MAX_BUDGET = 60, 200


def words(quantity: str, reference: Asked) -> str:
    """``cache of 8k tokens x 1``: what a row is about."""
    label, _ = QUANTITIES[quantity]
    if quantity == "cache_bytes":
        label += (
            f" of {format_tokens(reference.context_tokens or 0)} tokens x {reference.batch_size}"
        )
    return label


def value(quantity: str, number: int) -> str:
    """A quantity as people say it: ``128.00 KiB``, ``8.03 B``."""
    return format_bytes(number) if QUANTITIES[quantity][1] else format_count(number)


def difference(row: Row) -> str:
    """``+393,216 B``: exact, with its sign."""
    return f"{row.delta:+,}{' B' if QUANTITIES[row.quantity][1] else ''}"


def percent(row: Row) -> str:
    """``+300.0 %``; nothing where the base is zero. Never 0.0 for what is not."""
    if row.base == 0:
        return ""
    tenths = (abs(row.delta) * 2000 + row.base) // (2 * row.base)
    sign = "+" if row.delta > 0 else "-"
    return f"{sign}{tenths // 10}.{tenths % 10} %" if tenths else f"{sign}<0.1 %"


def percent_number(row: Row) -> float | None:
    """The difference in percent with two decimals, for JSON; None where the base is zero."""
    return float(round(Fraction(row.delta * 100, row.base), 2)) if row.base else None


def field_line(change: FieldChange) -> str:
    """``blocks.decoder.attention.num_key_value_heads: 8 -> 32``; a budget's sizes with units.

    What is held to less, or to more, is called so: ``loosened: budgets[0].batch: 8 -> 3``.
    """
    sides: tuple[Any, ...] = (change.base, change.head)
    if change.field.startswith(("budgets[", "workload.")):
        name = change.field.rpartition(".")[2]
        said = [_with_units(name, side) for side in sides]
        # Units round: where that hides the difference, the numbers stay.
        sides = (said[0], said[1]) if said[0] != said[1] else sides
    word = "" if change.effect == "changed" else f"{change.effect}: "
    if change.effect in ("added", "removed"):
        sides = (sides[0] if change.head is None else sides[1],)
    models = "" if change.field.endswith(".models") else ", ".join(change.models)
    about = f" (for {_short(models, _MAX_VALUE)})" if models else ""
    return f"{word}{change.field}: {' -> '.join(map(_shown, sides))}{about}"


def _with_units(name: str, plain: Any) -> Any:
    if isinstance(plain, dict):
        return {key: _with_units(key, item) for key, item in plain.items()}
    if isinstance(plain, int) and name in _UNITS:
        return _UNITS[name](plain)
    return plain


def where(change: Change) -> str:
    """The head's file, and the line of the first field that changed."""
    first = next((field.line for field in (*change.fields, *change.limits)), 0)
    moved = f" (was {change.base_path})" if change.base_path != change.path else ""
    return f"{change.path}:{first}{moved}" if first else f"{change.path}{moved}"


def renamed(change: Change) -> str:
    """`` (was old-name)`` for a model that has another name now."""
    return f" (was {change.base_model})" if change.base_model != change.model else ""


def one_sided(each: OneSided, reference: Asked) -> Iterator[str]:
    """The figures of an added or removed model, shortest that says it."""
    for quantity in ("parameters", "weight_bytes", "cache_bytes_per_token", "cache_bytes"):
        number = each.quantities[quantity]
        yield f"{words(quantity, reference)} {value(quantity, number)}"


def policy_title(policy: PolicyChange) -> str:
    """``kvcalc.yaml loosened``, or ``changed`` where nothing may take more than before."""
    return f"{policy.path} {'loosened' if is_loosened(policy.fields) else 'changed'}"


def conclusion(diff: Diff, fail_on: FailOn) -> str:
    """``compared with origin/main (1234abcd): 2 models changed, 1 added; failing: llama-3-8b``."""
    changed = sum(bool(change.rows) for change in diff.changed)
    parts = [f"{changed} model{'' if changed == 1 else 's'} changed"] if changed else []
    for word, count in (
        ("added", len(diff.added)),
        ("removed", len(diff.removed)),
        ("not comparable", len({each.path for each in diff.broken})),
    ):
        if count:
            parts.append(f"{count} {word}")
    loosened = sum(is_loosened(change.limits) for change in diff.changed)
    parts += [f"{loosened} with a loosened budget"] if loosened else []
    parts += [policy_title(each) for each in diff.policies]
    found = ", ".join(parts) or "no difference in any number"
    failing = ", ".join(diff.failing(fail_on))
    words = f"; failing: {_short(failing, _MAX_BUDGET)}" if failing else ""
    return f"compared with {diff.revision} ({diff.base.commit[:8]}): {found}{words}"


def _shown(plain: Any) -> str:
    if plain is None:
        return "unset"
    text = flow(plain)
    most = _MAX_BUDGET if isinstance(plain, dict) else _MAX_VALUE
    return _short(text, most)


def _short(text: str, most: int) -> str:
    return text if len(text) <= most else f"{text[: most - 3]}..."

"""What a change does to budgets and tolerances: whether a model may take more than before.

A budget is one or more limits on a workload, for models. A limit holds on as long as some budget of
the head is for the same models, asks for at least the same workload, and allows no more. So it does
not matter where a budget stands in its list, or whether one became two. Where a limit does not hold
on, the fields that let more through are ``loosened``; a budget of which nothing is left is
``removed``. An engine in place of another is ``changed``: neither is stricter as a rule.
"""

import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from fnmatch import fnmatchcase
from fractions import Fraction
from typing import Any, Literal

from kvcalc.checks.budget_language import (
    ASKED,
    FORMATS,
    MEDIA,
    ComparedWorkload,
    Policy,
    PolicyBudget,
)
from kvcalc.checks.policy import LoadedPolicy
from kvcalc.checks.quantities import QUANTITIES, parse_tolerances
from kvcalc.dtypes import GGML, CacheDtypes, weight_format
from kvcalc.file_types import recipe
from kvcalc.frozen import frozen
from kvcalc.mlx_types import mlx_recipe
from kvcalc.spec.dump import to_plain
from kvcalc.spec.model import Budget

Mark = Callable[[str], tuple[int, int]]
Effect = Literal["changed", "added", "removed", "loosened", "tightened"]
# What lets a model take more than the base would.
LOOSER: tuple[Effect, ...] = ("loosened", "removed")


@frozen
class FieldChange:
    """A field whose value differs; None where a side leaves it out. line: in the head's file.

    models: of a team's budget, the ones that the head has it for.
    """

    field: str
    base: Any
    head: Any
    line: int
    effect: Effect = "changed"
    models: tuple[str, ...] = ()


def budget_changes(
    base: Sequence[Budget], head: Sequence[Budget], mark: Mark
) -> Iterator[FieldChange]:
    """The fields that differ, with their effects. mark: where the head has a field."""
    rest = dict(enumerate(base))
    pairs: list[tuple[int, Budget | None]] = []
    new = dict(enumerate(head))
    # Equal ones first, then those that have most in common.
    for equal in (True, False):
        for index, budget in list(new.items()):
            likely = [key for key, old in rest.items() if old == budget or not equal]
            best = max(likely, key=lambda key: _alike(rest[key], budget), default=None)
            if best is not None and _alike(rest[best], budget):
                pairs.append((index, rest.pop(best)))
                del new[index]
    pairs += [(index, None) for index in new]
    for index, old in sorted(pairs, key=lambda pair: pair[0]):
        where, budget = f"budgets[{index}]", head[index]
        if old is None:
            yield FieldChange(where, None, _plain(budget), mark(where)[0], "added")
            continue
        open_limits = list(_not_held(old, head))
        for name, before, after in _differing(_plain(old), _plain(budget)):
            field = f"{where}.{name}"
            effect = _effect(name, old, budget, open_limits)
            models = getattr(budget, "models", ())
            yield FieldChange(field, before, after, mark(field)[0], effect, models)
    for index, old in rest.items():
        word: Effect = "removed" if any(_not_held(old, head)) else "changed"
        yield FieldChange(f"budgets[{index}]", _plain(old), None, mark("budgets")[0], word)


def policy_changes(base: Policy, head: Policy, mark: Mark) -> Iterator[FieldChange]:
    """The budgets, tolerances and values of the workload that differ."""
    yield from budget_changes(base.budgets, head.budgets, mark)
    looser = set(_looser_tolerances(base, head))
    for name, before, after in _differing(base.tolerances, head.tolerances):
        about = looser - head.tolerances.keys() if name == "all" else looser & {name}
        where = f"tolerances.{name}"
        effect: Effect = "loosened" if about else "tightened"
        yield FieldChange(where, before, after, mark(where)[0], effect)
    for name, before, after in _differing(_plain(base.workload), _plain(head.workload)):
        where = f"workload.{name}"
        yield FieldChange(where, before, after, mark(where)[0])


def no_longer_held(above: LoadedPolicy, new: LoadedPolicy, folder: str) -> Iterator[FieldChange]:
    """The budgets of a policy that lose a folder below it to a new policy there, and are not in it."""
    sides = [each.policy.budgets if each.policy is not None else () for each in (above, new)]
    for index, budget in enumerate(sides[0]):
        if any(_may_be_below(pattern, folder) for pattern, _ in _not_held(budget, sides[1])):
            where = f"budgets[{index}] of {above.path}"
            yield FieldChange(where, _plain(budget), None, 1, "removed")


def _may_be_below(pattern: str, folder: str) -> bool:
    """Whether a pattern may mean a model below a folder, which is relative to the pattern's."""
    start = re.split(r"[*?\[]", _whole(pattern), maxsplit=1)[0]
    below = f"{folder}/"
    return "/" not in pattern or start.startswith(below) or below.startswith(start)


def _looser_tolerances(base: Policy, head: Policy) -> Iterator[str]:
    """The quantities that may grow more than before, one that is covered by its whole included."""
    old, new = (parse_tolerances(policy.tolerances) for policy in (base, head))
    for name in QUANTITIES:
        is_covered = new[name].whole and not old[name].whole and name in base.tolerances
        grown = new[name].share > old[name].share or new[name].amount > old[name].amount
        if grown or is_covered:
            yield name


def _effect(name: str, old: Budget, new: Budget, open_limits: list[tuple[str, str]]) -> Effect:
    """What one field does, where the two budgets differ in it. open_limits: of the old one."""
    if name == "models":
        if any(not _is_for(new, pattern, old) for pattern, _ in open_limits):
            return "loosened"
        wider = all(_is_for(new, pattern, old) for pattern in _models(old))
        narrower = all(_is_for(old, pattern, new) for pattern in _models(new))
        return "tightened" if wider and not narrower else "changed"
    if _is_looser(name, old, new):
        limits = {limit for _, limit in open_limits}
        asked = any(name == limit or name in ASKED[limit] for limit in limits)
        return "loosened" if asked else "changed"
    return "tightened" if _is_looser(name, new, old) else "changed"


def _not_held(old: Budget, head: Sequence[Budget]) -> Iterator[tuple[str, str]]:
    """(pattern of models, limit) of a budget of the base that no budget of the head holds on."""
    limits = [name for name in ASKED if getattr(old, name, None) is not None]
    for pattern in _models(old):
        about = [new for new in head if _is_for(new, pattern, old)]
        for limit in limits:
            fields = (limit, *ASKED[limit])
            if not any(not any(_is_looser(name, old, new) for name in fields) for new in about):
                yield pattern, limit


def _is_looser(name: str, old: Budget, new: Budget) -> bool:
    """Whether a field of the new budget lets more through than that of the old one."""
    if name in ("gpu", "gpu_memory"):
        sides = (_memory(old), _memory(new))
        # Of a bare size nothing goes to the engine, unless one is named.
        bare = getattr(old, "gpu", None) and not getattr(new, "gpu", None)
        if bare and getattr(new, "engine", None) is None:
            return True
        return sides[0] is not None and (sides[1] is None or sides[1] > sides[0])
    before: Any = getattr(old, name, None)
    after: Any = getattr(new, name, None)
    if name in FORMATS:
        # A format that there is not is for 'kvcalc check' to find.
        with suppress(ValueError):
            return before != after and _is_smaller_format(name, before, after)
        return False
    if name == "context" or name == "batch":
        return bool(after < before)
    if name in MEDIA:
        return not set(before) <= set(after)
    if name == "encoder_context":
        return (new.encoder_context or new.context) < (old.encoder_context or old.context)
    if name == "engine":
        return before is not None and after is None
    if name == "memory_utilization":
        usual = Fraction(9, 10)
        return (after or usual) > (before or usual)
    if name in ("tp", "pp"):
        return bool((after or 1) > (before or 1))
    return before is not None and bool(after is None or after > before)


def _memory(budget: Budget) -> int | None:
    """The bytes of the GPU that a budget names."""
    if not isinstance(budget, PolicyBudget):
        return None
    if budget.gpu is None:
        return budget.gpu_memory
    from kvcalc.deployment.hardware import find

    return int(find(budget.gpu).bytes)


def _is_smaller_format(name: str, before: str | None, after: str | None) -> bool:
    """Whether the same elements may take less. A checkpoint's own format is any up to 16 bits."""
    if name == "kv_dtype":
        old, new = (CacheDtypes.parse(text or "bf16") for text in (before, after))
        sides = ((old.key, new.key), (old.value, new.value))
        return any(_latent_bytes(mine) < _latent_bytes(theirs) for theirs, mine in sides)
    own = (None, "checkpoint")
    if after in own:
        return before not in own
    least = 1024 if before in own else _row(before or "")
    return _row(after or "") < least


def _row(dtype: str) -> int:
    """What 512 elements of a matrix take; of a GGUF or MLX type, in what most of it is in."""
    gguf, mlx = recipe(dtype), mlx_recipe(dtype)
    if mlx is not None:
        return mlx.usual.format().row(512)
    return (GGML[gguf.file_type.default] if gguf else weight_format(dtype)).row(512)


def _latent_bytes(name: str) -> int:
    """What 512 elements take, as a key or as a latent, for which every format has a layout."""
    size: int = CacheDtypes(key=name).format("latent").row(512)
    return size


# ---------------------------------------------------------------- models


def _models(budget: Budget) -> tuple[str, ...]:
    """The patterns that a budget is for; a spec's own budget is for its spec."""
    patterns = budget.models if isinstance(budget, PolicyBudget) else ("*",)
    return tuple(pattern for pattern in patterns if not pattern.startswith("!"))


def _is_for(new: Budget, pattern: str, old: Budget) -> bool:
    """Whether a budget is for every model that a pattern of the old one means."""
    excluded, before = (
        [each[1:] for each in getattr(budget, "models", ()) if each.startswith("!")]
        for budget in (new, old)
    )
    return any(_includes(own, pattern) for own in _models(new)) and all(
        any(_includes(wide, own) for wide in before) for own in excluded
    )


def _includes(wide: str, narrow: str) -> bool:
    """Whether one pattern fits all that the other fits, as far as their letters tell."""
    wide, narrow = (_whole(pattern) for pattern in (wide, narrow))
    # Every model has a name.
    if wide in ("*", narrow):
        return True
    # A ? or a [ of the wide one would fit the narrow one's * as a letter.
    return (
        ("/" in wide) == ("/" in narrow) and not set("?[") & set(wide) and fnmatchcase(narrow, wide)
    )


def _whole(pattern: str) -> str:
    pattern = pattern.removeprefix("./")
    return f"{pattern}*" if pattern.endswith("/") else pattern


# ---------------------------------------------------------------- values


def _plain(value: Budget | ComparedWorkload) -> dict[str, Any]:
    plain: dict[str, Any] = to_plain(value)
    return plain


def _differing(base: dict[str, Any], head: dict[str, Any]) -> Iterator[tuple[str, Any, Any]]:
    """(key, base, head) of what differs, None for what a side leaves out."""
    for key in {**base, **head}:
        if base.get(key) != head.get(key):
            yield key, base.get(key), head.get(key)


def _alike(one: Budget, other: Budget) -> int:
    """How many fields two budgets share; to be for the same models counts most."""
    old, new = _plain(one), _plain(other)
    same: int = sum(key in new and new[key] == value for key, value in old.items())
    return same + (len(old) if old.get("models") == new.get("models") else 0)

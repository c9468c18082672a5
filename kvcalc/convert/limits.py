"""What a configuration class of transformers refuses to build, measured of the class itself.

class_defaults.json (``python -m tests.convert.class_defaults``) has of each class which fields take null,
which width of a head must be even because the head rotates as a whole (validate_rope), and whether
hidden_size must be a multiple of the heads although head_dim is stated (validate_architecture).
"""

from collections.abc import Mapping
from typing import Any, NoReturn, Protocol

from kvcalc.frozen import frozen


class Keys(Protocol):
    """What a config is asked (``Config`` of kvcalc/convert/config.py)."""

    model_type: str

    @property
    def values(self) -> Mapping[str, Any]: ...
    def own(self, key: str) -> str: ...
    def stated(self, key: str) -> Any: ...
    def wrong(self, key: str, message: str) -> NoReturn: ...


# transformers lets heads of up to this width pass, for the sake of tiny models made for tests.
_TINY = 4


@frozen
class Limits:
    """One class's. never_null: fields that take no null; required: that have to be stated.

    even, divided: as in the module's words.
    """

    class_name: str
    never_null: frozenset[str]
    required: tuple[str, ...]
    even: tuple[str, ...]
    divided: bool

    def hold(self, c: Keys) -> None:
        """Raise SpecError for the first key of a config that the class refuses."""
        for key, value in c.values.items():
            if value is None and c.own(key) in self.never_null:
                c.wrong(key, f"null, which transformers' {self.class_name} refuses: leave it out")
        for key in self.required:
            if c.stated(key) is None:
                c.wrong(key, f"required: transformers builds no {c.model_type} without it")
        hidden, heads = c.stated("hidden_size"), c.stated("num_attention_heads")
        shaped = isinstance(hidden, int) and isinstance(heads, int) and heads > 0
        if self.divided and shaped and hidden % heads:
            c.wrong("hidden_size", f"transformers' {self.class_name} refuses {hidden}, which is no "
                                   f"multiple of {heads} heads")  # fmt: skip
        widths = {name: c.stated(name) for name in self.even}
        if "hidden_size" in self.even and c.stated("head_dim") is None and shaped:
            widths["hidden_size"] = hidden // heads
        else:
            widths.pop("hidden_size", None)
        for name, width in widths.items():
            odd = isinstance(width, int) and width > _TINY and width % 2 == 1
            if odd and _rotate_whole(c.values):
                c.wrong(name, f"heads of {width} rotate as a whole: transformers' {self.class_name} "
                              "refuses an odd width")  # fmt: skip


def limits_of(entry: Mapping[str, Any]) -> Limits:
    """The limits of a class's row in class_defaults.json."""
    nullable = entry.get("nullable", ())
    stated = (name for name, default in entry["defaults"].items() if default is not None)
    return Limits(
        entry["class"], frozenset(name for name in stated if name not in nullable),
        tuple(entry.get("required", ())), tuple(entry.get("even", ())), entry.get("divided", False),
    )  # fmt: skip


def _rotate_whole(values: Mapping[str, Any]) -> bool:
    """Whether heads rotate as a whole, in the layers of any kind that has rotary settings of its own."""
    rope = values.get("rope_parameters") or values.get("rope_scaling")
    rope = rope if isinstance(rope, Mapping) else {}
    usual = values.get("partial_rotary_factor", 1)
    groups = [group for group in rope.values() if isinstance(group, Mapping)] or [rope]
    factors = [group.get("partial_rotary_factor", usual) for group in groups]
    return any(not isinstance(factor, int | float) or factor >= 1 for factor in factors)

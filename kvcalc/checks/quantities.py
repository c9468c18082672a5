"""What ``kvcalc diff`` compares of a model, and how much each may grow."""

from dataclasses import replace
from fractions import Fraction

from kvcalc.errors import UsageError
from kvcalc.frozen import frozen
from kvcalc.memory.cache import compile_groups
from kvcalc.memory.estimate import choose_workload
from kvcalc.memory.inventory import groups_of, mtp_groups
from kvcalc.memory.weights import count_parameters, summarise, weight_bytes
from kvcalc.memory.workload import Asked
from kvcalc.spec.model import ModelSpec
from kvcalc.spec.words import near
from kvcalc.units import parse_bytes

# quantity -> (words, whether it is bytes), in the order of a report.
QUANTITIES: dict[str, tuple[str, bool]] = {
    "parameters": ("parameters", False),
    "active_parameters": ("active parameters", False),
    "mtp_parameters": ("MTP parameters", False),
    "weight_bytes": ("weights", True),
    "cache_bytes_per_token": ("cache per token", True),
    "fixed_cache_bytes": ("fixed per sequence", True),
    "cache_bytes": ("cache", True),
}


def unit_of(quantity: str) -> str:
    """``bytes`` or ``count``."""
    return "bytes" if QUANTITIES[quantity][1] else "count"


# The same tensors counted again: a tolerance of the whole covers the parts that have none.
_WHOLE = {
    "parameters": "weight_bytes",
    "active_parameters": "weight_bytes",
    "cache_bytes_per_token": "cache_bytes",
    "fixed_cache_bytes": "cache_bytes",
}


@frozen
class Tolerance:
    """Growth that is no finding: a share of the base, or an amount.

    whole: a quantity with a tolerance of its own, of which this one is a part that has none.
    """

    share: Fraction = Fraction(0)
    amount: int = 0
    whole: str = ""

    def allows(self, base: int, head: int) -> bool:
        """Whether the difference, up or down, is within it."""
        return abs(head - base) <= self._bound(base)

    def covers(self, base: int, head: int) -> bool:
        """Whether the parts of a whole that changed like this are within it, too."""
        return base != head and head - base <= self._bound(base)

    def _bound(self, base: int) -> Fraction:
        return max(self.share * base, Fraction(self.amount))


def tolerated(
    quantity: str, base: dict[str, int], head: dict[str, int], tolerances: dict[str, Tolerance]
) -> bool:
    """Whether a difference is within the quantity's tolerance, or within that of its whole."""
    own = tolerances[quantity]
    whole = own.whole
    return own.allows(base[quantity], head[quantity]) or (
        bool(whole) and tolerances[whole].covers(base[whole], head[whole])
    )


def measure(spec: ModelSpec, reference: Asked) -> dict[str, int]:
    """Every quantity of a model; ``cache_bytes`` is of the reference workload, whose number formats
    all bytes are in. Raises KvcalcError when one cannot be computed."""
    workload, _ = choose_workload(spec, reference)
    parameters = summarise(spec)
    cache = compile_groups(groups_of(spec), workload.cache)
    most = cache.most(workload.context_tokens, workload.encoder_tokens)
    return {
        "parameters": parameters.total,
        "active_parameters": parameters.active,
        "mtp_parameters": count_parameters(mtp_groups(spec)),
        "weight_bytes": weight_bytes(spec, workload.dtype)[0],
        "cache_bytes_per_token": cache.bytes_per_token,
        "fixed_cache_bytes": cache.fixed_bytes(workload.encoder_tokens),
        "cache_bytes": workload.num_sequences * most,
    }


def parse_tolerances(given: dict[str, str]) -> dict[str, Tolerance]:
    """Quantity -> tolerance; ``all`` stands for those that are not named, and that of weight_bytes
    or cache_bytes covers its parts that are not named.

    Raises UsageError naming what is wrong.
    """
    found = {}
    for quantity, text in given.items():
        if quantity not in (*QUANTITIES, "all"):
            hint = near(quantity, QUANTITIES) or f" (known: {', '.join(QUANTITIES)}, all)"
            raise UsageError(f"tolerance: no quantity '{quantity}'{hint}")
        found[quantity] = _tolerance(text, quantity)
    every = found.pop("all", Tolerance())
    for part, whole in _WHOLE.items():
        if part not in found and whole in found:
            found[part] = replace(every, whole=whole)
    return {quantity: found.get(quantity, every) for quantity in QUANTITIES}


def _tolerance(text: str, quantity: str) -> Tolerance:
    try:
        if text.endswith("%"):
            percent = text[:-1].strip()
            if len(percent) > 20 or not percent.replace(".", "", 1).isdecimal():
                raise ValueError(f"'{text}' is not a percentage: write 1% or 0.5%")
            return Tolerance(share=Fraction(percent) / 100)
        return Tolerance(amount=parse_bytes(text))
    except ValueError as error:
        raise UsageError(f"tolerance of {quantity}: {error}") from None

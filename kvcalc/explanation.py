"""What a mechanism says of itself: its equation in the paper's symbols, and where each comes from."""

from kvcalc.frozen import frozen


@frozen
class Symbol:
    """A letter of the equation, the spec field that holds it, its value and what it means."""

    letter: str
    field: str
    value: int
    meaning: str


@frozen
class Explanation:
    """The cost of one layer, as equations that evaluate to the inventory's element counts.

    per_position: elements per cached position, for instance ``2 * n_kv * d_h`` (empty: none).
    fixed: elements per sequence whatever its length, for instance ``n_h * P * N`` (empty: none).
    Only ``+ - * // ( )``, numbers and the symbols' letters may stand in them.
    positions: how many positions are kept, in words. stored, not_stored: one sentence each.
    source: paper and equation, reference code.
    """

    title: str
    symbols: tuple[Symbol, ...]
    source: str
    stored: str
    not_stored: str
    per_position: str = ""
    fixed: str = ""
    positions: str = ""
    notes: tuple[str, ...] = ()

    def substituted(self, equation: str) -> str:
        """The equation with each symbol replaced by its value."""
        import re

        values = {symbol.letter: str(symbol.value) for symbol in self.symbols}
        return re.sub(r"[A-Za-z_][A-Za-z0-9_']*", lambda m: values[m[0]], equation)

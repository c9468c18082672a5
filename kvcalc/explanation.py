"""What a mechanism says of itself: its equation in the paper's symbols, and where each comes from."""

from collections.abc import Iterator

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

    def equations(self) -> Iterator[tuple[str, str, str, int]]:
        """What is counted (``position``, ``fixed``), its equation, that with values, and the result."""
        for counted in ("position", "fixed"):
            equation = self.per_position if counted == "position" else self.fixed
            if equation:
                values = self.substituted(equation)
                yield counted, equation, values, evaluate(values)


def evaluate(equation: str) -> int:
    """The value of whole numbers with + - * // and brackets. Raises ValueError for anything else."""
    import ast

    def value(node: ast.AST) -> int:
        match node:
            case ast.Expression(body):
                return value(body)
            case ast.Constant(int() as number):
                return number
            case ast.BinOp(left, ast.Add(), right):
                return value(left) + value(right)
            case ast.BinOp(left, ast.Sub(), right):
                return value(left) - value(right)
            case ast.BinOp(left, ast.Mult(), right):
                return value(left) * value(right)
            case ast.BinOp(left, ast.FloorDiv(), right):
                return value(left) // value(right)
            case _:
                raise ValueError(f"not an equation of whole numbers: {equation}")

    return value(ast.parse(equation, mode="eval"))

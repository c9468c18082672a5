"""Dependencies point one way, and the core stays light. Reads the imports; runs nothing but Python."""

import ast
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import NamedTuple

PACKAGE = Path(__file__).resolve().parent.parent / "kvcalc"

# Each layer may import itself and what stands above it in this list.
LAYERS = (
    ("frozen",),
    ("errors", "units", "counts", "names", "proofs"),
    ("buffers", "dtypes", "mlx_types", "file_types", "reading"),
    ("tensors", "explanation", "mechanism"),
    ("attention", "recurrent", "ffn", "stack", "media"),
    # Towers have the language model's attention and feed-forward layers.
    ("towers",),
    ("spec",),
    # What llama.cpp and mlx-lm make is read off memory's inventory, and gives its ledger formats.
    ("memory", "gguf", "mlx"),
    ("convert", "engines", "deployment", "tiers"),
    ("checks", "logs"),
    ("report",),
    ("api", "site"),
    ("cli", "verify"),
)
RANK = {name: rank for rank, names in enumerate(LAYERS) for name in names}
FILES = sorted(PACKAGE.rglob("*.py"))


def module_name(path: Path) -> str:
    parts = ("kvcalc", *path.relative_to(PACKAGE).with_suffix("").parts)
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_name(path): path for path in FILES}


class Said(NamedTuple):
    """What the tests ask of a file: its imports, those outside ``if TYPE_CHECKING``, and lines."""

    imports: frozenset[str]
    at_run_time: frozenset[str]
    prints: tuple[int, ...]
    long: tuple[str, ...]


@cache
def said(path: Path) -> Said:
    """A file read once for all tests. ``from kvcalc import report`` imports kvcalc.report."""
    found: dict[str, bool] = {}
    checking: set[ast.AST] = set()
    prints, long = [], []
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        match node:
            case ast.If(test=ast.Name("TYPE_CHECKING")):
                checking.update(child for item in node.body for child in ast.walk(item))
            case ast.Import():
                for alias in node.names:
                    found[alias.name] = found.get(alias.name, False) or node not in checking
            case ast.ImportFrom():
                assert not node.level, f"{path}: say the whole name, not a relative one"
                for alias in node.names:
                    full = f"{node.module}.{alias.name}"
                    name = full if full in MODULES else node.module or ""
                    found[name] = found.get(name, False) or node not in checking
            case ast.Call(func=ast.Name("print")):
                prints.append(node.lineno)
            case ast.FunctionDef(lineno=first, end_lineno=int(last)) if last - first + 1 >= 60:
                long.append(f"{path}:{first} {node.name}")
    run = frozenset(name for name, there in found.items() if there)
    return Said(frozenset(found), run, tuple(prints), tuple(long))


def layer(module: str) -> str | None:
    parts = module.split(".")
    return parts[1] if parts[0] == "kvcalc" and len(parts) > 1 else None


def own_layer(path: Path) -> str | None:
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return None if parts[0] in ("__init__", "__main__") else parts[0]


def test_imports_point_down() -> None:
    owners = {path: own for path in FILES if (own := own_layer(path)) is not None}
    assert {own for own in owners.values() if own not in RANK} == set(), (
        "no place among the layers: give it one in LAYERS, and in CONTRIBUTING's picture"
    )
    wrong = [
        f"{path} imports {module}, which stands above it"
        for path, own in owners.items()
        for module in said(path).imports
        if (other := layer(module)) is not None and RANK[other] > RANK[own]
    ]
    assert not wrong


def circles() -> list[set[str]]:
    """Modules that reach each other through imports: at the top, in functions and for types."""
    leads = {name: said(path).imports & MODULES.keys() - {name} for name, path in MODULES.items()}

    def reached(start: str, by: dict[str, set[str]]) -> set[str]:
        seen, open_ends = set[str](), [start]
        while open_ends:
            for module in by[open_ends.pop()] - seen:
                seen.add(module)
                open_ends.append(module)
        return seen

    behind: dict[str, set[str]] = {name: set() for name in MODULES}
    for name, others in leads.items():
        for other in others:
            behind[other].add(name)
    ahead = {name: set(others) for name, others in leads.items()}
    found: list[set[str]] = []
    for name in MODULES:
        if not any(name in circle for circle in found):
            circle = reached(name, ahead) & reached(name, behind)
            if circle:
                found.append(circle)
    return found


def test_imports_form_no_circle() -> None:
    assert [sorted(circle) for circle in circles()] == [], (
        "move what both need into a module below them"
    )


def test_an_import_by_name_and_one_for_types_are_seen(tmp_path: Path) -> None:
    file = tmp_path / "back_door.py"
    file.write_text(
        "from typing import TYPE_CHECKING\nfrom kvcalc import report\n"
        "if TYPE_CHECKING:\n    from kvcalc.cli.app import main\n"
    )
    assert {"kvcalc.report", "kvcalc.cli.app"} <= said(file).imports
    assert "kvcalc.cli.app" not in said(file).at_run_time


def test_torch_only_in_verify() -> None:
    heavy = {"torch", "transformers", "numpy"}
    wrong = [
        f"{path} imports {module}, which only kvcalc/verify may"
        for path in FILES
        if own_layer(path) != "verify"
        for module in said(path).at_run_time
        if module.split(".")[0] in heavy
    ]
    assert not wrong


def test_only_the_command_line_prints() -> None:
    wrong = [
        f"{path}:{line} prints: return it, and let kvcalc/cli print it"
        for path in FILES
        if own_layer(path) not in ("cli", None)
        for line in said(path).prints
    ]
    assert not wrong


def test_a_function_fits_a_screen() -> None:
    long = [f"{where} has 60 lines or more" for path in FILES for where in said(path).long]
    long += [
        f"{path} has more than 500 lines"
        for path in FILES
        if path.read_text("utf-8").count("\n") > 500
    ]
    assert not long


def test_an_estimate_stays_light() -> None:
    program = (
        "import sys\n"
        "from kvcalc.cli.app import main\n"
        "try:\n"
        "    main(['estimate', 'llama-3-8b', '--format', 'json'])\n"
        "except SystemExit:\n"
        "    pass\n"
        "heavy = {'torch', 'numpy', 'pydantic', 'matplotlib', 'transformers', 'rich'}\n"
        "heavy |= {'fractions', 'decimal', 'dataclasses'}\n"
        "print(sorted(heavy & set(sys.modules)), file=sys.stderr)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.stderr.strip() == "[]"

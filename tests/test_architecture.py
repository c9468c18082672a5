"""Dependencies point one way, and the core stays light. Reads the imports; runs nothing but Python."""

import ast
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

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


@cache
def imports(path: Path, types_too: bool = True) -> frozenset[str]:
    """Every module that a file imports, wherever the import stands.

    ``from kvcalc import report`` imports kvcalc.report. types_too: those for type checkers as well.
    """
    found: set[str] = set()
    tree = ast.parse(path.read_text("utf-8"))
    checking: set[ast.AST] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            checking.update(child for item in node.body for child in ast.walk(item))
        if node in checking and not types_too:
            continue
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{path}: say the whole name, not a relative one"
            for alias in node.names:
                full = f"{node.module}.{alias.name}"
                found.add(full if full in MODULES else node.module or "")
    return frozenset(found)


def layer(module: str) -> str | None:
    parts = module.split(".")
    return parts[1] if parts[0] == "kvcalc" and len(parts) > 1 else None


def own_layer(path: Path) -> str | None:
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return None if parts[0] in ("__init__", "__main__") else parts[0]


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_point_down(path: Path) -> None:
    own = own_layer(path)
    if own is None:
        return
    assert own in RANK, f"{own} has no place among the layers"
    for module in imports(path):
        other = layer(module)
        if other is not None:
            assert RANK[other] <= RANK[own], f"{path} imports {module}, which stands above it"


def circles() -> list[set[str]]:
    """Modules that reach each other through imports: at the top, in functions and for types."""
    leads = {name: imports(path) & MODULES.keys() - {name} for name, path in MODULES.items()}

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
    assert {"kvcalc.report", "kvcalc.cli.app"} <= imports(file)
    assert "kvcalc.cli.app" not in imports(file, types_too=False)


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_torch_only_in_verify(path: Path) -> None:
    heavy = {module.split(".")[0] for module in imports(path, types_too=False)} & {
        "torch",
        "transformers",
        "numpy",
    }
    assert not heavy or own_layer(path) == "verify", f"{path} imports {heavy}"


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_only_the_command_line_prints(path: Path) -> None:
    if own_layer(path) in ("cli", None):
        return
    tree = ast.parse(path.read_text("utf-8"))
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call)]
    assert not [call for call in calls if ast.unparse(call.func) == "print"], path


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_a_function_fits_a_screen(path: Path) -> None:
    assert len(path.read_text("utf-8").splitlines()) <= 500, path
    long = {
        f"{path}:{node.lineno} {node.name}"
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(node, ast.FunctionDef) and (node.end_lineno or 0) - node.lineno + 1 >= 60
    }
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
        "print(sorted(heavy & set(sys.modules)), file=sys.stderr)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.stderr.strip() == "[]"

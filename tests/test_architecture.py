"""Dependencies point one way, and the core stays light. Reads the imports; runs nothing but Python."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parent.parent / "kvcalc"

# Each layer may import itself and what stands above it in this list.
LAYERS = (
    ("frozen",),
    ("errors", "units", "counts", "names"),
    ("dtypes", "reading"),
    ("tensors", "explanation"),
    ("attention", "recurrent", "ffn", "stack", "media"),
    ("spec",),
    ("memory",),
    ("convert", "engines", "deployment"),
    ("checks",),
    ("report",),
    ("api",),
    ("cli", "verify"),
)
RANK = {name: rank for rank, names in enumerate(LAYERS) for name in names}
FILES = sorted(PACKAGE.rglob("*.py"))


def imports(path: Path) -> set[str]:
    """Every module that a file imports at run time, wherever the import stands."""
    found: set[str] = set()
    tree = ast.parse(path.read_text("utf-8"))
    checking: set[ast.AST] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            checking.update(child for item in node.body for child in ast.walk(item))
        if node in checking:
            continue
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module)
    return found


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


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_torch_only_in_verify(path: Path) -> None:
    heavy = {module.split(".")[0] for module in imports(path)} & {"torch", "transformers", "numpy"}
    assert not heavy or own_layer(path) == "verify", f"{path} imports {heavy}"


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_only_the_command_line_prints(path: Path) -> None:
    if own_layer(path) in ("cli", None):
        return
    tree = ast.parse(path.read_text("utf-8"))
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call)]
    assert not [call for call in calls if ast.unparse(call.func) == "print"], path


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

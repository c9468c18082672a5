import ast
import inspect
import re
import subprocess
import sys
from dataclasses import fields
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any, get_args, get_type_hints

import pytest

from kvcalc import attention, ffn, recurrent
from kvcalc.attention import CROSS_KINDS, KINDS

ALL = {**KINDS, **CROSS_KINDS}


def load(kind: str) -> Any:
    module, name = ALL[kind]
    return getattr(import_module(module), name)


@pytest.mark.parametrize("kind", ALL)
def test_every_kind_names_a_class_that_accepts_it(kind: str) -> None:
    assert kind in get_args(get_type_hints(load(kind))["kind"])


@pytest.mark.parametrize("kind", ALL)
def test_every_field_is_described(kind: str) -> None:
    mechanism = load(kind)
    doc = inspect.cleandoc(mechanism.__doc__)
    described = re.findall(r"^    (\w+): ", doc.split("Fields:")[1], re.M)
    assert sorted(described) == sorted(field.name for field in fields(mechanism))


@pytest.mark.parametrize("package", [attention, recurrent, ffn])
def test_the_union_that_mypy_reads_has_every_class(package: ModuleType) -> None:
    source = Path(package.__file__ or "").read_text("utf-8")
    [union] = [node for node in ast.walk(ast.parse(source))
               if isinstance(node, ast.Assign) and isinstance(node.value, ast.BinOp)]  # fmt: skip
    listed = {node.id for node in ast.walk(union.value) if isinstance(node, ast.Name)}
    missing = {name for _, name in package.KINDS.values()} - listed
    assert missing == set(), f"in the union of {package.__name__}"


def test_importing_the_package_imports_no_mechanism() -> None:
    code = "import sys, kvcalc.attention; print(*(m for m in sys.modules if 'kvcalc.' in m))"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout.split() == ["kvcalc.attention"]

"""What CONTRIBUTING.md says of the code: paths, modules that write files, names, the order of layers."""

import re
from importlib.util import find_spec
from pathlib import Path

import pytest

from tests.test_architecture import LAYERS

ROOT = Path(__file__).resolve().parent.parent
TEXT = (ROOT / "CONTRIBUTING.md").read_text("utf-8")
CODE = re.findall(r"`([^`\n]+)`", TEXT)
PATHS = [code for code in CODE if re.fullmatch(r"\.?(kvcalc|tests|ci|model_specs)/[\w./]*", code)]
MODULES = sorted(set(re.findall(r"python -m ([\w.]+)", TEXT)))
# A name, and the file that the sentence says it is in.
NAMES = {
    "KINDS": "kvcalc/attention/__init__.py",
    "UNDIVIDED": "kvcalc/verify/shards.py",
    "CapacityRequest": "kvcalc/engines/request.py",
    "Holding": "kvcalc/engines/holding.py",
    "groups_of": "kvcalc/memory/inventory.py",
    "ENGINES": "kvcalc/engines/__init__.py",
    "Engine": "kvcalc/engines/engine.py",
    "ROWS": "tests/test_dtypes.py",
    "PRINTERS": "kvcalc/report/formats/__init__.py",
    "FILES": "kvcalc/report/answers/__init__.py",
    "SAID": "tests/report/test_formats.py",
    "PLAIN": "tests/report/test_formats.py",
    "WITHOUT_TOTAL": "tests/test_model_specs.py",
    "Config": "kvcalc/convert/config.py",
    "OVERRIDES": "tests/convert/overrides.py",
}


def test_it_is_read_in_six_minutes() -> None:
    assert len(TEXT.split()) <= 1500


@pytest.mark.parametrize("path", sorted(set(PATHS)))
def test_path_exists(path: str) -> None:
    assert (ROOT / path).exists()


@pytest.mark.parametrize("module", MODULES)
def test_module_that_writes_a_file_runs(module: str) -> None:
    found = find_spec(module)
    assert found is not None
    assert found.origin is not None
    assert '__name__ == "__main__"' in Path(found.origin).read_text("utf-8")


@pytest.mark.parametrize("name", NAMES)
def test_name_is_where_it_is_said_to_be(name: str) -> None:
    assert re.search(rf"\b{name}\b", TEXT)
    defined = rf"^(class |def )?{name}\b( ?[:=(]|$)"
    assert re.search(defined, (ROOT / NAMES[name]).read_text("utf-8"), re.MULTILINE)


def test_layers_stand_in_their_order() -> None:
    [picture] = re.findall(r"^    (frozen -> .*(?:\n {8,}.*)+)$", TEXT, re.MULTILINE)
    shown = [tuple(names.split(", ")) for names in " ".join(picture.split()).split(" -> ")]
    assert tuple(shown) == LAYERS

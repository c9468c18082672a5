"""What a user installs: metadata, files, the public names, and what importing them costs."""

import subprocess
import sys
import tomllib
from importlib.metadata import PackageNotFoundError, metadata
from pathlib import Path
from typing import Any

import pytest

import kvcalc
from kvcalc.cli.commands import COMMANDS

ROOT = Path(__file__).resolve().parent.parent
PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
SUFFIXES = {".py", ".json", ".jsonl", ".yaml", ".md", ".html", ".css", ".js", ".txt", ".tsv"}


def python(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Python in a process of its own, where every warning is an error and leaks are warned of."""
    return subprocess.run(
        [sys.executable, "-X", "dev", "-W", "error", *arguments],
        capture_output=True, text=True, encoding="utf-8", cwd=ROOT, timeout=120,
    )  # fmt: skip


def test_the_version_is_one_everywhere() -> None:
    done = python("-m", "kvcalc", "--version")
    assert done.stdout.startswith(f"kvcalc {kvcalc.__version__} ")
    assert f"\n## {kvcalc.__version__}" in (ROOT / "CHANGELOG.md").read_text("utf-8")
    try:
        assert metadata("kvcalc")["Version"] == kvcalc.__version__
    except PackageNotFoundError:
        pytest.skip("kvcalc is not installed, it runs from its source tree")


def test_metadata_name_what_is_there() -> None:
    for field in ("description", "readme", "requires-python", "license", "authors", "keywords"):
        assert PROJECT[field], field
    for name in (PROJECT["readme"], *PROJECT["license-files"]):
        assert (ROOT / name).stat().st_size > 0
    lowest = PROJECT["requires-python"].removeprefix(">=")
    versions = [
        words[-1] for words in (line.split(" :: ") for line in PROJECT["classifiers"])
        if words[:2] == ["Programming Language", "Python"] and "." in words[-1]
    ]  # fmt: skip
    assert versions == ["3.11", "3.12", "3.13"]
    assert versions[0] == lowest


def test_nothing_strays_into_the_package() -> None:
    files = [path.relative_to(ROOT) for path in (ROOT / "kvcalc").rglob("*") if path.is_file()]
    strays = [
        str(path) for path in files
        if "__pycache__" not in path.parts
        and (path.suffix not in SUFFIXES or any(part.startswith(".") for part in path.parts))
    ]  # fmt: skip
    assert strays == ["kvcalc/py.typed"]


def test_every_public_name_is_there_and_described() -> None:
    assert dir(kvcalc) == sorted(kvcalc.__all__)
    for name in kvcalc.__all__:
        assert getattr(kvcalc, name).__doc__, name


def test_every_function_stands_in_the_overview() -> None:
    functions = {name for name in kvcalc.__all__ if name.islower() and name != "__version__"}
    assert kvcalc.__doc__ is not None
    assert {name for name in functions if f"``{name}``" not in kvcalc.__doc__} == set()


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="module 'kvcalc' has no attribute 'estimat'"):
        kvcalc.estimat  # noqa: B018


def test_importing_imports_nothing_else() -> None:
    done = python(
        "-c", "import sys; old = {*sys.modules}; import kvcalc; print({*sys.modules} - old)"
    )
    assert done.stdout.strip() == "{'kvcalc'}", done.stderr


def test_a_script_needs_no_command_line() -> None:
    script = (
        "import sys, kvcalc\n"
        "spec = kvcalc.load('llama-3-8b')\n"
        "assert kvcalc.load_spec_text(kvcalc.dump(spec)) == spec\n"
        "kvcalc.estimate(spec), kvcalc.explain(spec), kvcalc.with_attention(spec, 'mla')\n"
        "print(sorted({'typer', 'rich', 'torch', 'numpy', 'matplotlib'} & {*sys.modules}))\n"
    )
    done = python("-c", script)
    assert (done.stdout.strip(), done.stderr) == ("[]", "")


@pytest.mark.parametrize(
    "command",
    [
        "estimate gemma-3-1b", "estimate gemma-3-1b --engine transformers --format json",
        "compare gpt2 t5-base --context 1k,2k --format csv", "explain deepseek-v3", "models llama",
        "check model_specs/llama", "schema", "fit llama-3-8b --gpu h100-80gb",
        "capacity gemma-3-27b --engine vllm --available 20GiB --max-model-len 32k",
    ],
)  # fmt: skip
def test_commands_warn_of_nothing_and_leave_nothing_open(command: str) -> None:
    done = python("-m", "kvcalc", *command.split())
    assert (done.returncode, "Warning" in done.stderr) == (0, False), done.stderr


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help(command: str) -> None:
    done = python("-m", "kvcalc", command, "--help")
    assert (done.returncode, done.stderr) == (0, "")
    assert f"kvcalc {command}" in done.stdout

"""Every example of the README, run: console blocks must print exactly what stands there."""

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

import kvcalc

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text("utf-8")
CONSOLE = re.findall(r"```console\n\$ kvcalc (.*?)\n(.*?)```", README, re.DOTALL)


@pytest.mark.parametrize(("command", "expected"), CONSOLE, ids=[command for command, _ in CONSOLE])
def test_console_block(command: str, expected: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "kvcalc", *shlex.split(command)],
        capture_output=True, text=True, cwd=ROOT, env={"PATH": "", "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert done.stdout.rstrip() == expected.rstrip()


def test_library_block() -> None:
    [block] = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    values = re.findall(r"^(.*?)  # (\d+)$", block, re.MULTILINE)
    assert values
    space: dict[str, object] = {}
    exec(block, space)
    for expression, expected in values:
        assert eval(expression, space) == int(expected)


def test_the_spec_shown_is_sound() -> None:
    [block] = re.findall(r"```yaml\n(.*?)```", README, re.DOTALL)
    spec = kvcalc.load_spec_text(block)
    assert kvcalc.estimate(spec).parameters.total == 999885952


def test_exactly_two_set_up_commands() -> None:
    blocks = re.findall(r"```sh\n(.*?)```", README, re.DOTALL)
    assert blocks == [
        "pip install . && kvcalc estimate llama-3-8b --context 8k\n",
        'pip install -e ".[dev]" && pytest\n',
    ]

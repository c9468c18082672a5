"""What typer imports and a short command does not use is put off, and nothing else changes."""

import os
import subprocess
import sys
from types import ModuleType
from typing import Any

import pytest

from kvcalc.cli.app import main
from kvcalc.cli.later import PUT_OFF, put_off

# What Python's own modules use at their top: inspect a class, uuid the system's name.
USED_AT_ONCE = {"ast", "platform"} if sys.version_info < (3, 13) else set()

RUN = """
import sys
from kvcalc.__main__ import main
sys.argv[0] = "kvcalc"
try:
    main()
finally:
    print(*sys.modules, file=sys.stderr)
"""


def python(text: str, *arguments: str) -> "subprocess.CompletedProcess[str]":
    # A width is asked of shutil.
    env = {name: value for name, value in os.environ.items() if name != "COLUMNS"}
    return subprocess.run(
        (sys.executable, "-c", text, *arguments),
        capture_output=True,
        text=True,
        check=False,
        env=env,
    )


@pytest.mark.parametrize("words", ["estimate llama-3-8b --format json", "models", "estimate gpt2"])
def test_a_short_command_imports_none_of_them(words: str) -> None:
    """A stand-in that was asked for anything would have imported its module."""
    done = python(RUN, *words.split())
    assert done.returncode == 0, done.stderr
    imported = set(done.stderr.split())
    assert "typer.main" in imported
    assert imported & PUT_OFF.keys() == USED_AT_ONCE


@pytest.mark.parametrize(
    "words",
    [
        "--help",
        "estimate --help",
        "estimate llama-3-8b --contxt 8k",
        "estimat llama-3-8b",
        "--version",
    ],
)
def test_what_does_use_them_says_the_same(
    words: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Here every module is there before typer, and nothing is put off."""
    monkeypatch.delenv("COLUMNS", raising=False)
    with pytest.raises(SystemExit) as end:
        main(words.split())
    here = capsys.readouterr()
    text = "from kvcalc.__main__ import main; main()"
    there = python(text, *words.split())
    assert (there.returncode, there.stdout, there.stderr) == (end.value.code, here.out, here.err)


def test_the_library_puts_nothing_off() -> None:
    done = python("import kvcalc, sys; kvcalc.estimate('gpt2'); print(*sys.modules)")
    assert not [name for name in done.stdout.split() if name.startswith(("kvcalc.cli", "typer"))]


def test_a_fit_of_a_server_reads_no_tables_of_llama_cpp_and_no_rules_of_media() -> None:
    """Some 20 ms of the command, which answers for all accelerators in 150."""
    text = """import atexit, sys
from kvcalc.__main__ import main
atexit.register(lambda: print(*sys.modules))
main()"""
    loaded = python(text, "fit", "gpt2", "--gpus", "all").stdout.split()
    assert "kvcalc.deployment.everywhere" in loaded
    unused = ("kvcalc.convert.media", "kvcalc.media.families", "kvcalc.engines.llama_cpp.local")
    assert not [name for name in unused if name in loaded]


def test_a_module_that_is_there_stays() -> None:
    import textwrap

    with put_off():
        assert sys.modules["textwrap"] is textwrap


def missing(name: str, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A stand-in, as whoever imports the module inside has it."""
    # First set, so that the end of the test brings back the module that was there.
    monkeypatch.setitem(sys.modules, name, ModuleType(name))
    monkeypatch.delitem(sys.modules, name)
    with put_off():
        later = sys.modules[name]
    assert name not in sys.modules
    return later


def test_a_stand_in_forwards_what_it_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    later = missing("textwrap", monkeypatch)
    assert later.dedent("  a") == "a"
    import textwrap

    assert sys.modules["textwrap"] is textwrap is not later
    assert later.TextWrapper is textwrap.TextWrapper
    assert dir(later) == dir(textwrap)
    later.mine = 1
    assert textwrap.mine == 1  # type: ignore[attr-defined]
    del later.mine
    with pytest.raises(AttributeError, match="module 'textwrap' has no attribute 'mine'"):
        print(later.mine)


def test_a_function_that_is_taken_by_name_is_the_modules(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "difflib")
    with put_off():
        from difflib import get_close_matches
    assert "difflib" not in sys.modules
    assert get_close_matches("appel", ["ape", "apple"], n=1) == ["apple"]
    assert "difflib" in sys.modules


def test_what_is_used_at_once_is_imported_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "textwrap")
    names: dict[str, Any] = {}
    with put_off():
        exec("from textwrap import *", names)
        exec("class Wider(TextWrapper): pass", names)
        assert type(sys.modules["textwrap"]) is ModuleType
    assert names["dedent"]("  a") == "a"
    assert type(sys.modules["textwrap"]) is ModuleType

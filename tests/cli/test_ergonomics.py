"""The command line as a user meets it: one spelling, quiet, completion, streams, hints, progress."""

import io
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from kvcalc.cli import progress
from kvcalc.cli.commands import COMMANDS, commands_of
from kvcalc.report.formats import PRINTERS
from kvcalc.spec import catalog
from tests.scratch import Scratch, run, small

Capture = pytest.CaptureFixture[str]


@pytest.fixture(scope="module")
def params() -> dict[str, list[Any]]:
    """Every command's parameters, as typer sees them."""
    return {name: command.params for name, command in commands_of(tuple(COMMANDS)).items()}


# ---------------------------------------------------------------- one spelling


def test_a_value_says_what_it_is(params: dict[str, list[Any]]) -> None:
    for command, own in params.items():
        for param in own:
            flag = getattr(param, "is_flag", False)
            assert flag or (param.metavar and "<" not in param.metavar), (command, param.name)
            assert param.help.endswith("."), (command, param.name)


@pytest.mark.parametrize(
    "option", ["--encoder-context", "--state-dtype", "--pp", "--force", "--gpu-memory", "--set"]
)
def test_an_option_is_the_same_wherever_it_is(params: dict[str, list[Any]], option: str) -> None:
    found = [param for own in params.values() for param in own if option in param.opts]
    assert len({(param.help, param.metavar, str(param.show_default)) for param in found}) == 1


def test_quiet_is_where_there_is_something_to_leave_out(params: dict[str, list[Any]]) -> None:
    having = [name for name, own in params.items() if any("--quiet" in p.opts for p in own)]
    without = [name for name in COMMANDS if name not in having]
    assert without == ["models", "schema", "mcp"], (
        "a command whose answer has notes takes options.Quiet; one that has none is named here"
    )
    assert all("-q" in p.opts for own in params.values() for p in own if "--quiet" in p.opts)


@pytest.mark.parametrize("name", [name for name in COMMANDS if name != "schema"])
def test_the_list_of_commands_cuts_no_sentence(name: str) -> None:
    assert not commands_of((name,))[name].get_short_help_str(64).endswith("...")


def test_help_is_whole_in_a_pipe(capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    status, out, err = run(capsys, "capacity", "--help")
    assert (status, err) == (0, "")
    assert "--max-num-batched-tokens TOKENS" in out
    assert "\x1b" not in out
    assert "…" not in out
    assert max(map(len, out.splitlines())) <= 80


@pytest.mark.parametrize(
    "arguments",
    [
        ["Estimate", "llama-3-8b", "--Format", "JSON", "--KV_dtype", "BF16", "--context", "8K"],
        ["estimate", "llama-3-8b", "--format=json", "--kv-dtype", "torch.bfloat16"],
        ["estimate", "LLAMA-3-8B", "--format", "json", "--kv-dtype", "bfloat16:bf16"],
    ],
)
def test_however_it_is_written(capsys: Capture, arguments: list[str]) -> None:
    status, out, err = run(capsys, *arguments)
    assert (status, err) == (0, "")
    # 8192 tokens * 128 KiB, as published for Llama 3 8B in bf16.
    assert json.loads(out)["cache"]["bytes"] == 1_073_741_824


@pytest.mark.parametrize("engine", ["llama.cpp", "llama_cpp", "llamacpp", "LLAMA-CPP"])
def test_an_engine_however_it_is_written(capsys: Capture, engine: str) -> None:
    for command in (["estimate"], ["capacity", "--ctx-size", "8k"]):
        status, out, _ = run(
            capsys, *command, "llama-3-8b", "--engine", engine, "--format", "json"
        )  # fmt: skip
        assert status == 0
        assert "llama.cpp" in out


# ---------------------------------------------------------------- quiet


def test_quiet_check_prints_findings_alone(capsys: Capture, tmp_path: Path) -> None:
    good, bad = tmp_path / "good.yaml", tmp_path / "bad.yaml"
    good.write_text(small("good", more="expect: {cache_bytes_per_token: 512}\n"))
    bad.write_text(small("bad", more="expect: {cache_bytes_per_token: 513}\n"))
    assert run(capsys, "check", "-q", good, "--format", "markdown") == (0, "", "")
    status, out, err = run(capsys, "check", "--quiet", good, bad, "--format", "json")
    assert status == 1
    assert json.loads(out), "a program's format is whole"
    status, out, err = run(capsys, "check", "--quiet", good, bad)
    assert (status, err) == (1, "")
    assert out.startswith(f"{bad}:")


def test_quiet_diff_prints_findings_alone(
    capsys: Capture, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scratch = Scratch(tmp_path / "repository").init()
    scratch.write("a.yaml", small("a"))
    scratch.commit()
    monkeypatch.chdir(scratch.folder)
    scratch.write("a.yaml", small("a", kv=2))
    assert run(capsys, "diff", "--base", "HEAD", "-q") == (0, "", "")
    scratch.write("a.yaml", small("a", repeat=4))
    status, out, err = run(capsys, "diff", "--base", "HEAD", "-q")
    assert (status, err) == (1, "")
    assert "layers[0].repeat: 2 -> 4" in out


def test_quiet_leaves_out_notes_but_not_from_json(capsys: Capture) -> None:
    loud = run(capsys, "estimate", "llama-3-8b")[1]
    quiet = run(capsys, "estimate", "llama-3-8b", "-q")[1]
    assert "- context of 8192 tokens (none was given)" in loud
    assert "none was given" not in quiet
    assert loud.startswith(quiet.rstrip())
    arguments = ("estimate", "llama-3-8b", "--format", "json")
    assert run(capsys, *arguments, "-q") == run(capsys, *arguments)


def test_quiet_says_nothing_on_stderr(
    capsys: Capture, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("a.yaml").write_text(small("a"))
    assert "wrote a.html" in run(capsys, "report", "a.yaml", "-o", "a.html")[2]
    assert run(capsys, "report", "a.yaml", "-o", "a.html", "--force", "-q") == (0, "", "")
    compare = ("compare", "a.yaml", "--attention", "mha,mqa", "--format", "csv")
    assert run(capsys, *compare)[2] != ""
    assert run(capsys, *compare, "-q")[2] == ""


# ---------------------------------------------------------------- completion


def complete(
    monkeypatch: pytest.MonkeyPatch, capsys: Capture, *words: str, shell: str = "bash"
) -> list[str]:
    """What a shell would be told; the last word is the one at the cursor."""
    monkeypatch.setenv("_KVCALC_COMPLETE", f"complete_{shell}")
    monkeypatch.setenv("COMP_WORDS", "\n".join(words))
    monkeypatch.setenv("COMP_CWORD", str(len(words) - 1))
    monkeypatch.setenv("_TYPER_COMPLETE_ARGS", " ".join(words))
    monkeypatch.setenv("_TYPER_COMPLETE_FISH_ACTION", "get-args")
    return run(capsys)[1].split()


@pytest.mark.parametrize(
    ("words", "some"),
    [
        ("est", ["estimate"]),
        ("", list(COMMANDS)),
        ("estimate gemma-3-2", ["gemma-3-270m", "gemma-3-27b"]),
        ("estimate meta-llama/Meta-Llama-3-8B-", ["meta-llama/Meta-Llama-3-8B-Instruct"]),
        ("verify gemma-3-27b", ["gemma-3-27b"]),
        ("models gemma-3-27b", ["gemma-3-27b"]),
        ("estimate x --enc", ["--encoder-context"]),
        ("estimate x --engine s", ["sglang"]),
        ("capacity x --engine ll", ["llama.cpp"]),
        ("estimate x --format =", [*PRINTERS]),
        ("estimate x --format = j", ["json"]),
        ("check --format s", ["sarif"]),
        ("estimate x --attention mq", ["mqa"]),
        ("compare x --attention gqa,m", ["gqa,mha", "gqa,mqa", "gqa,mla"]),
        ("estimate x --dtype nv", ["nvfp4"]),
        ("estimate x --dtype q4_", ["q4_1", "q4_0", "q4_k_s", "q4_k_m"]),
        ("estimate x --state-dtype f", ["fp32", "fp16", "fp8"]),
        ("estimate x --kv-dtype q8", ["q8_0"]),
        # bash breaks a word at a colon, and puts the answer after it.
        ("estimate x --kv-dtype q8_0 : b", ["bf16"]),
        ("estimate x --kv-dtype = q8_0 : b", ["bf16"]),
        ("compare x --kv-dtype bf16,q8_0 : bf16,q8", ["bf16,q8_0"]),
        ("fit x --gpu h100-", ["h100-80gb", "h100-pcie", "h100-nvl"]),
        ("capacity x --gpu h100-p", ["h100-pcie"]),
        ("capacity x --cache-type-k q8", ["q8_0"]),
        # Nothing: the shell completes files itself.
        ("check model", []),
        ("estimate ./mo", []),
        ("report x -o pa", []),
        ("check --policy kv", []),
    ],
)
def test_completion(
    words: str, some: list[str], monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    assert complete(monkeypatch, capsys, "kvcalc", *words.split(" ")) == some


@pytest.mark.parametrize("shell", ["zsh", "fish"])
def test_completion_where_a_colon_is_no_end(
    shell: str, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    words = ("kvcalc", "compare", "x", "--kv-dtype", "bf16,q8_0:q8")
    said = " ".join(complete(monkeypatch, capsys, *words, shell=shell))
    assert "bf16,q8_0:q8_0" in said.replace("\\", "")


def test_specs_of_the_folder_are_completed_beside_shipped_ones(
    monkeypatch: pytest.MonkeyPatch, capsys: Capture, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("gemma-3-27b-mine.yaml").touch()
    Path("gemma-3-27b.txt").touch()
    words = ("kvcalc", "estimate", "gemma-3-27b")
    assert complete(monkeypatch, capsys, *words) == ["gemma-3-27b", "gemma-3-27b-mine.yaml"]


def test_completion_imports_one_command(tmp_path: Path) -> None:
    script = (
        "import sys\nfrom kvcalc.cli.app import main\n"
        "try: main()\nexcept SystemExit: pass\n"
        "print([m for m in ('torch', 'kvcalc.cli.fit', 'kvcalc.deployment') if m in sys.modules])"
    )
    environment = {**os.environ, "_KVCALC_COMPLETE": "complete_bash", "COMP_CWORD": "2",
                   "COMP_WORDS": "kvcalc estimate gemma-3-27b"}  # fmt: skip
    done = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True,
                          text=True, check=True)  # fmt: skip
    assert done.stdout.split("\n")[:2] == ["gemma-3-27b", "[]"]


# ---------------------------------------------------------------- streams


def test_a_closed_stdout_leaves_the_exit_status(
    capsys: Capture, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    bad = tmp_path / "bad.yaml"
    bad.write_text(small("other"))
    for command, expected in (("models", 0), ("check", 1), ("nonsense", 2)):
        monkeypatch.setattr(sys, "stdout", None)
        more = ["--strict", str(bad)] if command == "check" else []
        assert run(capsys, command, *more)[0] == expected
        sys.stdout.close()


def test_nothing_of_stderr_comes_out_of_stdout(
    capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stderr", None)
    assert run(capsys, "estimate", "nonsense") == (2, "", "")
    sys.stderr.close()


def test_a_reader_that_has_seen_enough(
    monkeypatch: pytest.MonkeyPatch, capsys: Capture, tmp_path: Path
) -> None:
    bad = tmp_path / "bad.yaml"
    bad.write_text("name: bad\n")
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "w") as stdout:
        monkeypatch.setattr(sys, "stdout", stdout)
        assert run(capsys, "check", bad)[0] == 1
        assert run(capsys, "estimate", "nonsense", "--format", "json")[0] == 2
        assert capsys.readouterr().err == ""


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no /dev/full here")
def test_a_full_disk_is_an_error(monkeypatch: pytest.MonkeyPatch, capsys: Capture) -> None:
    with open("/dev/full", "w") as stdout:
        monkeypatch.setattr(sys, "stdout", stdout)
        status, _, err = run(capsys, "explain", "gpt2")
    assert (status, err) == (2, "kvcalc: cannot write the answer: No space left on device\n")


@pytest.mark.parametrize(
    "arguments",
    [
        ["estimate", "gemma-3-27b"],
        ["compare", "llama-3-8b", "gemma-3-27b", "--chart", "-q"],
        ["models", "gemma"],
        ["fit", "gpt2", "--gpu", "h100"],
        ["estimate", "--help"],
    ],
)
def test_a_terminal_without_unicode_gets_ascii(
    arguments: list[str], monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    stdout = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    monkeypatch.setattr(sys, "stdout", stdout)
    assert run(capsys, *arguments)[0] == 0
    text = stdout.buffer.getvalue().decode("ascii")  # type: ignore[attr-defined]
    assert text
    assert "\\u" not in text


def test_a_narrow_terminal_loses_no_number(
    monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    monkeypatch.setenv("TERM", "dumb")
    shown = {}
    for columns in ("40", "60", "80", "200"):
        monkeypatch.setenv("COLUMNS", columns)
        shown[columns] = run(capsys, "fit", "gpt2", "--gpu", "h100")[1]
    assert shown["40"] == shown["60"]
    assert sorted(shown["60"].split()) == sorted(shown["200"].split())
    assert "\x1b" not in shown["80"]


# ---------------------------------------------------------------- hints


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ("estmate llama-3-8b", "no such command 'estmate'; did you mean estimate?"),
        ("llama-3-8b --tp 2", "did you mean 'kvcalc estimate llama-3-8b --tp 2"),
        ("estimate llama3-8b", "did you mean llama-3-8b?"),
        (
            "compare llama-3-8b --sort cach",
            "choose from given, cache, total (did you mean 'cache'?)",
        ),
        ("compare llama-3-8b --attention mlla", "(did you mean 'mla'?)"),
        ("estimate llama-3-8b --engine vlm", "(did you mean 'vllm'?)"),
        ("estimate gpt2 --ctx 1k", "no such option: --ctx; here it is --context (see"),
        ("estimate gpt2 --contex 1k", "no such option: --contex; did you mean --context"),
        ("estimate gpt2 --max-num-seqs 4", "'kvcalc capacity' and 'kvcalc fit' have it"),
        ("estimate gpt2 --plot a.svg", "'kvcalc compare' has it"),
        ("estimate gpt2 -o a.json", "the answer goes to a file with '> FILE'"),
        ("capacity gpt2 --batch 4", "here it is --max-num-seqs N"),
        ("fit gpt2 --tensor_parallel_size 2", "here it is --tp"),
        ("-q estimate gpt2", "it stands after the command"),
        ("estimate gpt2 --context 1k,2k", "'kvcalc compare' takes several"),
        ("estimate gpt2 --batch 1,2", "'1,2' is not a whole number; 'kvcalc compare' takes sev"),
        ("estimate gpt2 --attention gqa,mqa", "'kvcalc compare' takes several"),
        ("estimate gpt2 --kv-dtype bf16,fp8", "'kvcalc compare' takes several"),
        (
            "estimate gpt2 --kv-dtype fp9",
            "--kv-dtype: 'fp9' is not a number format here (known: fp32",
        ),
        ("fit gpt2 --gpu h100 --state-dtype fp9", "--state-dtype: 'fp9' is not a number format"),
        ("compare gpt2 --dtype fp9", "--dtype: 'fp9' is not a number format"),
        ("fit gpt2 --gpu nonsense", "'kvcalc fit MODEL --gpus all' lists them"),
        ("fit gpt2 --gpu h10", "no accelerator 'h10'"),
        ("fit gpt2 bert --gpu h100", "no model 'bert'; it may be bert-base-cased"),
        ("capacity gpt2", "say how much memory there is: --gpu GPU, --gpu-memory or --available"),
        (
            "capacity gpt2 --engine vlm",
            "choose from logical, transformers, vllm, sglang, tensorrt-llm, llama.cpp",
        ),
        ("diff", "missing option '--base'; such as --base origin/main"),
        ("estimate", "missing argument 'MODEL...'"),
        ("check gpt2", "the shipped spec of that name is "),
        ("check", "name the specs to check"),
        ("estimate kvcalc/cli", "expected a spec, a config.json or a folder with one"),
    ],
)
@pytest.mark.parametrize("format", ["text", "json"])
def test_an_error_says_what_to_run(arguments: str, said: str, format: str, capsys: Capture) -> None:
    as_json = ["--format", "json"] if format == "json" else []
    status, out, err = run(capsys, *arguments.split(), *as_json)
    assert status == 2
    if as_json:
        assert err == ""
        error = json.loads(out)["error"]
        assert error["kind"] in ("usage", "not_found")
        assert said.removesuffix(" (see") in error["message"]
    else:
        assert out == ""
        assert err.startswith("kvcalc: ")
        assert said in err


def test_a_shipped_spec_needs_no_import(capsys: Capture) -> None:
    status, _, err = run(capsys, "import", "gpt2")
    assert (status, err) == (
        2, f"kvcalc: gpt2 is a shipped spec already: {catalog.find('gpt2')}\n",
    )  # fmt: skip


# ---------------------------------------------------------------- progress


class Terminal(io.StringIO):
    """A stderr that is a terminal."""

    def isatty(self) -> bool:
        return True


def a_terminal(monkeypatch: pytest.MonkeyPatch) -> Terminal:
    """Put a terminal in place of stderr; within a test, because pytest sets it at its beginning."""
    stderr = Terminal()
    monkeypatch.setattr(sys, "stderr", stderr)
    monkeypatch.setattr(progress, "PATIENCE_SECONDS", -1)
    monkeypatch.setenv("TERM", "xterm")
    return stderr


def test_progress_on_a_terminal_goes_away(monkeypatch: pytest.MonkeyPatch, capsys: Capture) -> None:
    terminal = a_terminal(monkeypatch)
    path = catalog.find("gpt2")
    status, out, _ = run(capsys, "check", path)
    assert (status, out) == (0, "checked 1 spec: no problems\n")
    assert "checking" in terminal.getvalue()
    # The cursor goes up and the line is erased.
    assert terminal.getvalue().rstrip().endswith("\x1b[1A\x1b[2K")


@pytest.mark.parametrize("how", ["quiet", "dumb", "at once", "pipe"])
def test_no_progress(how: str, monkeypatch: pytest.MonkeyPatch, capsys: Capture) -> None:
    terminal = a_terminal(monkeypatch)
    if how == "dumb":
        monkeypatch.setenv("TERM", "dumb")
    if how == "at once":
        monkeypatch.setattr(progress, "PATIENCE_SECONDS", 3600)
    if how == "pipe":
        monkeypatch.setattr(Terminal, "isatty", lambda self: False)
    run(capsys, "check", catalog.find("gpt2"), *(["-q"] if how == "quiet" else []))
    assert terminal.getvalue() == ""

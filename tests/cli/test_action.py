"""The steps of action.yml, run as bash; what the pre-commit hook is for."""

import io
import os
import re
import select
import shutil
import subprocess
import sys
from contextlib import ExitStack, redirect_stderr, redirect_stdout
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any

import pytest
import yaml

from kvcalc.cli.app import main
from tests.scratch import Scratch

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parent.parent.parent
TEN = (
    "llama-3-8b", "llama-3-70b", "gemma-3-1b", "gemma-3-27b", "gpt-oss-20b", "gpt-oss-120b",
    "deepseek-v3", "qwen3-8b", "mistral-7b-v0.3", "qwen3-next-80b-a3b",
)  # fmt: skip
POLICY = """\
budgets:
  - {models: serving/llama-3-8b.yaml, context: 32k, batch: 8, gpu: h100-80gb, engine: vllm}
"""


def load(name: str) -> Any:
    return yaml.safe_load((ROOT / name).read_text("utf-8"))


def is_for(hook: Any, path: str, files: str | None = None) -> bool:
    """Whether pre-commit gives the hook this file. files: what the team states instead."""
    return bool(re.search(files or hook["files"], path)) and not re.search(hook["exclude"], path)


@pytest.fixture
def scratch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Scratch:
    """Ten specs and a policy on main; the branch pr is checked out, origin/main is known."""
    scratch = Scratch(tmp_path / "r").init()
    scratch.ship(*TEN)
    scratch.write("kvcalc.yaml", POLICY)
    commit = scratch.commit()
    scratch.git("update-ref", "refs/remotes/origin/main", commit)
    scratch.git("checkout", "-q", "-b", "pr")
    monkeypatch.chdir(scratch.folder)
    # What a step finds where 'Install kvcalc' puts the program: one that asks this process.
    shim = program(tmp_path)
    shim.write_text(
        """#!/bin/sh
printf '%s\\0' "$@" >"$0.words"
echo >"$0.asked"
read -r status <"$0.done"
cat "$0.err" >&2
cat "$0.out"
exit "$status"
"""
    )
    for pipe in ("asked", "done"):
        os.mkfifo(f"{shim}.{pipe}")
    return scratch


@pytest.fixture
def installed(scratch: Scratch) -> Scratch:
    """The same, with what 'Install kvcalc' would make of this source tree."""
    text = f'#!/bin/sh\nPYTHONPATH="{ROOT}" exec "{sys.executable}" -m kvcalc "$@"\n'
    shim = program(scratch.folder.parent)
    Path(f"{shim}.asked").unlink()
    shim.write_text(text)
    return scratch


def program(temporary: Path) -> Path:
    """An executable file where the steps look for kvcalc."""
    shim = temporary / "kvcalc" / "bin" / "kvcalc"
    shim.parent.mkdir(parents=True, exist_ok=True)
    shim.touch(0o755)
    return shim


def answer(shim: Path) -> int:
    """Run what a step asks for, here: a start of Python would cost five times the answer."""
    words = Path(f"{shim}.words").read_bytes().decode().split("\0")[:-1]
    out, err = io.StringIO(), io.StringIO()
    with redirect_stdout(out), redirect_stderr(err), pytest.raises(SystemExit) as ended:
        main(words)
    Path(f"{shim}.out").write_text(out.getvalue(), "utf-8")
    Path(f"{shim}.err").write_text(err.getvalue(), "utf-8")
    return int(ended.value.code or 0)


class Step:
    """What came of one step of the action."""

    def __init__(self, scratch: Scratch, name: str, **inputs: str) -> None:
        action = load("action.yml")
        step = next(each for each in action["runs"]["steps"] if each.get("name") == name)
        chosen = {key: given["default"] for key, given in action["inputs"].items()}
        chosen |= {"paths": "serving", **inputs}
        environment = {
            key: chosen[value.removeprefix("${{ inputs.").removesuffix(" }}")]
            for key, value in step.get("env", {}).items()
        }
        temporary = scratch.folder.parent
        folder = {None: scratch.folder, "${{ runner.temp }}": temporary}
        summary = scratch.folder.parent / "summary.md"
        summary.write_text("")
        self.status, self.out, self.err = run(
            step["run"], folder[step.get("working-directory")], temporary / "kvcalc/bin/kvcalc",
            {
                **environment, "RUNNER_TEMP": str(temporary),
                "PATH": f"{temporary / 'path'}:{os.environ['PATH']}",
                "GITHUB_ACTION_PATH": str(temporary / "the action"),
                "GITHUB_ACTIONS": "true", "GITHUB_WORKFLOW": "specs", "GITHUB_BASE_REF": "main",
                "GITHUB_STEP_SUMMARY": str(summary),
            },
        )  # fmt: skip
        self.summary = summary.read_text()


def run(script: str, folder: Path, shim: Path, environment: dict[str, str]) -> tuple[int, str, str]:
    """(exit status, stdout, stderr) of a script in bash, whose calls of kvcalc are answered here."""
    with (
        pytest.MonkeyPatch.context() as patch,
        ExitStack() as stack,
        TemporaryFile("w+") as out,
        TemporaryFile("w+") as err,
    ):
        for name, value in environment.items():
            patch.setenv(name, value)
        patch.chdir(folder)
        bash = subprocess.Popen(
            ("bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", script),
            cwd=folder, stdout=out, stderr=err,
        )  # fmt: skip
        if Path(f"{shim}.asked").exists():
            asked, done = (os.open(f"{shim}.{pipe}", os.O_RDWR) for pipe in ("asked", "done"))
            stack.callback(os.close, asked)
            stack.callback(os.close, done)
            while bash.poll() is None:
                if select.select([asked], [], [], 0.02)[0]:
                    os.read(asked, 100)
                    os.write(done, b"%d\n" % answer(shim))
        status = bash.wait()
        out.seek(0)
        err.seek(0)
        return status, out.read(), err.read()


def check(scratch: Scratch, **inputs: str) -> Step:
    return Step(scratch, "Check specs", **inputs)


def compare(scratch: Scratch, **inputs: str) -> Step:
    return Step(scratch, "Compare with the base", **inputs)


def test_without_the_base(scratch: Scratch) -> None:
    scratch.git("update-ref", "-d", "refs/remotes/origin/main")
    step = compare(scratch)
    assert (step.status, step.out, step.summary) == (2, "", "")
    assert "no revision 'origin/main'" in step.err


def test_inputs_are_words_and_not_scripts(scratch: Scratch) -> None:
    step = check(scratch, paths="serving/* $(touch pwned) ; touch pwned")
    assert step.status == 2
    assert not (scratch.folder / "pwned").exists()
    step = compare(scratch, base="main; touch pwned")
    assert step.status == 2
    assert not (scratch.folder / "pwned").exists()


def test_the_program_that_is_installed(installed: Scratch) -> None:
    step = check(installed)
    assert (step.status, step.out) == (0, "checked 10 specs and kvcalc.yaml: no problems\n")
    assert compare(installed).status == 0


def test_paths_with_spaces(scratch: Scratch) -> None:
    scratch.git("mv", "serving", "my models")
    scratch.write("kvcalc.yaml", "tolerances: {all: 1%}\n")
    step = check(scratch, paths="my models")
    assert (step.status, step.out) == (0, "checked 10 specs and kvcalc.yaml: no problems\n")
    # As words, and one a line.
    scratch.git("mv", "my models/llama-3-8b.yaml", "llama-3-8b.yaml")
    for paths in ("kvcalc.yaml  llama-3-8b.yaml", "my models\nllama-3-8b.yaml\n"):
        assert check(scratch, paths=paths).status == 0, paths
    assert compare(scratch, paths="my models\n").status == 0


def test_the_installation_runs_nothing_of_the_checkout(scratch: Scratch) -> None:
    """The environment is made; pip is left out, so that the step ends before a network is asked."""
    for module in ("venv", "pip", "ensurepip", "runpy", "subprocess", "sitecustomize"):
        scratch.write(f"{module}.py", f"open({str(scratch.folder / 'pwned')!r}, 'w').close()\n")
    python = scratch.folder.parent / "path" / "python"
    python.parent.mkdir()
    python.write_text(f'#!/bin/sh\nexec "{sys.executable}" "$@" --without-pip\n')
    python.chmod(0o755)
    shutil.rmtree(scratch.folder.parent / "kvcalc")
    step = Step(scratch, "Install kvcalc")
    assert "No module named pip" in step.err
    assert (scratch.folder.parent / "kvcalc/bin/python").exists()
    assert not (scratch.folder / "pwned").exists()
    # The files would have run where 'python -m venv' looks for modules beside them.
    subprocess.run((sys.executable, "-m", "venv", "x"), cwd=scratch.folder, check=False)
    assert (scratch.folder / "pwned").exists()


def test_what_the_action_uses_is_pinned_by_commit() -> None:
    used = [step["uses"] for step in load("action.yml")["runs"]["steps"] if "uses" in step]
    used += re.findall(r"uses: (actions/\S+)", (ROOT / "README.md").read_text("utf-8"))
    used += re.findall(r"uses: (actions/\S+)", (ROOT / "action.yml").read_text("utf-8"))
    assert len(used) >= 4
    for each in used:
        assert re.fullmatch(r"[\w-]+/[\w-]+@[0-9a-f]{40}", each), each


def test_a_policy_and_strictness(scratch: Scratch) -> None:
    scratch.write("ci/strict.yaml", "budgets: [{models: '*', weights: 1MiB}]\n")
    step = check(scratch, policy="ci/strict.yaml")
    assert step.status == 1
    # Errors come first, and there are more than GitHub shows: the summary has them all.
    assert step.summary.count("| KV401 |") == 10
    scratch.edit("serving/qwen3-8b.yaml", "expect:", "notes: none\nexpect:")
    text = (scratch.folder / "serving/qwen3-8b.yaml").read_text()
    scratch.write("serving/qwen3-8b.yaml", text.partition("expect:")[0])
    assert check(scratch).status == 0
    assert check(scratch, strict="true").status == 1


def test_the_hook_is_for_specs() -> None:
    (hook,) = load(".pre-commit-hooks.yaml")
    assert hook["id"] == "kvcalc-check"
    assert (hook["language"], hook["types_or"]) == ("python", ["yaml", "json"])
    for path, wanted in (
        ("model_specs/llama/llama-3-8b.yaml", True),
        ("model_specs/mine/config.json", True),
        ("model_specs/mine/tokenizer_config.json", False),
        ("model_specs/tokenizer.json", False),
        ("kvcalc.yaml", True),
        ("serving/kvcalc.yaml", True),
        (".github/workflows/ci.yaml", False),
    ):
        assert is_for(hook, path) == wanted, path


def test_the_workflow_in_the_comments_is_one() -> None:
    lines = (ROOT / "action.yml").read_text("utf-8").splitlines()
    example = yaml.safe_load("\n".join(line[4:] for line in lines if line.startswith("#   ")))
    (job,) = example["jobs"].values()
    given = job["steps"][1]["with"]
    assert set(given) <= set(load("action.yml")["inputs"])
    assert job["steps"][0]["with"] == {"fetch-depth": 0}

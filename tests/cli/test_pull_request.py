"""A pull request's life, with git's own commands: hook, annotations, table, budget, fix; and the
histories that a team's repository has.
"""

import os
import shlex
import subprocess
import sys

import pytest

from tests.cli.test_action import ROOT, Step, check, compare, is_for, load
from tests.cli.test_action import scratch as scratch
from tests.scratch import Scratch

pytestmark = pytest.mark.slow

LLAMA = "serving/llama-3-8b.yaml"
# What the team states in its .pre-commit-config.yaml.
FILES = r"^serving/|^kvcalc\.yaml$"


def hook(scratch: Scratch) -> "subprocess.CompletedProcess[str]":
    """The hook's entry, with the staged files that pre-commit would give it."""
    (hook,) = load(".pre-commit-hooks.yaml")
    staged = scratch.git("diff", "--cached", "--name-only", "--diff-filter=ACMR", "-z").split("\0")
    names = [name for name in staged if name and is_for(hook, name, FILES)]
    return subprocess.run(
        (sys.executable, "-m", *shlex.split(hook["entry"]), *names),
        cwd=scratch.folder, capture_output=True, text=True, check=False,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip


def kv_heads(scratch: Scratch, old: int, new: int) -> None:
    """Another number of KV heads, and what follows from it: 32 layers, width 4096, heads of 128."""
    scratch.edit(LLAMA, f"num_key_value_heads: {old}", f"num_key_value_heads: {new}")
    # K and V projections of 4096 x 128 a head and layer: 2 * 32 * 4096 * 128 = 33554432.
    scratch.edit(LLAMA, f"parameters: {7761825792 + old * 33554432}",
                 f"parameters: {7761825792 + new * 33554432}")  # fmt: skip
    # K and V of 128 in bf16 a head and layer: 2 * 32 * 128 * 2 = 16384.
    scratch.edit(LLAMA, f"cache_bytes_per_token: {old * 16384}",
                 f"cache_bytes_per_token: {new * 16384}")  # fmt: skip


def test_the_life_of_a_pull_request(scratch: Scratch) -> None:
    # Nothing changed yet.
    assert check(scratch).out == "checked 10 specs and kvcalc.yaml: no problems\n"
    assert "no difference in any number" in compare(scratch).out

    # A typo: the hook stops the commit, beside files that are none of its business.
    scratch.edit(LLAMA, "num_key_value_heads: 8", "num_kv_heads: 8")
    scratch.write("serving/tokenizer.json", "{}\n")
    scratch.git("add", "-A")
    stopped = hook(scratch)
    assert (stopped.returncode, stopped.stderr) == (1, "")
    assert stopped.stdout.splitlines() == [
        f"{LLAMA}:12:16: KV103 blocks.decoder.attention.num_key_value_heads: required and missing",
        f"{LLAMA}:12:53: KV102 blocks.decoder.attention.num_kv_heads: unknown key 'num_kv_heads' "
        "(did you mean 'num_key_value_heads'?)",
        "checked 1 spec and kvcalc.yaml: 2 problems",
    ]

    # Committed all the same: the action annotates the line, and says so in the summary.
    scratch.commit()
    step = check(scratch)
    assert step.status == 1
    assert (
        f"::error title=kvcalc KV102%3A a key that the spec language does not have,file={LLAMA},"
        "line=12,col=53::"
    ) in step.out
    assert f"| error | `{LLAMA}:12` | KV102 |" in step.summary
    step = compare(scratch, **{"fail-on": "increase"})
    assert step.status == 1
    assert f"::error title=kvcalc diff%3A the head of {LLAMA} is no sound spec," in step.out

    # Corrected, but to a number that makes the cache grow: the table names the field, the budget
    # fails at the line that takes the memory and says what would hold it.
    scratch.edit(LLAMA, "num_kv_heads: 8", "num_key_value_heads: 8")
    kv_heads(scratch, 8, 32)
    scratch.commit()
    step = compare(scratch)
    assert step.status == 0
    assert step.out.startswith(f"::warning title=kvcalc diff%3A llama-3-8b,file={LLAMA},line=12::")
    rows = [line for line in step.summary.splitlines() if line.startswith("| ")]
    assert rows[1].startswith(
        "| **llama-3-8b** | parameters | 8.03 B | 8.84 B | +805,306,368 | +10.0 % "
        "| `blocks.decoder.attention.num_key_value_heads: 8 -> 32`<br>"
        "`expect.parameters: 8030261248 -> 8835567616`<br>"
    )
    assert rows[4:] == [
        "|  | cache per token | 128.00 KiB | 512.00 KiB | +393,216 B | +300.0 % |  |",
        "|  | cache of 8k tokens x 1 | 1.00 GiB | 4.00 GiB | +3,221,225,472 B | +300.0 % |  |",
    ]
    assert compare(scratch, **{"fail-on": "increase"}).status == 1
    step = check(scratch)
    assert step.status == 1
    (annotation,) = (line for line in step.out.splitlines() if line.startswith("::"))
    assert f",file={LLAMA},line=12,col=16::{LLAMA}:12:16: KV401 kvcalc.yaml: " in annotation
    assert "vLLM on h100-80gb holds 3." in annotation
    assert annotation.endswith("that weights and the engine leave; tp: 4 would do (kvcalc.yaml:2)")

    # The budget is moved instead of the model: that is loosened, and fails where growth does.
    scratch.edit("kvcalc.yaml", "batch: 8", "batch: 3")
    scratch.commit()
    assert check(scratch).status == 0
    step = compare(scratch)
    said = "title=kvcalc diff%3A kvcalc.yaml loosened,file=kvcalc.yaml,line=2::"
    assert step.status == 0
    assert f"::warning {said}" in step.out
    assert (
        f"- policy `kvcalc.yaml`: `loosened: budgets[0].batch: 8 -> 3 (for {LLAMA})`"
        in step.summary
    )
    step = compare(scratch, paths="serving/qwen3-8b.yaml", **{"fail-on": "increase"})
    assert step.status == 1
    assert f"::error {said}" in step.out

    # The fix passes.
    scratch.edit("kvcalc.yaml", "batch: 3", "batch: 8")
    kv_heads(scratch, 32, 8)
    scratch.git("add", "-A")
    assert hook(scratch).returncode == 0
    scratch.commit()
    assert check(scratch).status == 0
    step = compare(scratch, **{"fail-on": "any"})
    assert step.status == 0
    assert "no difference in any number" in step.summary


def test_the_cache_of_the_workload_that_the_team_serves(scratch: Scratch) -> None:
    kv_heads(scratch, 8, 4)
    step = compare(scratch, context="32k", batch="16", **{"kv-dtype": "fp8"})
    # 65536 bytes a token in fp8 with 8 heads: 32k tokens are 2 GiB, 16 sequences 32 GiB.
    row = "|  | cache of 32k tokens x 16 | 32.00 GiB | 16.00 GiB | -17,179,869,184 B | -50.0 % |  |"
    assert row in step.summary
    # Written once, for the action, the hook and the command line.
    workload = "workload: {context: 32k, batch: 16, kv_dtype: fp8}\n"
    scratch.write("kvcalc.yaml", (scratch.folder / "kvcalc.yaml").read_text() + workload)
    assert row in compare(scratch).summary
    assert "| cache of 32k tokens x 1 |" in compare(scratch, batch="1").summary


def test_the_commit_that_github_checks_out(scratch: Scratch) -> None:
    # refs/pull/1/merge: a merge of the branch into a main that has gone on, without a branch's name.
    kv_heads(scratch, 8, 4)
    ours = scratch.commit()
    scratch.git("checkout", "-q", "main")
    scratch.edit("serving/qwen3-8b.yaml", "num_key_value_heads: 8", "num_key_value_heads: 16")
    scratch.git("update-ref", "refs/remotes/origin/main", scratch.commit())
    scratch.git("checkout", "-q", "--detach")
    scratch.git("merge", "-q", "--no-ff", "-m", "merge", ours)
    step = compare(scratch)
    # The branch's own change, and not main's.
    assert "llama-3-8b" in step.summary
    assert "qwen3-8b" not in step.summary
    assert step.out.splitlines()[-1].endswith(": 1 model changed")


def test_a_folder_that_moves_while_it_changes(scratch: Scratch) -> None:
    kv_heads(scratch, 8, 16)
    scratch.git("mv", "serving", "prod")
    scratch.edit("kvcalc.yaml", "serving/", "prod/")
    scratch.commit()
    step = compare(scratch, paths="prod", **{"fail-on": "increase"})
    assert step.status == 1
    assert f"<br>`moved from {LLAMA}` |" in step.summary
    assert step.out.splitlines()[-1].endswith(
        ": 1 model changed, kvcalc.yaml loosened; failing: llama-3-8b, kvcalc.yaml"
    )
    # The budget that was left behind would guard nothing.
    scratch.edit("kvcalc.yaml", "prod/", "serving/")
    step = check(scratch, paths="prod")
    assert step.status == 1
    assert "KV402 budgets[0].models: no spec has a path like 'serving/llama-3-8b.yaml'" in step.out


def test_a_base_where_the_spec_was_broken(scratch: Scratch) -> None:
    scratch.edit(LLAMA, "num_key_value_heads: 8", "num_kv_heads: 8")
    scratch.git("update-ref", "refs/remotes/origin/main", scratch.commit())
    scratch.edit(LLAMA, "num_kv_heads: 8", "num_key_value_heads: 8")
    scratch.commit()
    step = compare(scratch, **{"fail-on": "increase"})
    assert step.status == 0
    (warning,) = (line for line in step.out.splitlines() if line.startswith("::"))
    assert warning.startswith(
        f"::warning title=kvcalc diff%3A the base of {LLAMA} is no sound spec,file={LLAMA}::"
    )
    assert "num_kv_heads: unknown key 'num_kv_heads' (did you mean " in warning


def test_a_base_older_than_the_policy(scratch: Scratch) -> None:
    policy = (scratch.folder / "kvcalc.yaml").read_text()
    scratch.git("rm", "-q", "kvcalc.yaml")
    scratch.git("update-ref", "refs/remotes/origin/main", scratch.commit())
    scratch.write("kvcalc.yaml", policy)
    scratch.commit()
    assert compare(scratch, **{"fail-on": "increase"}).status == 0
    step = compare(scratch, **{"fail-on": "any"})
    assert step.status == 1
    assert (
        "- policy `kvcalc.yaml`: `added: budgets[0]: {context: 32k, batch: 8, "
        "models: [serving/llama-3-8b.yaml], gpu: h100-80gb, engine: vllm}`" in step.summary
    )


@pytest.mark.parametrize("text", ["uncommitted", "untracked"])
def test_what_is_not_committed_counts(scratch: Scratch, text: str) -> None:
    if text == "uncommitted":
        kv_heads(scratch, 8, 16)
        assert "num_key_value_heads: 8 -> 16" in compare(scratch).out
    else:
        spec = (scratch.folder / LLAMA).read_text()
        scratch.write("serving/llama-ö.yaml", spec.replace("name: llama-3-8b", "name: llama-ö"))
        step = compare(scratch)
        assert "::notice title=kvcalc diff%3A llama-ö added,file=serving/llama-ö.yaml::" in step.out
        assert "- added **llama-ö**: parameters 8.03 B, weights 14.96 GiB, " in step.summary


def test_line_ends_of_windows_change_nothing(scratch: Scratch) -> None:
    text = (scratch.folder / LLAMA).read_bytes()
    (scratch.folder / LLAMA).write_bytes(text.replace(b"\n", b"\r\n"))
    scratch.commit()
    assert check(scratch).status == 0
    assert "no difference in any number" in compare(scratch, **{"fail-on": "any"}).out


def test_a_clone_as_shallow_as_checkout_makes_it(scratch: Scratch) -> None:
    scratch.write("note.txt", "one more commit\n")
    scratch.commit()
    clone = scratch.clone(scratch.folder.parent / "c", "--depth", "1", "--branch", "pr")
    step = Step(clone, "Compare with the base")
    assert (step.status, step.out, step.summary) == (2, "", "")
    assert step.err == (
        "kvcalc: this clone is shallow and does not hold 'origin/main'; GitHub Actions: "
        "actions/checkout with 'fetch-depth: 0'; elsewhere: git fetch "
        "--unshallow origin main:refs/remotes/origin/main\n"
    )
    # It can still be checked.
    assert Step(clone, "Check specs").status == 0


def test_more_findings_than_github_shows(scratch: Scratch) -> None:
    # Ten errors a step are shown; the summary has them all.
    for file in sorted((scratch.folder / "serving").iterdir()):
        text = file.read_text().replace("hidden_size:", "hiden_size:", 1)
        file.write_text(text.replace("vocab_size:", "vocb_size:", 1))
    step = check(scratch)
    assert step.out.count("::error ") == 40
    assert step.summary.count("| error |") == 40

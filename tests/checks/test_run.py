"""Which files are checked, and what a report of one says."""

import json
import os
from pathlib import Path

import pytest

from kvcalc.checks.run import check_file, check_paths
from kvcalc.errors import FileError, NotFoundError
from kvcalc.spec import catalog

# Llama-3-8B's card: 8,030,261,248 parameters.
TEXT = catalog.find("llama-3-8b").read_text("utf-8")


def write(folder: Path, name: str, text: str = TEXT) -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


def test_shipped_specs_have_no_problems() -> None:
    reports = check_paths([catalog.specs_folder()])
    assert [str(problem) for report in reports for problem in report.problems] == []
    assert len(reports) >= 100


def test_a_folder_is_searched_and_what_is_hidden_is_not(tmp_path: Path) -> None:
    names = ["b/llama-3-8b.yaml", "a/deep/llama-3-8b.yml", "llama-3-8b.yaml"]
    for name in (*names, ".hidden.yaml", ".git/x.yaml", "a/.b/x.yaml", "notes.txt", "config.json"):
        write(tmp_path, name)
    found = [report.path for report in check_paths([tmp_path])]
    assert found == [str(tmp_path / name) for name in (names[2], names[1], names[0])]


def test_a_file_that_is_named_is_checked_whatever_its_name(tmp_path: Path) -> None:
    path = write(tmp_path, ".llama-3-8b.spec")
    assert [report.path for report in check_paths([path])] == [str(path)]


CONFIG = {
    "model_type": "llama", "hidden_size": 64, "intermediate_size": 128, "num_attention_heads": 4,
    "num_key_value_heads": 4, "num_hidden_layers": 2, "vocab_size": 1000,
    "tie_word_embeddings": True,
}  # fmt: skip


def test_a_file_is_checked_once(tmp_path: Path) -> None:
    path = write(tmp_path, "llama-3-8b.yaml")
    again = tmp_path / "." / ".." / tmp_path.name / "llama-3-8b.yaml"
    assert len(check_paths([path, tmp_path, path, again])) == 1


def test_every_key_that_a_config_should_not_have(tmp_path: Path) -> None:
    config = {**CONFIG, "my_gate_layers": 3, "notes": "none", "extra_state_size": 16}
    path = write(tmp_path, "mine/config.json", json.dumps(config, indent=1))
    problems = check_file(path).problems
    assert [(each.code, each.line, each.field) for each in problems] == [
        ("KV106", 10, "my_gate_layers"),
        ("KV106", 12, "extra_state_size"),
    ]


def test_nothing_to_check(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match=r"no spec \(\*.yaml, \*.yml, config.json\) in"):
        check_paths([tmp_path])
    with pytest.raises(NotFoundError, match="no such file"):
        check_paths([tmp_path / "none.yaml"])


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes in this file system")
def test_a_pipe_in_a_folder_does_not_block(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.yaml")
    path = write(tmp_path, "llama-3-8b.yaml")
    assert [report.path for report in check_paths([tmp_path])] == [str(path)]


def test_a_link_that_leads_nowhere_is_not_passed_over(tmp_path: Path) -> None:
    gone = tmp_path / "gone.yaml"
    gone.symlink_to(tmp_path / "none")
    write(tmp_path, "llama-3-8b.yaml")
    # The rest of the folder is checked; a file that was named has to be there.
    first, second = check_paths([tmp_path])
    assert [(p.code, p.message) for p in first.problems] == [("KV101", f"no such file: {gone}")]
    assert second.spec is not None
    with pytest.raises(NotFoundError, match=r"no such file: .*gone\.yaml"):
        check_paths([tmp_path, gone])


def test_a_circle_of_links_ends(tmp_path: Path) -> None:
    path = write(tmp_path, "llama-3-8b.yaml")
    (tmp_path / "again").symlink_to(tmp_path)
    assert [report.path for report in check_paths([tmp_path])] == [str(path)]


def test_a_folder_with_the_name_of_a_file(tmp_path: Path) -> None:
    path = write(tmp_path, "models.yaml/llama-3-8b.yaml")
    assert [report.path for report in check_paths([tmp_path])] == [str(path)]
    with pytest.raises(FileError, match="is a directory"):
        check_file(tmp_path / "models.yaml")


def test_one_bad_file_does_not_hide_the_others(tmp_path: Path) -> None:
    write(tmp_path, "a.yaml", "name: a\n")
    write(tmp_path, "llama-3-8b.yaml", TEXT.replace("8030261248", "8030261249"))
    (tmp_path / "b.yaml").write_bytes(b"\xff")
    first, second, third = check_paths([tmp_path])
    assert first.spec is None
    missing = ["blocks", "hidden_size", "layers", "source", "vocab_size"]
    assert [(p.code, p.field) for p in first.errors] == [("KV103", name) for name in missing]
    assert [problem.code for problem in second.problems] == ["KV101"]
    assert third.spec is not None
    assert [(p.code, p.field, p.message) for p in third.problems] == [
        ("KV301", "expect.parameters", "expected 8030261249, found 8030261248 (-1)")
    ]


def test_warnings_are_not_errors(tmp_path: Path) -> None:
    path = write(tmp_path, "llama-3-8b.yaml", TEXT.partition("expect:")[0])
    report = check_file(path)
    assert report.errors == ()
    assert [(p.code, p.line, p.column) for p in report.warnings] == [("KV302", 2, 1)]


@pytest.mark.parametrize(
    ("budget", "problem"),
    [
        ("{context: 8k, cache: 1GiB}", None),
        ("{context: 8k, batch: 32, kv_dtype: fp8, cache: 16GiB, weights: 16060522496}", None),
        (
            # 8 heads * 128 * 2 * 32 layers * 2 bytes = 131,072 bytes a token.
            "{context: 128k, batch: 2, cache: 16GiB}",
            "34359738368 bytes (32.00 GiB) are needed, 17179869184 (16.00 GiB) more than the "
            "budget of 17179869184 (16.00 GiB); 65536 tokens fit, with 2 sequences",
        ),
        (
            "{context: 8k, total: 17134264319}",
            "17134264320 bytes (15.96 GiB) are needed, 1 (1 B) more than the budget of "
            "17134264319 (15.96 GiB); 8191 tokens fit, with 1 sequence",
        ),
        (
            "{context: 1, total: 16GB}",
            "16060653568 bytes (14.96 GiB) are needed, 60653568 (57.84 MiB) more than the budget "
            "of 16000000000 (14.90 GiB); the weights alone exceed it",
        ),
        ("{dtype: fp32, weights: 32121044991}",
         "32121044992 bytes (29.92 GiB) are needed, 1 (1 B) more than the budget of 32121044991 "
         "(29.92 GiB)"),
    ],
)  # fmt: skip
def test_budgets(tmp_path: Path, budget: str, problem: str | None) -> None:
    path = write(tmp_path, "llama-3-8b.yaml", f"{TEXT}budgets:\n  - {budget}\n")
    found = [problem.message for problem in check_file(path).problems]
    assert found == ([] if problem is None else [problem])


def test_a_config_of_hugging_face_is_held_to_the_policy(tmp_path: Path) -> None:
    write(tmp_path, "mine/config.json", json.dumps(CONFIG, indent=1))
    write(tmp_path, "other/config.json", '{"port": 80}')
    (report,) = check_paths([tmp_path])
    # Nothing to expect and no source: those rules are for specs.
    assert (report.path, report.problems) == (str(tmp_path / "mine/config.json"), ())
    assert report.not_run == {"KV301", "KV302", "KV501", "KV502"}
    # 512 bytes a token, as in tests/scratch.py.
    write(tmp_path, "kvcalc.yaml", "budgets: [{models: mine, context: 1k, cache: 500000}]")
    report, policy = check_paths([tmp_path])
    (problem,) = report.problems
    assert (problem.code, problem.field) == ("KV401", "kvcalc.yaml: budgets[0].cache")
    # At its KV heads, for it has no key 'attention'.
    assert problem.line == 6
    assert problem.message.startswith("524288 bytes (512.00 KiB) are needed, ")
    assert policy.problems == ()
    # Named, another tool's file is told what it lacks.
    (report,) = check_paths([tmp_path / "other/config.json"], tmp_path / "kvcalc.yaml")[:1]
    assert [(each.code, each.field) for each in report.problems] == [("KV103", "model_type")]


def test_published_files_are_what_the_model_and_its_named_parts_add_up_to(tmp_path: Path) -> None:
    """GPT-2's files have masks of 12 layers of 1,024 x 1,024: 12,582,912 beside 124,439,808."""
    text = catalog.find("gpt2").read_text("utf-8")
    write(tmp_path, "gpt2.yaml", text)
    write(tmp_path, "other.yaml", text.replace("12582912", "12582911").replace("gpt2\n", "other\n"))
    first, second = check_paths([tmp_path])
    assert first.problems == ()
    assert [(p.code, p.field, p.message) for p in second.problems] == [
        (
            "KV301",
            "checkpoint.parameters",
            "the files hold 137022720, the model and 12582911 beside it 137022719 (-1)",
        )
    ]

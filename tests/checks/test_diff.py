"""``kvcalc diff`` on real histories: which files, which side, which numbers, which fields."""

from functools import partial
from pathlib import Path

import pytest

from kvcalc.checks.diff import Diff, Row, diff
from kvcalc.checks.limits import FieldChange
from kvcalc.checks.quantities import parse_tolerances
from kvcalc.errors import NotFoundError, UsageError
from kvcalc.memory.workload import Asked
from tests.scratch import Scratch, small


@pytest.fixture
def scratch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Scratch:
    """Two specs in specs/, committed on main; the branch pr is checked out."""
    scratch = Scratch(tmp_path / "r").init()
    scratch.write("specs/alpha.yaml", small("alpha"))
    scratch.write("specs/beta.yaml", small("beta"))
    scratch.commit()
    scratch.git("checkout", "-q", "-b", "pr")
    monkeypatch.chdir(scratch.folder)
    return scratch


def compare(base: str = "main", *paths: str, merge_base: bool = True, **tolerances: str) -> Diff:
    return diff(
        tuple(Path(path) for path in paths or (".",)),
        base,
        Asked(context_tokens=1024),
        parse_tolerances(tolerances),
        merge_base=merge_base,
    )


def names(found: Diff) -> tuple[list[str], list[str], list[str]]:
    return (
        [change.model for change in found.changed],
        [each.model for each in found.added],
        [each.model for each in found.removed],
    )


# ---------------------------------------------------------------- numbers and fields


def test_a_grown_cache(scratch: Scratch) -> None:
    scratch.write("specs/alpha.yaml", small("alpha", kv=1))
    scratch.commit()
    scratch.write("specs/alpha.yaml", small("alpha", kv=2))
    (change,) = compare("HEAD").changed
    assert change.rows == (
        # K and V projections of 64 x 16 for one head more, in 2 layers: 2 * 2 * 64 * 16.
        Row("parameters", 133952, 138048, False),
        Row("active_parameters", 133952, 138048, False),
        Row("weight_bytes", 267904, 276096, False),
        # 2 layers * 2 * 1 head * 16 * 2 bytes, and twice that; 1024 tokens of it.
        Row("cache_bytes_per_token", 128, 256, False),
        Row("cache_bytes", 131072, 262144, False),
    )
    field = "blocks.decoder.attention.num_key_value_heads"
    assert change.fields == (FieldChange(field, 1, 2, 8),)
    assert (change.path, change.model, change.limits) == ("specs/alpha.yaml", "alpha", ())


def test_a_smaller_window_of_a_real_model(scratch: Scratch) -> None:
    scratch.ship("gemma-3-1b")
    scratch.commit()
    scratch.edit("serving/gemma-3-1b.yaml", "sliding_window: 512}", "sliding_window: 256}")
    (change,) = compare("HEAD").changed
    # 22 of 26 layers have a window; 1 KV head of 256, K and V, bf16: 22 * 2 * 256 * 2 * 256 less.
    assert change.rows == (
        Row("fixed_cache_bytes", 11534336, 5767168, False),
        Row("cache_bytes", 11534336 + 4 * 1024 * 1024, 5767168 + 4 * 1024 * 1024, False),
    )
    assert [field.field for field in change.fields] == ["blocks.local.attention.sliding_window"]


def test_layers_that_come_and_go(scratch: Scratch) -> None:
    scratch.edit("specs/alpha.yaml", "{repeat: 2, ", "{")
    scratch.edit(
        "specs/beta.yaml", "blocks: [decoder]}", "blocks: [decoder]}\n  - {blocks: [decoder]}"
    )
    alpha, beta = compare().changed
    assert alpha.fields == (FieldChange("layers[0].repeat", 2, None, 11),)
    assert beta.fields == (FieldChange("layers[1]", None, {"blocks": ["decoder"]}, 12),)
    rows = {row.quantity: (row.base, row.head, row.delta) for row in beta.rows}
    # A layer: 4 * 64 * 64 + 3 * 64 * 128 + 2 * 64 weights; 256 bytes of cache a token.
    assert rows["parameters"] == (146240, 187328, 41088)
    assert rows["cache_bytes_per_token"] == (512, 768, 256)


def test_what_changes_no_number_is_left_out(scratch: Scratch) -> None:
    scratch.edit("specs/alpha.yaml", "source: made up", "source: the paper\nnotes: a note")
    scratch.edit("specs/beta.yaml", "name: beta", "# a comment\nname:   beta")
    found = compare()
    assert names(found) == ([], [], [])
    assert not found.fails("any")


def test_a_loosened_limit_is_shown(scratch: Scratch) -> None:
    scratch.write(
        "specs/alpha.yaml", small("alpha", more="budgets: [{context: 1k, cache: 1MiB}]\n")
    )
    scratch.commit()
    scratch.edit("specs/alpha.yaml", "1MiB", "4MiB")
    (change,) = compare("HEAD").changed
    assert (change.rows, change.fields) == ((), ())
    assert change.limits == (FieldChange("budgets[0].cache", 1048576, 4194304, 12, "loosened"),)
    assert [compare("HEAD").fails(on) for on in ("increase", "any", "none")] == [True, True, False]


def test_tolerances(scratch: Scratch) -> None:
    scratch.write("specs/alpha.yaml", small("alpha", repeat=3))
    # 146240 -> 187328 is 28.1 % more; 512 -> 768 is 50 %; 1024 tokens of that are 262144 bytes more.
    found = compare(all="28.1%", cache_bytes_per_token="50%", cache_bytes="256KiB")
    assert [row.quantity for row in found.changed[0].rows if not row.tolerated] == []
    assert not found.fails("increase")
    found = compare(all="28%", cache_bytes_per_token="49.9%", cache_bytes="262143")
    assert not any(row.tolerated for row in found.changed[0].rows)
    assert found.fails("increase")


def test_a_tolerance_covers_the_parts(scratch: Scratch) -> None:
    # The same layers counted as parameters, as weights, a token and a workload.
    scratch.write("specs/alpha.yaml", small("alpha", repeat=3))
    # 146240 -> 187328 parameters, 512 -> 768 bytes a token.
    enough = partial(compare, weight_bytes="28.1%", cache_bytes="50%")
    assert not enough().fails("any")
    (change,) = compare(cache_bytes="50%").changed
    assert [row.quantity for row in change.rows if row.tolerated] == [
        "cache_bytes_per_token", "cache_bytes",
    ]  # fmt: skip
    # What is said of a part itself holds; 'all' is not said of a part.
    assert enough(cache_bytes_per_token="49%").fails("increase")
    assert enough(parameters="28%").fails("increase")
    assert not enough(all="1%").fails("any")
    assert compare(weight_bytes="28%", cache_bytes="50%").fails("increase")


def test_a_part_that_grows_while_its_whole_stays(scratch: Scratch) -> None:
    # More experts a token are no heavier weights.
    spec = small("alpha").replace(
        "{kind: gated, intermediate_size: 128}",
        "{kind: moe, num_experts: 8, num_experts_per_tok: 2, moe_intermediate_size: 32}",
    )
    scratch.write("specs/alpha.yaml", spec)
    scratch.commit()
    scratch.edit("specs/alpha.yaml", "tok: 2", "tok: 4")
    (change,) = compare("HEAD", weight_bytes="50%").changed
    # 2 layers of 2 experts more, each three matrices of 64 x 32.
    assert [(row.quantity, row.delta, row.tolerated) for row in change.rows] == [
        ("active_parameters", 24576, False)
    ]


def test_fail_on(scratch: Scratch) -> None:
    scratch.write("specs/alpha.yaml", small("alpha", kv=2))
    smaller = compare()
    assert [smaller.fails(on) for on in ("increase", "any", "none")] == [False, True, False]
    scratch.write("specs/alpha.yaml", small("alpha", repeat=3))
    larger = compare()
    assert [larger.fails(on) for on in ("increase", "any", "none")] == [True, True, False]


# ---------------------------------------------------------------- files


def test_added_and_removed_stand_apart(scratch: Scratch) -> None:
    scratch.write("specs/new.yaml", small("new", kv=1, repeat=1))
    scratch.git("rm", "-q", "specs/alpha.yaml")
    found = compare()
    assert names(found) == ([], ["new"], ["alpha"])
    assert found.added[0].quantities["cache_bytes_per_token"] == 64
    assert found.removed[0].quantities["parameters"] == 146240
    assert [found.fails(on) for on in ("increase", "any", "none")] == [False, True, False]
    scratch.commit()
    assert names(compare()) == ([], ["new"], ["alpha"])


def test_a_file_that_moved(scratch: Scratch) -> None:
    scratch.git("mv", "specs/alpha.yaml", "alpha.yaml")
    scratch.edit("alpha.yaml", "num_key_value_heads: 4", "num_key_value_heads: 2")
    (change,) = compare().changed
    assert (change.base_path, change.path) == ("specs/alpha.yaml", "alpha.yaml")
    assert change.rows[3] == Row("cache_bytes_per_token", 512, 256, False)


def test_a_file_that_moved_without_git(scratch: Scratch) -> None:
    (scratch.folder / "specs/alpha.yaml").rename(scratch.folder / "alpha.yaml")
    assert names(compare()) == ([], [], [])


def test_moved_models_are_told_apart_by_name_first(scratch: Scratch) -> None:
    for name in ("alpha", "beta"):
        scratch.git("mv", f"specs/{name}.yaml", f"{name}.yaml")
    # As large as alpha was, and called beta.
    scratch.write("alpha.yaml", small("alpha", kv=2))
    (change,) = compare().changed
    assert (change.base_path, change.path) == ("specs/alpha.yaml", "alpha.yaml")
    assert names(compare()) == (["alpha"], [], [])


def test_a_model_with_another_name(scratch: Scratch) -> None:
    (scratch.folder / "specs/alpha.yaml").unlink()
    scratch.write("specs/alpha-2.yaml", small("alpha-2"))
    (change,) = compare().changed
    assert (change.base_model, change.model, change.rows) == ("alpha", "alpha-2", ())
    assert names(compare()) == (["alpha-2"], [], [])


def test_only_what_was_asked_for(scratch: Scratch) -> None:
    scratch.write("specs/alpha.yaml", small("alpha", kv=2))
    scratch.write("specs/beta.yaml", small("beta", kv=2))
    assert names(compare("main", "specs/beta.yaml"))[0] == ["beta"]
    assert names(compare("main", "specs"))[0] == ["alpha", "beta"]
    assert names(compare("main", "specs/alpha.yaml", "specs"))[0] == ["alpha", "beta"]


def test_from_a_folder_below(scratch: Scratch, monkeypatch: pytest.MonkeyPatch) -> None:
    scratch.write("specs/alpha.yaml", small("alpha", kv=2))
    scratch.write("other/gamma.yaml", small("gamma"))
    monkeypatch.chdir(scratch.folder / "specs")
    assert names(compare()) == (["alpha"], [], [])
    assert compare().changed[0].path == "specs/alpha.yaml"
    assert names(compare("main", "../other")) == ([], ["gamma"], [])
    assert names(compare("main", str(scratch.folder / "specs" / "alpha.yaml")))[0] == ["alpha"]


def test_names_that_git_would_quote(scratch: Scratch) -> None:
    name = 'ä "b"\t*'
    scratch.write(f"specs/{name}.yaml", small("odd"))
    scratch.commit()
    scratch.write(f"specs/{name}.yaml", small("odd", kv=2))
    assert compare("HEAD", f"specs/{name}.yaml").changed[0].path == f"specs/{name}.yaml"
    # A path is no pattern: '*' means itself.
    with pytest.raises(NotFoundError):
        compare("HEAD", "specs/*.yaml")


def test_what_is_no_spec(scratch: Scratch) -> None:
    scratch.write("compose.yaml", "services: {}\n")
    scratch.write(".github/workflows/ci.yaml", small("hidden"))
    scratch.write("kvcalc.yaml", "budgets: []\n")
    scratch.write("notes.txt", "text\n")
    assert compare() == compare("main", "specs")
    (broken,) = compare("main", "compose.yaml").broken
    assert (broken.path, broken.side) == ("compose.yaml", "head")


def test_a_link_in_a_specs_place_is_what_it_leads_to(scratch: Scratch) -> None:
    (scratch.folder / "specs/alpha.yaml").unlink()
    (scratch.folder / "specs/alpha.yaml").symlink_to("beta.yaml")
    (change,) = compare().changed
    assert (change.path, change.base_model, change.model) == ("specs/alpha.yaml", "alpha", "beta")


def test_ignored_files_are_not_new(scratch: Scratch) -> None:
    scratch.write(".gitignore", "draft.yaml\n")
    scratch.write("specs/draft.yaml", small("draft"))
    assert names(compare()) == ([], [], [])


def test_paths_without_a_spec(scratch: Scratch, tmp_path: Path) -> None:
    (scratch.folder / "empty").mkdir()
    for path in ("empty", "specs/gamma.yaml", "nowhere/at/all"):
        with pytest.raises(NotFoundError):
            compare("main", path)
    # Gone now, but there before: that is an answer.
    (scratch.folder / "specs/alpha.yaml").unlink()
    assert names(compare("main", "specs/alpha.yaml")) == ([], [], ["alpha"])


# ---------------------------------------------------------------- broken sides


def test_a_broken_head(scratch: Scratch) -> None:
    scratch.edit("specs/alpha.yaml", "repeat", "repeet")
    found = compare()
    (broken,) = found.broken
    assert (broken.path, broken.side) == ("specs/alpha.yaml", "head")
    (problem,) = broken.problems
    assert (problem.code, problem.path, problem.line) == ("KV102", "specs/alpha.yaml", 11)
    assert [found.fails(on) for on in ("increase", "any", "none")] == [True, True, False]


def test_a_broken_base_is_reported_and_no_finding(scratch: Scratch) -> None:
    scratch.edit("specs/alpha.yaml", "repeat", "repeet")
    scratch.commit()
    scratch.edit("specs/alpha.yaml", "repeet", "repeat")
    found = compare("HEAD")
    (broken,) = found.broken
    assert (broken.path, broken.side) == ("specs/alpha.yaml", "base")
    assert names(found) == ([], [], [])
    assert [found.fails(on) for on in ("increase", "any", "none")] == [False, True, False]


def test_a_base_that_is_no_text_or_too_large(scratch: Scratch) -> None:
    (scratch.folder / "specs/alpha.yaml").write_bytes(b"hidden_size: \xff\n")
    scratch.write("specs/beta.yaml", "hidden_size: 1\n" + "# padding\n" * 50_000)
    scratch.commit()
    scratch.write("specs/alpha.yaml", small("alpha"))
    scratch.write("specs/beta.yaml", small("beta"))
    messages = [each.problems[0].message for each in compare("HEAD").broken]
    assert messages == ["not UTF-8 (byte 0xff)", "larger than 262144 bytes: not a spec"]


def test_a_number_that_cannot_be_computed(scratch: Scratch) -> None:
    scratch.write("specs/alpha.yaml", small("alpha", kv=2))
    reference = Asked(context_tokens=1024, dtype="bf61")
    found = diff((Path(),), "main", reference, parse_tolerances({}))
    assert [(each.side, each.problems[0].code) for each in found.broken] == [
        ("base", "KV402"), ("head", "KV402"),
    ]  # fmt: skip


# ---------------------------------------------------------------- bases


def test_the_base_is_where_the_branch_left(scratch: Scratch) -> None:
    scratch.write("specs/alpha.yaml", small("alpha", kv=2))
    scratch.commit()
    scratch.git("checkout", "-q", "main")
    scratch.write("specs/beta.yaml", small("beta", kv=2))
    left = scratch.git("rev-parse", "HEAD")
    scratch.commit()
    scratch.git("checkout", "-q", "pr")
    found = compare()
    assert names(found)[0] == ["alpha"]
    assert found.base.commit == left
    assert found.base.notes[0].startswith("main has gone on since this branch left it: ")
    found = compare(merge_base=False)
    assert names(found)[0] == ["alpha", "beta"]
    assert found.base.notes == ()


@pytest.mark.parametrize("revision", ["main", "HEAD", "HEAD~0", "refs/heads/main", "v1"])
def test_every_name_of_a_commit(scratch: Scratch, revision: str) -> None:
    scratch.git("tag", "-a", "-m", "a tag", "v1")
    scratch.write("specs/alpha.yaml", small("alpha", kv=2))
    assert names(compare(revision))[0] == ["alpha"]


def test_unrelated_histories(scratch: Scratch) -> None:
    scratch.git("checkout", "-q", "--orphan", "fresh")
    scratch.write("specs/alpha.yaml", small("alpha", kv=2))
    scratch.commit()
    found = compare()
    assert names(found)[0] == ["alpha"]
    assert found.base.notes == ("compared with main itself, for want of a common ancestor",)


@pytest.mark.parametrize(
    ("revision", "message"),
    [
        ("mian", "no revision 'mian' in {} (did you mean 'main'?)"),
        ("HEAD:specs", "no revision 'HEAD:specs' in {}"),
        ("", "no revision '' in {}"),
        ("0123456789012345678901234567890123456789",
         "no revision '0123456789012345678901234567890123456789' in {}"),
        ("--all", "'--all' is an option, not a revision"),
    ],
)  # fmt: skip
def test_no_such_revision(scratch: Scratch, revision: str, message: str) -> None:
    with pytest.raises(UsageError) as caught:
        compare(revision)
    assert caught.value.message == message.format(scratch.folder)


def test_a_branch_that_was_not_fetched(scratch: Scratch, monkeypatch: pytest.MonkeyPatch) -> None:
    clone = scratch.clone(scratch.folder.parent / "c", "--single-branch", "--branch", "pr")
    monkeypatch.chdir(clone.folder)
    with pytest.raises(UsageError) as caught:
        compare("origin/main")
    fix = "git fetch origin main:refs/remotes/origin/main"
    assert caught.value.message == (
        f"no revision 'origin/main' in {clone.folder}\n  if the remote has it: {fix}"
    )
    clone.git(*fix.split()[1:])
    assert names(compare("origin/main")) == ([], [], [])


def test_a_shallow_clone(scratch: Scratch, monkeypatch: pytest.MonkeyPatch) -> None:
    scratch.write("specs/alpha.yaml", small("alpha", kv=2))
    scratch.commit()
    base = scratch.git("rev-parse", "main")
    clone = scratch.clone(scratch.folder.parent / "c", "--depth", "1", "--branch", "pr")
    monkeypatch.chdir(clone.folder)
    line = (
        "GitHub Actions: actions/checkout with 'fetch-depth: 0'; elsewhere: git fetch --unshallow"
    )
    for revision, more in (
        ("origin/main", " origin main:refs/remotes/origin/main"),
        (base, ""),
        ("HEAD~1", ""),
    ):
        with pytest.raises(UsageError) as caught:
            compare(revision)
        assert caught.value.message == (
            f"this clone is shallow and does not hold '{revision}'; {line}{more}"
        )
    clone.git("fetch", "-q", "--unshallow", "origin", "main:refs/remotes/origin/main")
    found = compare("origin/main")
    assert (names(found)[0], found.base.notes) == (["alpha"], ())


def test_a_shallow_clone_with_the_base(scratch: Scratch, monkeypatch: pytest.MonkeyPatch) -> None:
    scratch.write("specs/alpha.yaml", small("alpha", kv=2))
    scratch.commit()
    clone = scratch.clone(scratch.folder.parent / "c", "--depth", "1", "--branch", "pr")
    clone.git("fetch", "-q", "--depth", "1", "origin", "main:refs/remotes/origin/main")
    monkeypatch.chdir(clone.folder)
    found = compare("origin/main")
    assert names(found)[0] == ["alpha"]
    assert found.base.notes[0].startswith("compared with origin/main itself, for want of a common")


def test_no_repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    with pytest.raises(UsageError, match="is not in a git repository"):
        compare()


def test_no_git(scratch: Scratch, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(scratch.folder))
    with pytest.raises(NotFoundError, match="git is not installed"):
        compare()


def test_paths_of_another_repository(scratch: Scratch, tmp_path: Path) -> None:
    other = Scratch(tmp_path / "other").init()
    other.write("alpha.yaml", small("alpha"))
    with pytest.raises(UsageError, match="is not in the repository"):
        compare("main", "specs", str(other.folder))


def test_a_repository_without_a_commit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Scratch(tmp_path).init().write("alpha.yaml", small("alpha"))
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError, match=r"no revision 'main' in .*, which has no commit yet"):
        compare()


def test_a_bare_repository(scratch: Scratch, monkeypatch: pytest.MonkeyPatch) -> None:
    bare = scratch.clone(scratch.folder.parent / "bare", "--bare")
    monkeypatch.chdir(bare.folder)
    with pytest.raises(UsageError, match="is a bare repository and holds no files to compare"):
        compare()
    bare.git("worktree", "add", "-q", "../tree", "main")
    monkeypatch.chdir(bare.folder.parent / "tree")
    assert names(compare()) == ([], [], [])


def test_an_unfinished_merge(scratch: Scratch) -> None:
    scratch.write("specs/alpha.yaml", small("alpha", kv=2))
    scratch.commit()
    scratch.git("checkout", "-q", "main")
    scratch.write("specs/alpha.yaml", small("alpha", kv=1))
    scratch.commit()
    with pytest.raises(Exception, match="merge"):
        scratch.git("merge", "-q", "pr")
    (broken,) = compare("HEAD").broken
    assert (broken.path, broken.side) == ("specs/alpha.yaml", "head")


def test_equal_specs_are_not_read(scratch: Scratch, monkeypatch: pytest.MonkeyPatch) -> None:
    scratch.write("specs/alpha.yaml", small("alpha", kv=2))
    read: list[str] = []
    from kvcalc.checks import files as module

    whole = module.read_spec
    monkeypatch.setattr(
        module, "read_spec", lambda text, path: read.append(path) or whole(text, path)
    )
    compare()
    assert read == ["specs/alpha.yaml", "specs/alpha.yaml"]


def test_nothing_is_written(scratch: Scratch) -> None:
    scratch.write("specs/alpha.yaml", small("alpha", kv=2))
    git = scratch.folder / ".git"
    before = {path: path.read_bytes() for path in git.rglob("*") if path.is_file()}
    compare()
    assert {path: path.read_bytes() for path in git.rglob("*") if path.is_file()} == before

"""``kvcalc diff`` as a gate: growth shows however a file is renamed, linked, or hidden from git's index."""

import os
from pathlib import Path

import pytest

from tests.checks.test_diff import compare, names
from tests.scratch import Scratch, small

GROWN = small("alpha", kv=4)


@pytest.fixture
def scratch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Scratch:
    """alpha with 2 KV heads in specs/, committed on main; the branch pr is checked out."""
    scratch = Scratch(tmp_path / "r").init()
    scratch.write("specs/alpha.yaml", small("alpha", kv=2))
    scratch.write("data/grown.txt", GROWN)
    scratch.commit()
    scratch.git("checkout", "-q", "-b", "pr")
    monkeypatch.chdir(scratch.folder)
    return scratch


def grows(*paths: str) -> bool:
    """Whether the gate closes, for the growth of alpha's cache from 256 to 512 bytes a token."""
    found = compare("main", *paths)
    rows = [row for change in found.changed for row in change.rows]
    per_token = [(row.base, row.head) for row in rows if row.quantity == "cache_bytes_per_token"]
    assert per_token in ([], [(256, 512)])
    assert found.fails("increase") == bool(per_token)
    return found.fails("increase")


@pytest.mark.parametrize("path", [".", "specs", "specs/alpha.yaml"])
@pytest.mark.parametrize("target", ["../data/grown.txt", "../build/alpha.yaml", "/outside.txt"])
def test_a_link_in_a_specs_place(scratch: Scratch, path: str, target: str) -> None:
    if target.startswith("/"):
        target = str(scratch.folder.parent / "outside.txt")
        Path(target).write_text(GROWN, "utf-8")
    # What git ignores is read all the same.
    scratch.write(".gitignore", "build\n")
    scratch.write("build/alpha.yaml", GROWN)
    spec = scratch.folder / "specs/alpha.yaml"
    spec.unlink()
    spec.symlink_to(target)
    assert grows(path)
    scratch.commit()
    assert grows(path)


@pytest.mark.parametrize("path", [".", "specs", "specs/alpha.yaml"])
def test_what_a_link_leads_to_grows(scratch: Scratch, path: str) -> None:
    scratch.write("data/alpha.txt", small("alpha", kv=2))
    (scratch.folder / "specs/alpha.yaml").unlink()
    (scratch.folder / "specs/alpha.yaml").symlink_to("../data/alpha.txt")
    scratch.commit()
    scratch.git("branch", "-f", "main")
    assert not grows(path)
    scratch.write("data/alpha.txt", GROWN)
    assert grows(path)


def test_a_spec_that_moved_behind_a_link(scratch: Scratch) -> None:
    scratch.git("mv", "specs/alpha.yaml", "data/alpha.yaml")
    (scratch.folder / "specs/alpha.yaml").symlink_to("../data/alpha.yaml")
    assert names(compare("main")) == ([], [], [])
    scratch.write("data/alpha.yaml", GROWN)
    assert grows(".")
    assert names(compare("main")) == (["alpha"], [], [])


def test_a_link_that_leads_nowhere(scratch: Scratch) -> None:
    (scratch.folder / "specs/alpha.yaml").unlink()
    for target in ("nowhere", "alpha.yaml"):
        (scratch.folder / "specs/alpha.yaml").symlink_to(target)
        assert names(compare("main")) == ([], [], ["alpha"])
        (scratch.folder / "specs/alpha.yaml").unlink()


def test_names_of_links_that_git_would_split(scratch: Scratch) -> None:
    scratch.write("data/a b.txt", small("alpha", kv=2))
    for name in ("a b", "a\nb"):
        (scratch.folder / f"specs/{name}.yaml").symlink_to("../data/a b.txt")
    (scratch.folder / "specs/loop.yaml").symlink_to("loop.yaml")
    (scratch.folder / "specs/out.yaml").symlink_to("/nowhere/at all")
    scratch.commit()
    scratch.write("data/a b.txt", GROWN)
    changed, added, removed = names(compare("HEAD"))
    # git cannot be asked for the name with a line break in it: to it the file is new.
    assert (changed, added, removed) == (["alpha"], ["alpha"], [])


@pytest.mark.parametrize("flag", ["--assume-unchanged", "--skip-worktree"])
def test_an_index_that_lies(scratch: Scratch, flag: str) -> None:
    scratch.git("update-index", flag, "specs/alpha.yaml")
    scratch.write("specs/alpha.yaml", GROWN)
    assert scratch.git("status", "--porcelain") == ""
    assert grows(".")


def test_an_index_that_goes_by_sizes_and_times(scratch: Scratch) -> None:
    spec = scratch.folder / "specs/alpha.yaml"
    scratch.git("config", "core.trustctime", "false")
    os.utime(spec, (1e9, 1e9))
    scratch.git("update-index", "--refresh")
    spec.write_text(GROWN, "utf-8")
    os.utime(spec, (1e9, 1e9))
    assert scratch.git("diff", "--stat") == ""
    assert grows(".")


def test_a_rename_of_file_and_name_with_the_same_layers(scratch: Scratch) -> None:
    scratch.git("mv", "specs/alpha.yaml", "specs/beta.yaml")
    scratch.write("specs/beta.yaml", small("beta", kv=4))
    (change,) = compare("main").changed
    assert (change.base_model, change.model) == ("alpha", "beta")
    assert grows(".")


def test_a_rename_with_the_same_hub_id(scratch: Scratch) -> None:
    scratch.write("specs/alpha.yaml", small("alpha", kv=2, more="hub_id: [a/one, a/two]\n"))
    scratch.commit()
    scratch.git("mv", "specs/alpha.yaml", "specs/beta.yaml")
    # Other layers, and as many bytes in each.
    scratch.write("specs/beta.yaml", small("beta", kv=2, repeat=3, more="hub_id: A/Two\n"))
    (change,) = compare("HEAD").changed
    assert (change.base_model, change.model) == ("alpha", "beta")
    assert compare("HEAD").fails("increase")


def test_a_file_that_was_written_so_that_no_glance_tells(scratch: Scratch) -> None:
    plain = "".join(f"  {line}\n" for line in small("alpha", kv=2).splitlines())
    scratch.write("specs/alpha.yaml", plain)
    scratch.commit()
    scratch.write("specs/alpha.yaml", "".join(f"  {line}\n" for line in GROWN.splitlines()))
    (change,) = compare("HEAD").changed
    assert change.model == "alpha"
    # What only mentions the words is no model.
    for text in ("services: {x: 'hidden_size: 1'}\n", "a:\n  blocks: [\n", "- hidden_size: 1\n"):
        scratch.write("compose.yaml", text)
        assert names(compare("HEAD")) == (["alpha"], [], [])
        assert compare("HEAD").broken == ()

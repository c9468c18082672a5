"""``kvcalc diff``: formats, exit status, streams, the policy's tolerances."""

import json
from pathlib import Path

import pytest

from tests.scratch import Scratch, run, small

FORMATS = ("table", "json", "markdown", "github")


@pytest.fixture
def scratch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Scratch:
    """main holds alpha, beta and gone; in the working tree alpha grew and new came."""
    scratch = Scratch(tmp_path / "r").init()
    scratch.write("specs/alpha.yaml", small("alpha", kv=2))
    scratch.write("specs/beta.yaml", small("beta"))
    scratch.write("specs/gone.yaml", small("gone", repeat=4))
    scratch.commit()
    scratch.write("specs/alpha.yaml", small("alpha", kv=4))
    scratch.write("specs/new.yaml", small("new", repeat=1))
    (scratch.folder / "specs/gone.yaml").unlink()
    monkeypatch.chdir(scratch.folder)
    return scratch


# 2 KV heads: 146240 - 2 * 2 * 64 * 16 * 2 = 138048 parameters, 256 bytes a token.
def test_table(scratch: Scratch, capsys: pytest.CaptureFixture[str]) -> None:
    commit = scratch.git("rev-parse", "--short=8", "HEAD")
    status, out, err = run(capsys, "diff", "--base", "main")
    assert (status, err) == (1, "")
    assert out == (
        "alpha  specs/alpha.yaml:8\n"
        "  blocks.decoder.attention.num_key_value_heads: 2 -> 4\n"
        "quantity                        base        head    difference\n"
        "  parameters                138.05 k    146.24 k        +8,192    +5.9 %\n"
        "  active parameters         138.05 k    146.24 k        +8,192    +5.9 %\n"
        "  weights                 269.63 KiB  285.63 KiB     +16,384 B    +5.9 %\n"
        "  cache per token              256 B       512 B        +256 B  +100.0 %\n"
        "  cache of 8k tokens x 1    2.00 MiB    4.00 MiB  +2,097,152 B  +100.0 %\n"
        "\n"
        "- added new: parameters 105.15 k, weights 205.38 KiB, cache per token 256 B, "
        "cache of 8k tokens x 1 2.00 MiB\n"
        "- removed gone: parameters 228.42 k, weights 446.13 KiB, cache per token 1.00 KiB, "
        "cache of 8k tokens x 1 8.00 MiB\n"
        "\n"
        f"compared with main ({commit}): 1 model changed, 1 added, 1 removed; "
        "failing: alpha\n"
    )


@pytest.mark.parametrize("columns", ["60", "80"])
def test_a_narrow_terminal_names_models_and_fields(
    scratch: Scratch,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    columns: str,
) -> None:
    monkeypatch.setenv("COLUMNS", columns)
    _, out, _ = run(capsys, "diff", "--base", "main")
    assert out.startswith("alpha  specs/alpha.yaml:8\n")
    assert "num_key_value_heads: 2 -> 4" in out
    assert "+2,097,152 B" in out
    assert max(map(len, out.splitlines())) <= int(columns)


def test_json(scratch: Scratch, capsys: pytest.CaptureFixture[str]) -> None:
    commit = scratch.git("rev-parse", "HEAD")
    status, out, _ = run(
        capsys, "diff", "--base", "main", "--context", "1k", "--batch", "2", "--kv-dtype", "fp8",
        "--format", "json",
    )  # fmt: skip
    assert status == 1
    answer = json.loads(out)
    assert answer["schema_version"] == 2
    assert answer["base"] == {"revision": "main", "commit": commit}
    assert (answer["fail_on"], answer["failed"]) == ("increase", True)
    assert answer["failing"] == ["alpha"]
    (change,) = answer["changed"]
    assert (change["model"], change["path"]) == ("alpha", "specs/alpha.yaml")
    assert change["fields"] == [
        {
            "field": "blocks.decoder.attention.num_key_value_heads",
            "base": 2,
            "head": 4,
            "line": 8,
            "effect": "changed",
        }
    ]
    # 2 sequences * 1024 tokens * 256 elements of one byte.
    assert change["quantities"][-1] == {
        "quantity": "cache_bytes", "unit": "bytes", "base": 262144, "head": 524288,
        "delta": 262144, "percent": 100.0, "tolerated": False,
    }  # fmt: skip
    assert change["quantities"][0]["percent"] == 5.93
    assert change["quantities"][0]["unit"] == "count"
    assert [each["model"] for each in answer["added"]] == ["new"]
    assert [each["model"] for each in answer["removed"]] == ["gone"]
    values = {each["quantity"]: each["value"] for each in answer["added"][0]["quantities"]}
    assert values["cache_bytes_per_token"] == 128
    assert answer["not_comparable"] == []


def test_markdown(scratch: Scratch, capsys: pytest.CaptureFixture[str]) -> None:
    _, out, _ = run(capsys, "diff", "--base", "main", "--format", "markdown")
    lines = out.splitlines()
    # A step that posts this finds its earlier comment by the first line.
    assert lines[0] == "<!-- kvcalc-diff -->"
    assert lines[3:6] == [
        "| model | quantity | base | head | difference | | changed |",
        "|---|---|---:|---:|---:|---:|---|",
        "| **alpha** | parameters | 138.05 k | 146.24 k | +8,192 | +5.9 % "
        "| `blocks.decoder.attention.num_key_value_heads: 2 -> 4` |",
    ]
    assert lines[8] == "|  | cache per token | 256 B | 512 B | +256 B | +100.0 % |  |"
    assert lines[11].startswith("- added **new**: parameters 105.15 k, ")
    assert lines[12].startswith("- removed **gone**: ")


def test_github(scratch: Scratch, capsys: pytest.CaptureFixture[str]) -> None:
    _, out, _ = run(capsys, "diff", "--base", "main", "--format", "github")
    lines = out.splitlines()
    assert lines[0].startswith(
        "::error title=kvcalc diff%3A alpha,file=specs/alpha.yaml,line=8::specs/alpha.yaml: alpha%0A"
        "parameters: 138.05 k -> 146.24 k (+8,192, +5.9 %25)%0A"
    )
    assert lines[0].endswith("%0Ablocks.decoder.attention.num_key_value_heads: 2 -> 4")
    assert [line.partition(" ")[0] for line in lines[1:3]] == ["::notice", "::notice"]
    assert "::kvcalc diff: new added: parameters 105.15 k, weights 205.38 KiB, " in lines[1]
    _, out, _ = run(capsys, "diff", "--base", "main", "--format", "github", "--fail-on", "none")
    assert out.startswith("::warning ")


@pytest.mark.parametrize("format", FORMATS)
def test_the_status_does_not_depend_on_the_format(
    scratch: Scratch, capsys: pytest.CaptureFixture[str], format: str
) -> None:
    for status, arguments in (
        (1, ("--base", "main")),
        (0, ("--base", "main", "--fail-on", "none")),
        (0, ("--base", "main", "--tolerance", "all=100%")),
        (1, ("--base", "main", "--tolerance", "all=100%", "--fail-on", "any")),
        (0, ("--base", "main", "specs/beta.yaml", "--fail-on", "any")),
        (0, ("--base", "main", "specs/new.yaml")),
        (2, ("--base", "mian")),
        (2, ("--base", "main", "nowhere")),
        (2, ("--base", "main", "--context", "80k tokens")),
        (2, ("--base", "main", "--tolerance", "all")),
        (2, ("--base", "main", "--tolerance", "cache=1%")),
        (2, ()),
    ):
        assert run(capsys, "diff", *arguments, "--format", format)[0] == status, arguments


@pytest.mark.parametrize("format", FORMATS)
def test_nothing_changed(scratch: Scratch, capsys: pytest.CaptureFixture[str], format: str) -> None:
    status, out, _ = run(capsys, "diff", "--base", "main", "specs/beta.yaml", "--format", format)
    assert status == 0
    if format != "json":
        assert out.rstrip().endswith("no difference in any number")


@pytest.mark.parametrize("format", FORMATS)
def test_broken_sides(scratch: Scratch, capsys: pytest.CaptureFixture[str], format: str) -> None:
    scratch.edit("specs/beta.yaml", "repeat", "repeet")
    status, out, _ = run(capsys, "diff", "--base", "main", "specs/beta.yaml", "--format", format)
    assert status == 1
    assert "repeet" in out


def test_an_error_as_json(scratch: Scratch, capsys: pytest.CaptureFixture[str]) -> None:
    status, out, _ = run(capsys, "diff", "--base", "mian", "--format", "json")
    error = json.loads(out)["error"]
    assert (status, error["kind"]) == (2, "usage")
    assert "did you mean 'main'?" in error["message"]


def test_notes_go_to_stderr(scratch: Scratch, capsys: pytest.CaptureFixture[str]) -> None:
    scratch.git("checkout", "-q", "-b", "pr")
    scratch.git("checkout", "-q", "main")
    scratch.write("later.yaml", small("later"))
    scratch.commit()
    scratch.git("checkout", "-q", "pr")
    _, out, err = run(capsys, "diff", "--base", "main")
    assert err.startswith("note: main has gone on since this branch left it: ")
    assert "note:" not in out


def test_the_policys_workload(scratch: Scratch, capsys: pytest.CaptureFixture[str]) -> None:
    scratch.write("kvcalc.yaml", "workload: {context: 1k, batch: 2, dtype: fp8, kv_dtype: fp8}\n")

    def cache(*options: str) -> str:
        _, out, _ = run(capsys, "diff", "--base", "main", *options)
        return next(" ".join(line.split()) for line in out.splitlines() if "cache of" in line)

    # 128 and 256 elements a token, of one byte.
    assert cache() == "cache of 1k tokens x 2 256.00 KiB 512.00 KiB +262,144 B +100.0 %"
    assert cache("--batch", "1", "--kv-dtype", "bf16") == (
        "cache of 1k tokens x 1 256.00 KiB 512.00 KiB +262,144 B +100.0 %"
    )
    assert cache("--context", "2k").startswith("cache of 2k tokens x 2 512.00 KiB 1.00 MiB ")
    assert cache("specs").startswith("cache of 1k tokens x 2 ")
    scratch.write("kvcalc.yaml", "workload: {kv_dtype: fp9}\n")
    status, _, err = run(capsys, "diff", "--base", "main")
    assert status == 2
    assert "workload.kv_dtype: 'fp9' is not a number format here" in err


def test_the_policys_tolerances(scratch: Scratch, capsys: pytest.CaptureFixture[str]) -> None:
    scratch.git("stash", "-q", "-u")
    scratch.write("kvcalc.yaml", "tolerances: {all: 6%, cache_bytes_per_token: 256B}\n")
    scratch.commit()
    scratch.git("stash", "pop", "-q")
    status, out, _ = run(capsys, "diff", "--base", "main")
    assert status == 1
    assert [line.split()[0] for line in out.splitlines() if "tolerated" in line] == [
        "parameters", "active", "weights", "cache",
    ]  # fmt: skip
    more = ("--tolerance", "cache_bytes=2MiB")
    assert run(capsys, "diff", "--base", "main", *more)[0] == 0
    scratch.write("kvcalc.yaml", "tolerances: {all: 6%, cach_bytes: 1%}\n")
    status, _, err = run(capsys, "diff", "--base", "main")
    assert status == 2
    assert "kvcalc.yaml:1:" in err
    assert "did you mean 'cache_bytes'?" in err

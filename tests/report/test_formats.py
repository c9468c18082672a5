"""Every answer in every format: the same integers, and nothing that a file says is markup."""

import csv
import json
import re
from collections.abc import Callable
from html.parser import HTMLParser
from io import StringIO
from itertools import pairwise
from pathlib import Path

import pytest

from kvcalc.cli.app import COMMANDS, main
from kvcalc.deployment.hardware import find
from kvcalc.report.cells import Count
from kvcalc.report.formats import PRINTERS, WITHOUT_NOTES, as_text
from kvcalc.report.objects import ANSWERS
from kvcalc.report.sheet import Answer, Column, Line, Points, Row, Sheet, Table
from kvcalc.units import format_bytes

Capture = pytest.CaptureFixture[str]
TRACE = "prompt_tokens,output_tokens\n100,20\n1000,200\n"
VLLM = (
    "vllm serve Qwen/Qwen3-8B --max-model-len 40960\nAvailable KV cache memory: 5.98 GiB\n"
    "GPU KV cache size: 43,536 tokens\n"
)
# What no format may take for anything but words: a formula, markdown, HTML, a mention, rich's markup.
HOSTILE = "=cmd|<i>@all`x`[bold]:smile:"


def run(capsys: Capture, *arguments: str) -> str:
    with pytest.raises(SystemExit) as status:
        main(list(arguments))
    out, err = capsys.readouterr()
    assert status.value.code in (0, 1), err
    return out


@pytest.fixture(autouse=True)
def few_accelerators(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each of the catalogue's has its own searches: a handful are table enough."""
    few = [find(name) for name in ("h100-80gb", "rtx-4090", "mi300x", "b200")]
    monkeypatch.setattr("kvcalc.deployment.everywhere.catalogue", lambda *_: few)


# Each number is held elsewhere to its source: a checkpoint, a log, a closed form.
SAID = {
    "estimate llama-3-8b --context 8k": (8030261248, 16060522496, 1073741824, 131072, 17134264320),
    "estimate mistral-7b-v0.1 --context 4k": (536870912, 131072),
    "estimate llama-3-8b --context 8k --tp 2": (536870912,),
    "estimate gemma-3-27b --context 32k --engine vllm": (3120562176,),
    "estimate gemma-3-27b --context 32k --engine all": (3120562176,),
    "estimate llama-3-8b --lengths trace.csv": (1320, 173015040),
    "compare llama-3-8b --attention mha,gqa": (4294967296, 1073741824),
    "capacity qwen3-8b --available 5.98GiB --max-model-len 32k": (2721, 43536, 2359296, 4831838208),
    "capacity llama-3-8b --engine llama.cpp --ctx-size 8192": (1073741824,),
    "log vllm.log": (43536, 6419644416),
    # The weights and the rotary table, as vLLM's class has them (kvcalc/engines/vllm/LOADED.md).
    "fit llama-3-8b --gpu h100-80gb --context 8k": (16062620160, 1073741824),
    "models llama-3-8b": (131072,),
    # 512 + 64 elements of two bytes a token in each of 61 layers.
    "explain deepseek-v3 --context 8k": (8388608, 1048576),
    # vLLM's blocks of 16 tokens of 131,072 bytes, 512 of them.
    "tiers llama-3-8b --host 20GiB --context 8k": (2097152, 1073741824),
}
# Answers about files, revisions, proofs and requests, which tests of their own have in all formats.
ELSEWHERE = {"check", "diff", "verify", "traffic", "error"}


def test_every_answer_has_numbers_above() -> None:
    missing = ANSWERS.keys() - {command.split()[0] for command in SAID} - ELSEWHERE
    assert missing == set(), "a command of it in SAID, with its numbers"


@pytest.mark.parametrize("format", PRINTERS)
@pytest.mark.parametrize("command", SAID)
def test_every_format_tells_the_same_integers(
    command: str, format: str, capsys: Capture, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "trace.csv").write_text(TRACE)
    (tmp_path / "vllm.log").write_text(VLLM)
    monkeypatch.chdir(tmp_path)
    word = "text" if command.startswith("explain") and format == "table" else format
    out = run(capsys, *command.split(), "--format", word)
    for number in SAID[command]:
        exact = str(number) in out or f"{number:,}" in out
        # People may read 1.00 GiB; a program never does.
        rounded = format in ("table", "markdown", "html") and format_bytes(number) in out
        assert exact or rounded, f"{number:,} ({format_bytes(number)}) in {out}"
    if format == "json":
        assert {"schema_version": 2}.items() <= _first(json.loads(out)).items()
    if format == "csv":
        rows = list(csv.reader(StringIO(out)))
        assert len({len(row) for row in rows}) == 1
        assert len(set(rows[0])) == len(rows[0])


@pytest.mark.parametrize("format", PRINTERS)
def test_notes_stand_in_a_format_or_beside_it(format: str, capsys: Capture) -> None:
    with pytest.raises(SystemExit):
        main(["compare", "llama-3-8b", "--attention", "mla", "--format", format])
    found = ["DeepSeek-V2" in text for text in capsys.readouterr()]
    beside = format in WITHOUT_NOTES
    assert found == [not beside, beside], f"its notes, or '{format}' in WITHOUT_NOTES"


def _first(found: object) -> dict[str, object]:
    return found[0] if isinstance(found, list) else found  # type: ignore[return-value]


@pytest.mark.parametrize("command", sorted(COMMANDS))
def test_a_format_that_a_command_lacks_is_refused(command: str, capsys: Capture) -> None:
    arguments = {"diff": ["--base", "x"], "report": ["x", "-o", "y"], "import": ["x"]}
    with pytest.raises(SystemExit) as status:
        main([command, *arguments.get(command, ["llama-3-8b"]), "--format", "latex"])
    out, err = capsys.readouterr()
    assert (status.value.code, out) == (2, "")
    assert "--format" in err


SPEC = f"""\
name: "{HOSTILE}"
source: a test
hidden_size: 64
vocab_size: 100
tie_word_embeddings: true
blocks:
  "a|<i>@b":
    attention: {{kind: gqa, num_attention_heads: 4, num_key_value_heads: 2, head_dim: 16}}
    ffn: {{kind: gated, intermediate_size: 128}}
layers:
  - {{repeat: 2, blocks: ["a|<i>@b"]}}
"""


class _Tags(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.tags: set[str] = set()

    def handle_starttag(self, tag: str, attrs: object) -> None:
        self.tags.add(tag)


def _table_is_plain(out: str) -> None:
    assert HOSTILE in out


def _markdown_is_plain(out: str) -> None:
    # Within a fence everything is words; nothing in it may look like its end.
    out = re.sub(r"(?ms)^(`{3,})text\n.*?^\1$", "", out)
    for line in out.splitlines():
        line = re.sub(r"`[^`]*`", "", line) if "\\`" not in line else line
        assert not re.search(r"@(?!&#8203;)|<[a-z]|(?<!\\)\[bold", line), line
    rows = [line for line in out.splitlines() if line.startswith("|")]
    for before, row in pairwise(rows):
        if row.startswith("|---"):
            assert before.replace("\\|", "").count("|") == row.count("|")


def _csv_is_plain(out: str) -> None:
    for row in csv.reader(StringIO(out)):
        assert not any(cell.startswith(("=", "@", "\t")) for cell in row)


def _html_is_plain(out: str) -> None:
    parser = _Tags()
    parser.feed(out)
    assert not parser.tags & {"i"}


def _json_is_plain(out: str) -> None:
    assert out.isascii()
    json.loads(out)


PLAIN: dict[str, Callable[[str], None]] = {
    "table": _table_is_plain,
    "markdown": _markdown_is_plain,
    "csv": _csv_is_plain,
    "html": _html_is_plain,
    "json": _json_is_plain,
}


def test_every_format_has_a_check_of_what_it_escapes() -> None:
    assert set(PLAIN) == set(PRINTERS), "a check of the format's words, in PLAIN"


@pytest.mark.parametrize("format", sorted({*PRINTERS} & {*PLAIN}))
@pytest.mark.parametrize(
    "command",
    [
        "estimate spec.yaml",
        "estimate spec.yaml --engine vllm",
        "estimate spec.yaml --engine all",
        "estimate spec.yaml --lengths trace.csv --block-size 8",
        "compare spec.yaml --attention mha,mqa",
        "explain spec.yaml",
        "capacity spec.yaml --available 1GiB --max-model-len 1k",
        "fit spec.yaml --gpu h100-80gb --context 1k",
    ],
)
def test_a_name_is_words_in_every_format(
    command: str, format: str, capsys: Capture, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "spec.yaml").write_text(SPEC)
    (tmp_path / "trace.csv").write_text(TRACE)
    monkeypatch.chdir(tmp_path)
    word = "text" if command.startswith("explain") and format == "table" else format
    PLAIN[format](run(capsys, *command.split(), "--format", word))


@pytest.mark.parametrize("columns", ["60", "80", "140"])
@pytest.mark.parametrize(
    ("command", "names"),
    [
        ("fit qwen3-8b --gpus all", ("h100-80gb", "rtx-4090", "mi300x")),
        ("fit gpt-oss-20b --gpu h100-80gb --tp 2 --context 32k", ("weights", "left for the cache")),
        ("fit llama-3-70b --gpu l40s --context 32k", ("--tp 4", "left for the cache")),
        ("compare llama-3-8b qwen3-next-80b-a3b", ("llama-3-8b", "qwen3-next-80b-a3b")),
        ("estimate gemma-3-27b --engine all", ("vllm", "sglang", "tensorrt-llm")),
        ("estimate gpt-oss-20b", ("window: gqa", "together", "cache per token")),
        ("capacity gpt-oss-20b --gpu h100-80gb", ("blocks", "tokens in flight", "remainder")),
        ("models qwen3-next", ("qwen3-next-80b-a3b",)),
    ],
)
def test_a_narrow_terminal_keeps_every_name_and_number(
    command: str,
    names: tuple[str, ...],
    columns: str,
    capsys: Capture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    whole = run(capsys, *command.split())
    monkeypatch.setenv("COLUMNS", columns)
    out = run(capsys, *command.split())
    for name in names:
        assert name in " ".join(out.split())
    number = re.compile(r"\d[\d,.]*\d|\d")
    assert set(number.findall(out)) == set(number.findall(whole))
    # A word that is longer than the line is the only thing that may stand over its end.
    assert not [
        line for line in out.splitlines() if len(line) > int(columns) and " " in line.strip()
    ]


def _said_throughout(words: str) -> Answer:
    table = Table("t", (Column(words, "name"), Column("n", "n")), (Row((words, Count(1))),))
    parts = (Line(words, words), table, Points((words,), words))
    sheet = Sheet(words, words, parts, (words,), ("model", "part", "name", "n"))
    return Answer(lambda: [sheet], lambda: {"words": words})


@pytest.mark.parametrize("format", PRINTERS)
def test_control_characters_move_nothing(format: str) -> None:
    out = as_text(format, _said_throughout("a\x1b[2J\nb\r\tc\u202ed"))
    own = {"\n", *(c for c in as_text(format, _said_throughout("abcd")) if not c.isprintable())}
    plain = own >= {c for c in out if not c.isprintable()} and not re.search(r"\n *b|\tc", out)
    assert plain, f"{format}: its render must escape what does not print"


@pytest.mark.parametrize("command", ["fit llama-3-8b --gpus all --context 8k --format csv"])
def test_a_row_for_every_accelerator(command: str, capsys: Capture) -> None:
    rows = list(csv.DictReader(StringIO(run(capsys, *command.split()))))
    [one] = [row for row in rows if row["device"] == "h100-80gb"]
    assert (one["verdict"], one["fewest_devices"], one["measured"]) == ("fits", "1", "yes")

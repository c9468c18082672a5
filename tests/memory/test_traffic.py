"""Real requests: files of lengths, percentiles, blocks, a shared prefix. Numbers worked by hand."""

import io
import json
import time
from pathlib import Path
from typing import Any

import pytest

from kvcalc.cli.app import main
from kvcalc.errors import UsageError
from kvcalc.memory import lengths
from kvcalc.memory.lengths import read_lengths


def read(text: str | bytes) -> Any:
    data = text.encode() if isinstance(text, str) else text
    return read_lengths(io.BytesIO(data), "trace")


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str]:
    with pytest.raises(SystemExit) as stop:
        main(["estimate", *arguments])
    return int(stop.value.code or 0), capsys.readouterr().out


def ask(capsys: pytest.CaptureFixture[str], path: Path, *arguments: str) -> Any:
    status, out = run(capsys, *arguments, "--lengths", str(path), "--format", "json")
    assert status == 0, out
    return json.loads(out)


@pytest.mark.parametrize(
    "text",
    [
        "prompt,output\n100,20\n100,20\n50,5\n",
        "\ufeffPrompt Tokens;id;Output Tokens\n100;a;20\n\n100;b;20\n50;c;5\n",
        "TIMESTAMP,ContextTokens,GeneratedTokens\n1,100,20\n2,100,20\n3,50,5\n",
        'prompt,output,model\n100,20,"a, b"\n100,"20",x\n50,5,y\n',
        "prompt\toutput\tcount\n100\t20\t2\n50\t5\t1\n",
        '{"prompt_len": 100, "output_len": 20}\n' * 2 + '{"prompt_len": 50, "output_len": 5}\n',
        '{"usage": {"prompt_tokens": 100, "completion_tokens": 20, "total_tokens": 120}}\n' * 2
        + '{"input_length": 50, "output_length": "5", "prompt": "the text"}\n',
        '{"prompt": 100, "output": 20, "count": 2}\n{"prompt": 50, "output": 5}',
    ],
)
def test_files_of_prompts_and_outputs(text: str) -> None:
    lengths = read(text)
    assert lengths.totals == {120: 2, 55: 1}
    assert lengths.prompts == {100: 2, 50: 1}
    assert lengths.has_prompts


@pytest.mark.parametrize(
    "text",
    [
        "prompt,completion\n100,20\n100,20\n50,5\n",
        "prompt_tokens;completion_tokens;model\n100;20;a\n100;20;b\n50;5;a\n",
        '{"prompt": 100, "completion": 20, "text": "x"}\n' * 2 + '{"input": 50, "output": 5}\n',
    ],
)
def test_completions_are_output(text: str) -> None:
    assert read(text).totals == {120: 2, 55: 1}


@pytest.mark.parametrize(
    "text", ["prompt_tokens,total_tokens\n100,120\n", "total,prompt,output\n120,100,20\n",
             '{"prompt": 100, "total_tokens": 120}\n'],
)  # fmt: skip
def test_a_length_beside_its_parts_is_not_dropped(text: str) -> None:
    found = read(text)
    assert (found.totals, found.prompts) == ({120: 1}, {100: 1})


@pytest.mark.parametrize(
    "header", ["length,freq", "len,n", "total_tokens,weight", "Tokens,Requests"]
)
def test_a_count_by_any_name_is_one(header: str) -> None:
    assert read(f"{header}\n120,2\n55,1\n").totals == {120: 2, 55: 1}


@pytest.mark.parametrize(
    "text",
    [
        "length,count\n120,2\n55,1\n",
        "120\n120\n55\n",
        '{"length": 120, "count": 2}\n{"tokens": 55}',
    ],
)
def test_histograms_and_bare_lengths(text: str) -> None:
    lengths = read(text)
    assert lengths.totals == {120: 2, 55: 1}
    assert not lengths.has_prompts


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "no requests"),
        ("\n \n", "no requests"),
        ("prompt,output\n", "no requests"),
        ("length,count\n5,0\n", "no requests"),
        ("1,2\n3,4\n", "trace:1: name the columns"),
        ("a,b\n1,2\n", "trace:1: name the columns"),
        ("output\n5\n", "trace:1: no column for the prompt"),
        ("prompt,input\n5,6\n", "trace:1: two columns for prompt"),
        ("prompt,output,total\n5,6,11\n5,6,12\n", "trace:3: prompt and output are not the length"),
        ("prompt,total\n5,4\n", "trace:2: prompt and output are not the length"),
        ("length,output\n5,6\n", "trace:1: an output beside a length, and no prompt"),
        ('{"tokens": 5, "output": 6}\n', "trace:1: an output beside a length, and no prompt"),
        (
            '{"prompt": 5, "output": 6, "total": 5}\n',
            "trace:1: prompt and output are not the length",
        ),
        ("prompt,output\n5,6\n7\n", "trace:3: 1 columns; the first line has 2"),
        ("prompt,output\n5,-6\n", "trace:2: output is '-6'"),
        ("prompt,output\n5,1e3\n", "trace:2: output is '1e3'"),
        ("prompt,output\n5,6.0\n", "trace:2: output is '6.0'"),
        ("prompt,output\n5,\n", "trace:2: output is ''"),
        ("prompt,output\n5,\u0663\n", "trace:2: output is"),
        ("prompt,output\n5," + "9" * 5000 + "\n", "trace:2: output is '9999"),
        ("prompt,output\n9999999999999,1\n", "trace:2: more than any machine serves"),
        ('prompt,output\n5,"6\n', "trace:2: "),
        ("prompt,output\n" + "5" * 70000, "trace:2: a line of more than 65,536 bytes"),
        (b"prompt\n\xff\n", "trace:2: not text"),
        (b"\x00\x01\n", "trace:1: name the columns"),
        ('{"prompt": 5}\n{"prompt": 5\n', "trace:2: not a line of JSON"),
        ("[1, 2]\n", "trace:1: a list; write one object"),
        ("[" * 60000, "trace:1: not a line of JSON"),
        ('{"prompt": true}\n', "trace:1: prompt is 'True'"),
        ('{"prompt": 1.5}\n', "trace:1: prompt is '1.5'"),
        ('{"prompt": -1}\n', "trace:1: prompt is '-1'"),
        ('{"prompt": 1e400}\n', "trace:1: prompt is 'inf'"),
        (
            "prompt,extra\n5,6\n",
            "trace:1: unknown column 'extra'; columns that count are prompt, output",
        ),
        ("total_tokens,a,b\n5,6,7\n", "trace:1: unknown columns 'a', 'b'; columns that count are"),
        ('{"prompt": 5, "extra": 6}\n', "trace:1: unknown column 'extra'; columns that count are"),
        ('{"answer": 5}\n', "trace:1: no prompt or length among answer"),
        ('{"prompt": ' + "9" * 400 + "}\n", "trace:1: more than any machine serves"),
    ],
)
def test_what_is_wrong_with_a_file_names_the_line(text: str | bytes, message: str) -> None:
    with pytest.raises(UsageError) as caught:
        read(text)
    assert message in caught.value.message
    assert len(caught.value.message) < 300


TRACE = "prompt,output\n" + "1000,24\n" * 9 + "4000,96\n"


def test_percentiles_concurrency_and_prefix(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """llama-3-8b, 131,072 bytes a token: nine requests of 1024 tokens, one of 4096."""
    path = tmp_path / "trace.csv"
    path.write_text(TRACE)
    found = ask(capsys, path, "llama-3-8b", "--available", "1GiB", "--shared-prefix", "520")
    assert (found["requests"], found["tokens"]) == (10, 13312)
    assert found["logical_bytes"] == found["bytes"] == 13312 * 131072
    rows = {row["percent"]: row for row in found["percentiles"]}
    assert rows[50] == rows[90] | {"percent": 50}
    assert (rows[90]["tokens"], rows[90]["bytes"], rows[90]["concurrency"]) == (1024, 134217728, 8)
    assert (rows[95]["tokens"], rows[95]["bytes"], rows[95]["concurrency"]) == (4096, 536870912, 2)
    # On average 1331.2 tokens: 8192 tokens of memory hold 6 of them.
    assert (rows[None]["tokens"], rows[None]["concurrency"]) == (1332, 6)
    # 520 tokens are 32 whole blocks, 512 tokens: (8192 - 512) // (1024 - 512) requests.
    assert found["shared_prefix"] == {
        "tokens": 520, "blocks_tokens": 512, "bytes": 67108864, "sharing": 10,
        "saved_bytes": 9 * 67108864,
    }  # fmt: skip
    assert rows[90]["shared_concurrency"] == 15


def test_block_rounding(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """1, 16 and 17 tokens are 1, 1 and 2 blocks of 16: 64 tokens held for 34."""
    path = tmp_path / "trace.jsonl"
    path.write_text('{"length": 1}\n{"length": 16}\n{"length": 17}\n')
    found = ask(capsys, path, "llama-3-8b")
    assert found["rounding_bytes"] == 30 * 131072
    assert ask(capsys, path, "llama-3-8b", "--block-size", "1")["rounding_bytes"] == 0
    # llama.cpp: 256 cells for each.
    assert ask(capsys, path, "llama-3-8b", "--engine", "llama.cpp")["bytes"] == 3 * 256 * 131072


def test_the_fullest_device_decides(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """llama-3-8b on 8 x 2 devices: 16 layers of one KV head, 8192 bytes a token; 1 GiB has 131,072."""
    path = tmp_path / "trace.csv"
    path.write_text("length,count\n1024,5\n")
    found = ask(capsys, path, "llama-3-8b", "--available", "1GiB", "--tp", "8", "--pp", "2")
    assert found["percentiles"][1]["concurrency"] == 128
    assert found["bytes"] == 5 * 1024 * 131072


@pytest.mark.parametrize(
    ("model", "num_bytes"),
    [
        # Windows of 512 and 4 global layers (of 26), 1024 bytes a token and layer: a prefix is only
        # theirs to share, a state of Mamba nobody's.
        ("gemma-3-1b", 4 * 1024 * 1024),
        ("mamba-2.8b", 0),
    ],
)
def test_only_what_is_kept_for_good_is_shared(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, model: str, num_bytes: int
) -> None:
    path = tmp_path / "trace.csv"
    path.write_text("prompt,output\n2000,48\n")
    found = ask(capsys, path, model, "--shared-prefix", "1024")
    assert found["shared_prefix"]["bytes"] == num_bytes


@pytest.mark.parametrize("format", ["table", "markdown", "csv", "json"])
def test_every_format(capsys: pytest.CaptureFixture[str], tmp_path: Path, format: str) -> None:
    path = tmp_path / "trace.csv"
    path.write_text(TRACE)
    status, out = run(capsys, "llama-3-8b", "gemma-3-1b", "--lengths", str(path), "--available",
                      "40GiB", "--shared-prefix", "512", "--format", format)  # fmt: skip
    assert status == 0
    assert "gemma-3-1b" in out


@pytest.mark.parametrize(
    "arguments",
    [
        ("--context", "8k"),
        ("--batch", "4"),
        ("--engine", "all"),
        ("--engine", "vllm", "--shared-prefix", "16"),
        ("--engine-version", "1"),
        ("--available", "lots"),
    ],
)
def test_what_makes_no_sense_is_refused(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, arguments: tuple[str, ...]
) -> None:
    path = tmp_path / "trace.csv"
    path.write_text(TRACE)
    assert run(capsys, "llama-3-8b", "--lengths", str(path), *arguments)[0] == 2


def test_files_that_are_none(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert run(capsys, "llama-3-8b", "--lengths", str(tmp_path / "absent"))[0] == 2
    assert run(capsys, "llama-3-8b", "--lengths", str(tmp_path))[0] == 2
    assert run(capsys, "llama-3-8b", "--available", "1GiB")[0] == 2


def test_a_hundred_thousand_requests_in_a_second(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """A tenth of a million requests, 20,000 different lengths, in a tenth of ten seconds (times 3)."""
    path = tmp_path / "trace.csv"
    path.write_text("prompt,output\n" + "".join(f"{i % 20000},64\n" for i in range(100_000)))
    start = time.monotonic()
    found = ask(capsys, path, "gemma-3-27b", "--available", "40GiB", "--engine", "vllm")
    assert found["requests"] == 100_000
    assert time.monotonic() - start < 3


def _by_lines(data: bytes, monkeypatch: pytest.MonkeyPatch) -> object:
    with monkeypatch.context() as patch:
        patch.setattr(lengths, "_plain_columns", lambda *_: None)
        return _counted(data)


def _counted(data: bytes) -> object:
    try:
        return read(data)
    except UsageError as error:
        return str(error)


@pytest.mark.parametrize(
    "row",
    [
        b"7,2", b"007,2", b",2", b"7", b"7,2,3", b"7,2,3\n4", b"7,2,3,4\n5,6", b"-7,2", b"+7,2", b"7_0,2",
        b" 7,2", b"7,2 ", b"7.0,2", b"1e3,2", b'"7",2', b"7,2\r", b"", b"  ", b"7,2|", b"7|2", b"NaN,2",
        b"99999999999,99999999999", b"1099511627776,0", b"999999999999,999999999999", b"\xc3\xa9,2",
        b"\xff,2", b"00000000000007,2", b"7," + b"0" * 70000, b"null,2", b"7,\x1c2", b"7\t2",
    ],
)  # fmt: skip
@pytest.mark.parametrize(
    ("header", "beside"), [(b"prompt,output", b""), (b"prompt,output,model", b",m"), (b"a", b"")]
)
def test_blocks_are_counted_as_lines_are(
    row: bytes, header: bytes, beside: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    if header == b"a":
        header, row = b"length", row.replace(b",", b"\n")
    plain = b"\n".join([b"5,3" + beside, b"9,1" + beside] if b"," in header else [b"5", b"9"])
    for data in (b"%s\n%s\n%s%s\n%s\n", b"%s\n%s\n%s%s\n%s"):
        whole = data % (header, plain, row, beside, plain)
        assert _counted(whole) == _by_lines(whole, monkeypatch)

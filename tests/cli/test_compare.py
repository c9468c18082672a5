"""``kvcalc compare``: what is filled in is stated in every format; ratios say what they are to."""

import csv
import json
from io import StringIO
from pathlib import Path

import pytest

from kvcalc.cli.app import main

Capture = pytest.CaptureFixture[str]


def run(capsys: Capture, *arguments: str) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as stop:
        main(["compare", *arguments])
    captured = capsys.readouterr()
    return int(stop.value.code or 0), captured.out, captured.err


ENCODERS = ("t5-base", "whisper-tiny", "gpt2", "--context", "2k")
AS_MANY = "t5-base: as many encoder tokens as the decoder's (none were given)"
BEYOND = "gpt2: the model was made for at most 1024 tokens"


def test_json_states_encoder_tokens_and_numbers(capsys: Capture) -> None:
    _, out, _ = run(capsys, *ENCODERS, "--format", "json")
    answer = json.loads(out)
    assert [row["encoder_tokens"] for row in answer["rows"]] == [2048, 1500, 0]
    # whisper-tiny: 6,144 bytes * (2,048 tokens + 1,500 frames) of 73,728 * 2,048.
    assert [row["cache_ratio_to_first"] for row in answer["rows"]] == [1.0, 0.144368, 0.5]
    assert answer["ratio_to"] == "t5-base"
    assert AS_MANY in answer["assumptions"]
    assert BEYOND in answer["assumptions"]


def test_csv_has_a_column_and_notes_beside_it(capsys: Capture) -> None:
    _, out, err = run(capsys, *ENCODERS, "--format", "csv")
    assert [row["encoder_tokens"] for row in csv.DictReader(StringIO(out))] == ["2048", "1500", "0"]
    assert AS_MANY in err
    assert BEYOND in err


@pytest.mark.parametrize("format", ["table", "markdown"])
def test_what_people_read_has_both(capsys: Capture, format: str) -> None:
    _, out, err = run(capsys, *ENCODERS, "--format", format)
    assert "encoder" in out
    assert f"- {AS_MANY}\n" in out
    assert f"- {BEYOND}\n" in out
    assert "ratio to t5-base" in out
    assert err == ""
    _, out, _ = run(capsys, *ENCODERS, "--format", format, "--quiet")
    assert "made for at most" not in out


def test_markdown_has_the_weights(capsys: Capture) -> None:
    _, out, _ = run(capsys, "llama-3-8b", "--attention", "mha,gqa", "--format", "markdown")
    assert "| weights |" in out.splitlines()[2]
    # 8,030,261,248 parameters of two bytes.
    assert "| gqa | 14.96 GiB (16,060,522,496) | 1.00 GiB (1,073,741,824) |" in out
    assert "ratio to llama-3-8b mha\n" in out


def test_a_series_of_contexts_has_no_number_of_encoder_tokens(capsys: Capture) -> None:
    _, out, _ = run(capsys, "t5-base", "--context", "1k,2k")
    assert "- t5-base: as many encoder tokens as the decoder's (none were given)\n" in out


@pytest.mark.parametrize("command", ["compare", "estimate"])
def test_a_folder_stands_for_its_specs(capsys: Capture, tmp_path: Path, command: str) -> None:
    text = (Path(__file__).parents[2] / "model_specs/gpt2/gpt2.yaml").read_text("utf-8")
    for name in ("one", "two"):
        (tmp_path / f"{name}.yaml").write_text(text.replace("name: gpt2", f"name: {name}"))
    (tmp_path / "kvcalc.yaml").write_text("budgets: []\n")
    with pytest.raises(SystemExit):
        main([command, str(tmp_path), "llama-3-8b", "--format", "json"])
    answer = json.loads(capsys.readouterr().out)
    names = (
        [row["model"] for row in answer["rows"]]
        if command == "compare"
        else [each["model"]["name"] for each in answer]
    )
    assert names == ["one", "two", "llama-3-8b"]


def test_a_size_of_the_attention(capsys: Capture) -> None:
    status, out, _ = run(capsys, "llama-3-8b", "--attention", "gqa:4,mla:256", "--format", "csv")
    assert status == 0
    rows = [dict(zip(out.splitlines()[0].split(","), line.split(","), strict=True))
            for line in out.splitlines()[1:]]  # fmt: skip
    # 32 layers of 2 * 4 heads * 128 in bf16; 32 of 256 + 64.
    assert [(row["attention"], row["bytes_per_token"]) for row in rows] == [
        ("gqa:4", "65536"), ("mla:256", "20480"),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("word", "said"),
    [
        ("gqa:5", "1, 2, 4, 8, 16, 32 can be shared"),
        ("gqa:0", "gqa:N is N KV heads, a whole number, not '0'"),
        ("gqa:", "not ''"),
        ("mla:9999999999999", "mla:N is a latent of N elements"),
        ("mqa:2", "one KV head and takes no number; gqa:N has N"),
    ],
)
def test_a_size_that_makes_no_sense(capsys: Capture, word: str, said: str) -> None:
    status, _, err = run(capsys, "llama-3-8b", "--attention", word)
    assert status == 2
    assert said in err


def test_a_note_names_its_model_once(capsys: Capture) -> None:
    _, out, _ = run(capsys, "nanbeige4.2-3b", "gpt2", "--context", "1k")
    assert "- nanbeige4.2-3b: the config itself was not read" in out


def test_a_changed_field_stands_beside_the_model(capsys: Capture) -> None:
    field = "blocks.decoder.attention.num_key_value_heads=4"
    _, out, _ = run(capsys, "llama-3-8b", "--set", field, "--format", "csv")
    figures = [line.split(",")[1] + " " + line.split(",")[9] for line in out.splitlines()[1:]]
    assert figures == ["gqa 131072", "num_key_value_heads=4 65536"]

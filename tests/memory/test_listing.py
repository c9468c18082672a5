"""``kvcalc models``: filtered and sorted as asked, in every format, and from the library."""

import json

import pytest

import kvcalc
from kvcalc.cli.app import main
from kvcalc.memory.listing import size_range


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as stop:
        main(["models", *arguments])
    captured = capsys.readouterr()
    return int(stop.value.code or 0), captured.out, captured.err


def names(**asked: object) -> list[str]:
    return [each["name"] for each in kvcalc.models(**asked)]  # type: ignore[arg-type]


def test_by_attention_and_size() -> None:
    # DeepSeek-V2-Lite has 15.7 billion parameters, Youtu 1.96, MiniCPM3 4.07, Moonlight 15.96; 16.15
    # and 16.41 those with towers.
    assert names(attention="mla", size="-20b", sort="size") == [
        "youtu-llm-2b", "minicpm3-4b", "ling-3.0-tiny", "deepseek-v2-lite", "moonlight-16b-a3b",
        "deepseek-vl2-small", "kimi-vl-a3b",
    ]  # fmt: skip
    assert {"kimi-linear-48b-a3b", "deepseek-v3"} <= set(names(attention="mla"))
    assert "llama-3-8b" in names(attention="mla,gqa")


def test_by_family_modality_context_and_age() -> None:
    assert names(family="whisper", modality="audio", sort="size")[0] == "whisper-tiny"
    assert "gemma-3n-e4b" in names(modality="audio,vision")
    assert "gemma-3-1b" not in names(modality="vision")
    assert names(family="llama", context="1m") == ["llama-4-maverick", "llama-4-scout"]
    last = kvcalc.models(newest=5)
    months = [each["released"] for each in last]
    assert len(last) == 5
    assert months == sorted(months, reverse=True)
    assert all(each["released"] >= "2026-01" for each in kvcalc.models(since="2026-01"))


def test_sorted_as_asked_in_every_format(capsys: pytest.CaptureFixture[str]) -> None:
    asked = ("falcon3-", "--size", "3b-9b", "--sort", "size")
    expected = ["falcon3-3b", "falcon3-7b"]
    found = json.loads(run(capsys, *asked, "--format", "json")[1])["models"]
    assert [each["name"] for each in found] == expected
    assert found[1]["context"] == 32_768
    assert found[1]["modality"] == "text"
    assert found[1]["released"] == "2024-11"
    back = json.loads(run(capsys, *asked, "--reverse", "--format", "json")[1])["models"]
    assert [each["name"] for each in back] == expected[::-1]
    rows = run(capsys, *asked, "--format", "csv")[1].splitlines()
    assert [row.split(",")[0] for row in rows[1:]] == expected
    assert rows[0].endswith("context,modality,released")
    table = run(capsys, *asked)[1]
    assert table.index("falcon3-3b") < table.index("falcon3-7b")
    assert "32,768" in table


def test_by_the_id_of_a_hub() -> None:
    assert [each["name"] for each in kvcalc.models("Qwen/Qwen3-4B-Instruct-2507")] == ["qwen3-4b"]


def test_sizes() -> None:
    assert size_range("1.5b-70b") == (1_500_000_000, 70_000_000_000)
    assert size_range("350m-") == (350_000_000, None)
    assert size_range("-2.5t") == (None, 2_500_000_000_000)
    assert size_range("7b-7000m") == (7_000_000_000, 7_000_000_000)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--attention", "glq"), "no model has attention of kind 'glq'"),
        (("--family", "qwenn"), "no family 'qwenn'; did you mean qwen?"),
        (("--size", "8b"), "from and to, such as 7b-9b"),
        (("--size", "9b-8b"), "the larger number stands first"),
        (("--size", "x-"), "is no number of parameters"),
        (("--modality", "visoin"), "did you mean vision?"),
        (("--context", "12x"), "--context"),
        (("--since", "May"), "a month, such as 2026-05"),
        (("--newest", "0"), "1 or more"),
        (("--sort", "sise"), "--sort sise: did you mean size?"),
        (("qwen", "--attention", "mla"), "no model has attention of kind 'mla'; there are"),
        (("--attention", "mla", "--modality", "audio"), "no shipped model is all that was asked"),
    ],
)  # fmt: skip
def test_what_is_no_question(
    arguments: tuple[str, ...], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    status, out, error = run(capsys, *arguments)
    assert (status, out) == (2, "")
    assert said in error

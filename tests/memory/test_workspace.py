"""The largest buffers of one prefill: by hand from the published dimensions."""

import pytest

import kvcalc


def buffers(model: str, **question: int) -> dict[str, int]:
    answer = kvcalc.estimate(kvcalc.load(model), **question)  # type: ignore[arg-type]
    return {item.name: item.bytes for item in answer.workspace}


def test_an_encoder_runs_over_its_own_tokens() -> None:
    # Whisper large v3: 20 heads, 1,500 frames, 448 tokens, feed-forward 5,120 wide, d = 1,280.
    found = buffers("whisper-large-v3", context_tokens=448)
    assert found == {
        "encoder: attention scores of one layer": 450_000_000,
        "cross-attention scores of one layer": 134_400_000,
        "attention scores of one layer": 40_140_800,
        "logits of every position": 46_471_936,
        "logits of the last position": 103_732,
        "encoder: largest activation (feed-forward)": 15_360_000,
        "largest activation (feed-forward)": 4_587_520,
        "encoder: residual stream": 3_840_000,
        "residual stream": 1_146_880,
    }


@pytest.mark.parametrize(("batch", "scores"), [(1, 31_457_280), (4, 125_829_120)])
def test_an_encoder_alone_is_the_only_stack(batch: int, scores: int) -> None:
    # BERT base: 12 heads, 512 tokens, 10 bytes a score; it has no logits of a vocabulary but its own.
    found = buffers("bert-base-uncased", context_tokens=512, batch_size=batch)
    assert found["attention scores of one layer"] == scores
    assert [name for name in found if name.startswith(("encoder", "cross"))] == []


def test_ten_bytes_of_a_score_say_where_they_come_from() -> None:
    items = kvcalc.estimate(kvcalc.load("whisper-tiny")).workspace
    notes = {item.note for item in items if item.formula.startswith("10 ")}
    assert notes == {"a score: 2 bytes in bf16, 4 cast to fp32, 4 of the fp32 softmax"}

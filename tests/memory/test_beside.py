"""What is loaded beside a model: multi-token-prediction layers and drafts, each a part of its own."""

import pytest

import kvcalc
from kvcalc.errors import UnsupportedError, UsageError
from kvcalc.memory.weights import summarise

EAGLE3 = """\
name: eagle3-llama-3.1-8b
source: https://huggingface.co/yuhuili/EAGLE3-LLaMA3.1-Instruct-8B/blob/main/config.json
hidden_size: {width}
vocab_size: {vocab}
head: none
draft: {{kind: eagle3, num_aux_hidden_states: 3, draft_vocab_size: 32000}}
blocks:
  decoder:
    attention: {{kind: gqa, num_attention_heads: 32, num_key_value_heads: 8, head_dim: 128,
                attention_hidden_size: 8192}}
    ffn: {{kind: gated, intermediate_size: 14336}}
    norms: 3
layers: [{{repeat: 1, blocks: [decoder]}}]
"""


def eagle3(width: int = 4096, vocab: int = 128256) -> kvcalc.ModelSpec:
    return kvcalc.load_spec_text(EAGLE3.format(width=width, vocab=vocab))


def test_mtp_layers_join_the_totals_as_a_part() -> None:
    """DeepSeek-V3's README_WEIGHTS.md: 671B and 11.5B unique parameters of the module's layer."""
    found = kvcalc.estimate("deepseek-v3", context_tokens="8k", mtp_layers=1)
    alone = kvcalc.estimate("deepseek-v3", context_tokens="8k")
    (part,) = found.beside
    assert (part.name, part.parameters) == ("mtp", 11_610_067_968)
    assert found.total_parameters == 671_026_404_352 + 11_610_067_968
    assert alone.total_parameters == 671_026_404_352
    # One more layer of latents: 8,192 * 1,152 bytes.
    assert found.cache.bytes - alone.cache.bytes == 9_437_184
    assert found.weight_bytes - alone.weight_bytes == part.bytes


def test_a_gguf_file_with_the_layers_is_the_whole_file() -> None:
    """72,848,161,792 bytes: what `estimate glm-4.5-air --dtype q4_k_m` says of the whole file."""
    found = kvcalc.estimate("glm-4.5-air", context_tokens="8k", dtype="q4_k_m", mtp_layers=1)
    assert found.weight_bytes == 72_848_161_792
    assert sum(each.bytes for each in found.weight_types) == 72_848_161_792


@pytest.mark.parametrize(
    ("model", "words", "error", "said"),
    [
        ("llama-3-8b", {"mtp_layers": 1}, UsageError, "no multi-token-prediction layers"),
        ("deepseek-v3", {"mtp_layers": 2}, UsageError, "--speculative-tokens 2"),
        ("llama-3-8b", {"draft": "qwen3-0.6b"}, UnsupportedError, "vocab_size: 151936"),
        ("deepseek-v3", {"mtp_layers": 1, "dtype": "mlx-4bit"}, UnsupportedError, "mlx-lm"),
        ("deepseek-v3", {"mtp_layers": 1, "dtype": "q8_0"}, UnsupportedError, "converter"),
    ],
)
def test_what_does_not_belong_is_refused_by_name(
    model: str, words: dict[str, object], error: type[Exception], said: str
) -> None:
    with pytest.raises(error, match=said):
        kvcalc.estimate(model, **words)  # type: ignore[arg-type]


def test_a_draft_of_another_width_is_refused_by_name() -> None:
    with pytest.raises(UnsupportedError, match="hidden_size: 4096, and llama-3-70b has 8192"):
        kvcalc.estimate("llama-3-70b", draft=eagle3())


def test_an_eagle3_draft_is_its_published_file() -> None:
    """SafeAILab/EAGLE cnets.py, without its token table: fc, one layer with three norms, the
    last norm and a head of 32,000 rows: 424,689,664 values of two bytes."""
    draft = eagle3()
    assert summarise(draft).total == 424_689_664
    # d2t and t2d, buffers.
    assert summarise(draft).buffers == 32_000 + 128_256
    found = kvcalc.estimate("llama-3-8b", context_tokens="8k", draft=draft)
    assert found.beside[0].bytes == 849_379_328
    assert found.cache.bytes == 1_073_741_824 + 33_554_432
    divided = kvcalc.estimate("llama-3-8b", context_tokens="8k", draft=draft, tensor=4)
    # Each of four ranks: its share of layer and head, fc and norms whole.
    assert divided.beside[0].rank_bytes == 287_866_880


def test_a_plain_model_drafts_with_all_that_it_has() -> None:
    found = kvcalc.estimate("llama-3-70b", context_tokens="8k", draft="llama-3-8b", pipeline=2)
    assert found.total_parameters == 70_553_706_496 + 8_030_261_248
    first, last = found.weight_bytes_per_device
    assert first + last == 157_167_935_488
    assert found.cache.per_device_bytes == (1_342_177_280, 2_415_919_104)


def test_a_draft_joins_vllms_pool_in_its_own_pages() -> None:
    """33 layers of 65,536-byte pages, as vLLM 0.33 groups them where all are alike."""
    found = kvcalc.capacity("llama-3-8b", available="20GiB", draft=eagle3(), speculative_tokens=3)
    assert found.pool.bytes_per_block == 33 * 65_536


def test_a_gpu_has_the_draft_s_weights_less() -> None:
    with_draft, without = (
        kvcalc.capacity("llama-3-8b", gpu="h100", draft=draft) for draft in (eagle3(), None)
    )
    left = [each.pool.available_bytes for each in (with_draft, without)]
    assert left[1] - left[0] == 849_379_328


def test_fit_says_what_is_not_the_models_own() -> None:
    [stage] = kvcalc.fit("llama-3-8b", gpu="h100-80gb", draft=eagle3()).devices
    assert stage.beside == (("draft", 849_379_328),)

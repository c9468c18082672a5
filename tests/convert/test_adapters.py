"""LoRA adapters by the names of their layers, held to peft 0.21.2 (tests/convert/adapters_oracle.py)."""

import json
from pathlib import Path

import pytest

import kvcalc
from kvcalc.convert.adapters import adapters_of
from kvcalc.convert.config import class_defaults
from kvcalc.convert.hf import spec_from_config
from kvcalc.errors import KvcalcError, UnsupportedError, UsageError
from tests.convert.draws import draw

TABLE = json.loads(Path(__file__).with_name("adapters.json").read_text("utf-8"))


def test_every_type_has_what_peft_makes() -> None:
    """Parameters of one adapter of rank 4: of all linear layers, and of each name."""
    wrong, totals, names, refused = [], 0, 0, []
    for model_type, row in TABLE.items():
        values = draw(model_type, row["seed"], class_defaults()[model_type]["defaults"])
        spec = spec_from_config(values, "drawn", "drawn").spec
        asked = [([], row["all"]), *(([name], count) for name, count in row["names"].items())]
        for words, count in asked:
            try:
                found = adapters_of(spec, 4, 1, words)
                assert found is not None
                own = found.parameters
            except UnsupportedError:
                refused.append((model_type, *words))
                continue
            if count is not None and own != count:
                wrong.append((model_type, words, own, count))
            totals, names = totals + (not words), names + bool(words)
    assert not wrong
    assert totals >= 100
    assert names >= 1100
    # Mixtures and models with layers beside their layers; names that a class holds otherwise.
    assert len([each for each in refused if len(each) == 1]) <= 80
    assert len([each for each in refused if len(each) == 2]) <= 40


def test_llama_3_8b_as_everybody_prints_it() -> None:
    """trainable params: 41,943,040, what print_trainable_parameters says of rank 16 on all linear
    layers of Llama-3-8B; 6,815,744 on q_proj and v_proj."""
    found = kvcalc.estimate("llama-3-8b", context_tokens=1, lora_rank=16, max_loras=2)
    (part,) = found.beside
    assert (part.name, part.parameters, part.bytes) == ("adapters", 83_886_080, 335_544_320)
    found = kvcalc.estimate(
        "llama-3-8b", context_tokens=1, lora_rank=16, max_loras=1, lora_modules="q_proj,v_proj"
    )
    assert found.beside[0].parameters == 6_815_744


@pytest.mark.parametrize(
    ("model", "words", "error", "said"),
    [
        ("llama-3-8b", {"lora_rank": 8}, UsageError, "go together"),
        ("llama-3-8b", {"max_loras": 8}, UsageError, "go together"),
        ("llama-3-8b", {"lora_rank": 8, "max_loras": 1, "lora_modules": ["q_prj"]}, UsageError,
         "did you mean q_proj"),
        ("qwen3-30b-a3b", {"lora_rank": 8, "max_loras": 1}, UnsupportedError, "--lora-modules"),
        ("llama-3-8b", {"lora_rank": 8, "max_loras": 1, "pipeline": 2}, UnsupportedError, "--pp 2"),
    ],
)  # fmt: skip
def test_what_is_not_there_is_refused_by_name(
    model: str, words: dict[str, object], error: type[KvcalcError], said: str
) -> None:
    with pytest.raises(error, match=said):
        kvcalc.estimate(model, context_tokens=1, **words)  # type: ignore[arg-type]


def test_stacked_experts_have_one_wide_pair() -> None:
    """peft 0.21.2 on a Qwen3-MoE of one layer, 4 experts of 32, width 64, rank 4: gate and up [8 * 4, 64]
    and [64, 8 * 4], down [4 * 4, 32] and [64, 4 * 4]."""
    config = {
        "model_type": "qwen3_moe", "hidden_size": 64, "intermediate_size": 96, "vocab_size": 100,
        "moe_intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 4,
        "num_key_value_heads": 2, "head_dim": 16, "num_experts": 4, "num_experts_per_tok": 2,
    }  # fmt: skip
    spec = spec_from_config(config, "small", "small").spec
    found = adapters_of(spec, 4, 1, ["experts"])
    assert found is not None
    assert found.parameters == 2 * 32 * 64 + 16 * 32 + 64 * 16

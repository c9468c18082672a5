"""What specs say of published files (``checkpoint:``), against the numbers that the files hold.

As llmfit 1.1.17 (PyPI) read them from the hub for its list of models (``parameters_raw`` of the JSON in
its binary; tests/convert/hub_facts.tsv). That a model's own tensors and what is named beside them add up to
it, ``kvcalc check`` holds (tests/test_model_specs.py).
"""

import pytest

import kvcalc
from kvcalc.report.answers.estimate import to_object
from kvcalc.spec import catalog, hub_ids
from kvcalc.spec.set_fields import with_fields
from kvcalc.spec.variants import with_attention
from tests.convert import hub_ids as importer

FACTS = {row.id: row.parameters for row in importer.facts()}
SPECS = {name: catalog.load(path) for name, path in catalog.shipped().items()}
# Files with parts that no spec describes, and what is known of them.
BY_HAND = {
    # Its index's total_size leaves out the tied head that the files store once more: 1,409,630,208.
    "medgemma-27b": 27_432_406_640,
    # Attention residuals of 4 * 7,168 in each of 93 layers and 2 * 7,168 behind them, a norm of 3,584 in
    # the 92 layers of experts, and decays of 128 heads, not 96, in the 69 layers of KDA.
    "kimi-k3": 2_779_931_837_184,
    # 3,416 is 61 layers * 56, 1,728 is 27 * 64: what they are is not known.
    "kimi-k2": 1_026_408_235_864,
    "moonlight-16b-a3b": 15_960_111_936,
    "kimi-vl-a3b": 16_407_657_776,
    # LoRA adapters of rank 320 and 256: 45,056 channels in and out of a layer's matrices, 32 layers.
    "phi-4-multimodal": 5_574_460_384,
    # A pooling head of SigLIP's and 32,768 positions of 1,152, which the class builds no more.
    "paddleocr-vl": 958_588_736,
    # Scales of float8: 16 of each layer's matrices and 384 of its experts', in 36 layers.
    "mistral-small-4": 119_401_317_952,
    # 18,668,736 tiles of the layers' matrices but o_proj; of its modules' 48,576, 48,000 are explained.
    "mimo-v2-flash": 309_785_318_400,
    # A gate of 2,048 weights and a bias.
    # Towers of 989,721,600, which were not read.
    "mimo-v2.5": 310_775_040_000,
    "ouro-1.4b": 1_434_652_673,
    "ouro-2.6b": 2_667_974_657,
}


def test_every_spec_says_what_the_files_of_its_first_id_hold() -> None:
    wrong, held = [], 0
    for name, spec in SPECS.items():
        published = BY_HAND.get(name, FACTS.get(spec.hub_id[0]) if spec.hub_id else None)
        stated = spec.checkpoint and spec.checkpoint.parameters
        held += stated is not None
        if stated != published:
            wrong.append((name, stated, published))
    assert wrong == []
    assert held >= 246
    assert sum(bool(spec.towers) for spec in SPECS.values() if spec.checkpoint) >= 48


def test_what_is_beside_the_model_has_a_size_that_follows_from_it() -> None:
    """Not only is it named: each part's size is that of tensors that the spec describes."""
    for name, spec in SPECS.items():
        if spec.checkpoint is not None and name not in BY_HAND:
            found = importer.explain(spec, spec.checkpoint.parameters)
            assert found == spec.checkpoint.beside, name


# What the hub's page of each says, in parameters.
@pytest.mark.parametrize(
    ("hub_id", "published"),
    [
        ("google/gemma-3-27b-it", 27_432_406_640),
        ("google/gemma-4-26B-A4B", 26_544_131_376),
        ("google/gemma-4-26B-A4B-it", 25_805_936_206),
        ("meta-llama/Llama-4-Maverick-17B-128E", 401_583_781_376),
        ("MiniMaxAI/MiniMax-M3", 427_040_140_160),
        ("moonshotai/Kimi-K2.5", 1_026_879_376_368),
        ("Qwen/Qwen2.5-VL-7B-Instruct", 8_292_166_656),
        ("Qwen/Qwen3-VL-235B-A22B-Instruct", 235_670_022_896),
        ("Qwen/Qwen3.5-397B-A17B", 403_397_928_944),
        ("Qwen/Qwen3.8-27B", 27_781_427_952),
        ("zai-org/GLM-4.1V-9B-Thinking", 10_292_777_472),
        ("zai-org/GLM-OCR", 1_325_258_240),
        # Text alone, where the files hold something else than the model.
        ("deepseek-ai/DeepSeek-V3", 684_531_386_000),
        ("deepseek-ai/DeepSeek-R1-0528", 684_531_386_000),
        ("openai-community/gpt2", 137_022_720),
        ("Qwen/Qwen3-0.6B", 751_632_384),
        # As many as the model has, and nobody knows: nothing to say.
        ("Qwen/Qwen3-8B", None),
        # Keys, values and their norms of 20 layers that read another's: 18,880,512 of them.
        ("google/gemma-4-E2B-it", 5_123_178_051),
        ("google/gemma-3n-E4B-it", 7_849_978_192),
    ],
)  # fmt: skip
def test_an_answer_states_them(hub_id: str, published: int | None) -> None:
    found = catalog.locate(hub_id)
    estimate = kvcalc.estimate(found.spec, context_tokens=1)
    assert to_object(estimate)["parameters"].get("checkpoint") == published


def test_the_files_of_a_spec_are_not_those_of_its_other_ids() -> None:
    for entry in hub_ids.entries():
        base = SPECS[entry.spec]
        stated = entry.of(base).checkpoint
        if entry.id in base.hub_id[:1] and not entry.own:
            assert stated == base.checkpoint
        else:
            assert (stated and str(stated.parameters)) == (entry.files or None), entry.id


def test_a_changed_model_is_no_published_one() -> None:
    spec = SPECS["gpt2"]
    assert spec.checkpoint is not None
    assert with_fields(spec, ("hidden_size=1024",)).checkpoint is None
    assert with_attention(spec, "gqa:4")[0].checkpoint is None

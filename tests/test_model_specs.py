"""Every shipped spec: it loads, says where its numbers come from, and holds what it promises."""

from pathlib import Path

import pytest

from kvcalc.checks.expect import expect_findings
from kvcalc.dtypes import CacheDtypes
from kvcalc.memory.cache import cache_function
from kvcalc.memory.weights import summarise
from kvcalc.spec import catalog
from kvcalc.spec.loader import load_spec_file

SPECS = catalog.shipped()
# No exact total is published and transformers has no class: the published sizes are rounded.
WITHOUT_TOTAL = {
    "delta-net-1.3b", "hunyuan-large", "kimi-k3", "ouro-1.4b", "ouro-2.6b",
}  # fmt: skip
# Their cache grows in steps, an entry per 4 or 128 tokens: no two prefills measure a slope.
WITHOUT_BYTES_PER_TOKEN = {"deepseek-v4-flash", "deepseek-v4-pro"}
SCHEMA_LINE = "# yaml-language-server: $schema=../../kvcalc/spec/schema.json"
every_spec = pytest.mark.parametrize("path", SPECS.values(), ids=SPECS.keys())


@every_spec
def test_reads_in_a_minute(path: Path) -> None:
    lines = path.read_text("utf-8").splitlines()
    assert lines[0] == SCHEMA_LINE
    assert len(lines) <= 60


@every_spec
def test_says_which_model_it_is_and_where_its_numbers_come_from(path: Path) -> None:
    spec = load_spec_file(path)
    assert spec.name == path.stem == spec.name.lower()
    assert spec.source
    assert spec.hub_id or spec.notes, "no hub id: a note says why"


@every_spec
def test_expectations_are_stated_and_hold(path: Path) -> None:
    spec = load_spec_file(path)
    assert spec.expect is not None
    assert spec.expect.parameters is not None or spec.name in WITHOUT_TOTAL
    stated = spec.expect.cache_bytes_per_token is not None
    assert stated or spec.name in WITHOUT_BYTES_PER_TOKEN
    assert list(expect_findings(spec)) == []


def test_hub_ids_name_one_spec_each() -> None:
    seen: dict[str, Path] = {}
    for hub_id, path in catalog.hub_ids():
        assert seen.setdefault(hub_id.lower(), path) == path, hub_id


# Parameters, and cache bytes per token in bf16 once every window is full. Unless a line says
# otherwise, both were measured on the class of transformers 5.23 that the checkpoint names: its
# parameters on the meta device, and its own cache after a prefill at two lengths.
TOTALS = {
    "gpt2": (124_439_808, 36_864),
    "gpt2-xl": (1_557_611_200, 307_200),
    "bert-base-uncased": (109_482_240, 0),  # BertModel, with its pooler
    "bert-large-uncased": (335_141_888, 0),
    "roberta-base": (124_645_632, 0),
    "albert-base-v2": (11_683_584, 0),  # 12 layers, one set of weights
    "modernbert-base": (149_014_272, 0),
    "t5-base": (222_903_552, 36_864),
    # Checkpoint: the tied 390,315,264 that transformers counts, and its own head of 250112 x 768.
    "mt5-base": (582_401_280, 36_864),
    "bart-large": (406_291_456, 49_152),
    "whisper-large-v3": (1_543_490_560, 163_840),
    "gpt-j-6b": (6_050_882_784, 458_752),
    "opt-350m": (331_196_416, 98_304),  # narrow embeddings, projected in and out
    "bloom-176b": (176_247_271_424, 4_014_080),  # the total is on its model card
    "falcon-7b": (6_921_720_704, 8_192),  # multi-query
    # transformers caches K and V repeated for 128 heads; 8 KV heads: 60 * 2 * 8 * 64 * 2.
    "falcon-40b": (41_303_293_952, 122_880),
    "starcoder-15b": (15_517_456_384, 20_480),
    "llama-2-7b": (6_738_415_616, 524_288),
    "llama-3-8b": (8_030_261_248, 131_072),
    "llama-3.1-405b": (405_853_388_800, 516_096),
    "llama-3.2-1b": (1_235_814_400, 32_768),
    "mistral-7b-v0.1": (7_241_732_096, 0),  # every layer has a window of 4096
    "mistral-7b-v0.3": (7_248_023_552, 131_072),
    "qwen2.5-72b": (72_706_203_648, 327_680),
    "qwen3-32b": (32_762_123_264, 262_144),
    "gemma-7b": (8_537_680_896, 458_752),
    "gemma-2-27b": (27_227_128_320, 188_416),
    "gemma-3-27b": (27_432_406_640, 81_920),  # the vision tower and projector 423,060,336 of them
    "qwen2.5-vl-7b": (8_292_166_656, 57_344),
    "phi-4": (14_659_507_200, 204_800),
    "olmo-2-32b": (32_234_279_936, 262_144),
    "command-a": (111_057_580_032, 65_536),
    "minicpm3-4b": (4_073_875_968, 35_712),  # 62 layers of a latent of 256 and a rotary key of 32
    "apertus-8b": (8_053_338_176, 131_072),  # 64 of them are the scalars of xIELU
    "bitnet-b1.58-2b-4t": (2_412_820_480, 76_800),
}

# Bytes of full windows and of Whisper's 1500 encoder positions. transformers keeps W - 1 tokens of
# a window W before a decode step: mistral-7b-v0.1 shows 536,739,840, which is 4095 / 4096 of this.
FIXED = {
    "mistral-7b-v0.1": 536_870_912,
    "phi-3-mini-4k": 804_913_152,  # measured 804,519,936 at 2046 of 2047
    "gemma-2-9b": 704_643_072,  # measured 704,471,040
    "gemma-3-1b": 11_534_336,  # measured 11,511,808 at 511 of 512
    "olmo-3-7b": 1_610_612_736,  # measured 1,610,219,520
    "command-r7b": 402_653_184,  # measured 402,554,880
    "whisper-tiny": 9_216_000,  # measured 11,968,512 with 448 decoder tokens of 6,144 bytes
}


@pytest.mark.parametrize("name", TOTALS)
def test_known_totals(name: str) -> None:
    spec = load_spec_file(SPECS[name])
    parameters, per_token = TOTALS[name]
    assert summarise(spec).total == parameters
    assert cache_function(spec, CacheDtypes()).slope == per_token


@pytest.mark.parametrize("name", FIXED)
def test_known_fixed_bytes(name: str) -> None:
    spec = load_spec_file(SPECS[name])
    encoder_tokens = spec.encoder.tokens or 0 if spec.encoder else 0
    assert cache_function(spec, CacheDtypes()).fixed_bytes(encoder_tokens) == FIXED[name]

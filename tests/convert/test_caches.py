"""Imported caches against the cache objects that transformers fills, for drawn dimensions.

A real forward pass in fp32 on the CPU; every tensor that the returned cache reaches is added up. The
spec's logical cache is turned into transformers' accounting (windows of W - 1, convolutions of K
columns) by kvcalc.engines.transformers, and the two must agree to the byte.
"""

import pytest

pytest.importorskip("transformers")

from kvcalc.convert.hf import class_defaults, spec_from_config
from kvcalc.convert.model_types import CONVERTERS
from kvcalc.dtypes import CacheDtypes
from kvcalc.engines.transformers import groups_of_version
from kvcalc.memory.cache import compile_groups
from tests.convert.draws import draw
from tests.convert.oracle import cache_bytes

pytestmark = [pytest.mark.hf, pytest.mark.filterwarnings("ignore")]

TOKENS, ENCODER_TOKENS = 23, 11

# Types that are not run here, and why: their parameters are, in test_parameters.py.
NOT_RUN = {
    "openai-gpt": "transformers keeps no cache for it",
    "mllama_text_model": "needs an image for its cross-attention",
    "granite4_vision_text": "the text model alone makes no cache",
    "qwen2_vl_text": "rotary sections of the published head width only",
    "qwen2_5_vl_text": "rotary sections of the published head width only",
    "qwen2_5_omni_text": "rotary sections of the published head width only",
    "qwen3_omni_moe_text": "rotary sections of the published head width only",
    "glm4v_text": "rotary sections of the published head width only",
    "glm4v_moe_text": "rotary sections of the published head width only",
    "glm_ocr_text": "rotary sections of the published head width only",
    "hunyuan_vl_text": "rotary sections of the published head width only",
    "paddleocr_vl_text": "rotary sections of the published head width only",
    "cosmos3_edge_text": "rotary sections of the published head width only",
}


def decoders() -> list[str]:
    """Every type that keeps a cache, told by a draw of it."""
    found = []
    for model_type in CONVERTERS:
        config = draw(model_type, 0, class_defaults()[model_type]["defaults"])
        spec = spec_from_config(config, "drawn", "draws.py").spec
        if spec.head != "none" and model_type not in NOT_RUN:
            found.append(model_type)
    return found


@pytest.mark.parametrize("model_type", decoders())
@pytest.mark.parametrize("seed", [0, 1])
def test_cache_holds_what_transformers_holds(model_type: str, seed: int) -> None:
    config = draw(model_type, seed, class_defaults()[model_type]["defaults"])
    spec = spec_from_config(config, "drawn", "draws.py").spec
    encoder_tokens = 0
    if spec.encoder is not None:
        encoder_tokens = spec.encoder.tokens or ENCODER_TOKENS
    groups = groups_of_version(spec, model_dtype="fp32")
    ours = compile_groups(groups, CacheDtypes("fp32", "fp32")).at(TOKENS, encoder_tokens)
    assert ours == cache_bytes(config, TOKENS, ENCODER_TOKENS if spec.encoder else 0), config

"""Imported caches against the cache objects that transformers filled, for drawn dimensions.

A real forward pass in fp32 on the CPU, whose outcome stands in measured.json (measured.py writes it);
every tensor that the returned cache reaches was added up. The spec's logical cache is turned into
transformers' accounting (windows of W - 1, convolutions of K columns) by kvcalc.engines.transformers,
and the two must agree to the byte.
"""

import pytest

from kvcalc.convert.hf import spec_from_config
from kvcalc.convert.model_types import CONVERTERS
from kvcalc.dtypes import CacheDtypes
from kvcalc.engines.transformers.caches import groups_of_version
from kvcalc.memory.cache import compile_groups
from tests.convert.measured import (
    ENCODER_TOKENS,
    NUM_CACHES,
    TOKENS,
    drawn,
    has_cache,
    row_of,
)


@pytest.mark.parametrize("model_type", [*filter(has_cache, CONVERTERS)])
@pytest.mark.parametrize("seed", range(NUM_CACHES))
def test_cache_holds_what_transformers_holds(model_type: str, seed: int) -> None:
    config = drawn(model_type, seed)
    spec = spec_from_config(config, "drawn", "draws.py").spec
    encoder_tokens = 0
    if spec.encoder is not None:
        encoder_tokens = spec.encoder.tokens or ENCODER_TOKENS
    groups = groups_of_version(spec, model_dtype="fp32")
    ours = compile_groups(groups, CacheDtypes("fp32", "fp32")).at(TOKENS, encoder_tokens)
    _, _, kept = row_of("drawn", model_type, seed)
    assert ours == kept, config

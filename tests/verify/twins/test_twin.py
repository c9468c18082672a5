"""The configs that verify writes say what kvcalc reads back: kvcalc/convert is the inverse."""

import pytest

from kvcalc.convert.hf import spec_from_config
from kvcalc.convert.model_types import CONVERTERS
from kvcalc.errors import UnsupportedError
from kvcalc.memory.weights import summarise
from kvcalc.spec.catalog import load, shipped
from kvcalc.spec.layers import decoder_layers
from kvcalc.spec.model import ModelSpec
from kvcalc.spec.set_fields import with_fields
from kvcalc.verify.twins.published_layers import PUBLISHED, order_of
from kvcalc.verify.twins.stack import NotExpressibleError
from kvcalc.verify.twins.twin import NO_TWIN, twin_of

# T5 and mT5 with tie_word_embeddings false: transformers 5 ties their head whatever the config says,
# so the twin has vocab_size * d_model parameters less than the checkpoint, which the spec states.
HEAD_TIED_BY_THE_CLASS = {
    "flan-t5-base": 24_674_304,  # 32,128 * 768
    "mt5-base": 192_086_016,  # 250,112 * 768
}


def _one_of_each_type() -> list[str]:
    chosen: dict[str, str] = {}
    for name in shipped():
        model_type = load(name).model_type
        if model_type is not None and model_type not in NO_TWIN:
            chosen.setdefault(model_type, name)
    return list(chosen.values())


def _layers(spec: ModelSpec) -> list[tuple[object, ...]]:
    """Every layer's weights and caches, whatever its block is called."""
    found: list[tuple[object, ...]] = []
    for layer in decoder_layers(spec):
        block = spec.blocks[layer.block]
        parts = (block.attention, block.cross_attention, block.recurrent, block.ffn)
        weights = sorted(
            (tensor.shape, tensor.buffer)
            for tensor in block.parameters(spec.hidden_size, spec.norm)
        )
        caches = [(t.name, t.shape, t.extent) for part in parts if part for t in part.cache()]
        found.append((tuple(weights), tuple(caches)))
    return found


@pytest.mark.parametrize("name", _one_of_each_type())
def test_a_written_config_reads_back_as_the_spec(name: str) -> None:
    twin = twin_of(load(name))
    if twin.model_type not in CONVERTERS:
        pytest.skip(f"{twin.model_type} has no importer")
    values = {"model_type": twin.model_type, **twin.values}
    read = spec_from_config(values, name, "written").spec
    # The config says that T5's head is its own, as the checkpoint has it; the class ties it all the same.
    whole = load(name)
    assert (twin.spec != whole) == (name in HEAD_TIED_BY_THE_CLASS or bool(whole.towers))
    assert summarise(read).total == summarise(whole).language_model
    assert summarise(read).total - summarise(twin.spec).total == HEAD_TIED_BY_THE_CLASS.get(name, 0)
    assert _layers(read) == _layers(twin.spec)


def test_published_orders_are_the_specs_own() -> None:
    assert {name: order_of(load(name)) for name in PUBLISHED} == PUBLISHED


@pytest.mark.parametrize(
    ("name", "letters"),
    [
        # Kimi-Linear's linear_attn_config.full_attn_layers, 1-based: 4, 8, 12, 16, 20, 24, 27.
        ("kimi-linear-48b-a3b", "F at 3 7 11 15 19 23 26"),
        # Bamba-9B's attn_layer_indices.
        ("bamba-9b", "F at 9 18 27"),
        # LFM2-1.2B's full_attn_idxs.
        ("lfm2-1.2b", "F at 2 5 8 10 12 14"),
    ],
)
def test_published_orders_are_those_of_the_checkpoints(name: str, letters: str) -> None:
    places = " ".join(str(index) for index, letter in enumerate(PUBLISHED[name]) if letter == "F")
    assert f"F at {places}" == letters


def test_a_type_without_a_twin_says_why() -> None:
    with pytest.raises(UnsupportedError, match="remote code"):
        twin_of(load("kimi-k3"))


def test_layers_that_no_config_can_say_are_a_finding() -> None:
    wrong = with_fields(load("gemma-2-2b"), ("blocks.local.attention.num_key_value_heads=2",))
    with pytest.raises(NotExpressibleError, match="num_key_value_heads"):
        twin_of(wrong)

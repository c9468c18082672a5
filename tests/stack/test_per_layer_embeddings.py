import pytest

from kvcalc.stack.per_layer_embeddings import PerLayerEmbeddings

PLE = PerLayerEmbeddings(vocab_size_per_layer_input=262_144, hidden_size_per_layer_input=256)


# transformers 5.23 Gemma3nForCausalLM and Gemma4ForCausalLM on the meta device: the tensors whose
# names hold per_layer, in one layer and beside the layers.
@pytest.mark.parametrize(
    ("hidden_size", "num_layers", "layer", "model"),
    [
        (2048, 35, 1_050_624, 2_367_160_576),
        (1536, 35, 787_968, 2_362_573_056),
        (2560, 42, 1_313_280, 2_846_097_664),
    ],
    ids=["gemma-3n-e4b", "gemma-4-e2b", "gemma-4-e4b"],
)
def test_published_models(hidden_size: int, num_layers: int, layer: int, model: int) -> None:
    assert sum(t.numel for t in PLE.layer_parameters(hidden_size)) == layer
    assert sum(t.numel for t in PLE.model_parameters(hidden_size, num_layers)) == model
    assert not list(PLE.check())


def test_only_the_table_is_an_embedding() -> None:
    components = {t.name: (t.shape, t.component) for t in PLE.model_parameters(1536, 35)}
    assert components == {
        "embed_tokens_per_layer.weight": ((262_144, 8960), "embedding"),
        "per_layer_model_projection.weight": ((8960, 1536), "other"),
        "per_layer_projection_norm.weight": ((256,), "norm"),
    }


def test_tensor_parallelism_divides_the_rows() -> None:
    table, projection, norm = PLE.model_parameters(1536, 35)
    assert table.per_rank(8) == (32_768, 8960)
    assert projection.per_rank(8) == (1120, 1536)
    assert norm.per_rank(8) == (256,)

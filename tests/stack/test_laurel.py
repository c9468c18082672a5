from kvcalc.stack.laurel import Laurel


def test_gemma_3n_e4b() -> None:
    # transformers 5.23 Gemma3nForCausalLM on the meta device, default (E4B) dimensions.
    laurel = Laurel(laurel_rank=64)
    tensors = list(laurel.layer_parameters(2048))
    assert sum(t.numel for t in tensors) == 264_192
    assert {t.name: t.shape for t in tensors} == {
        "laurel.linear_left.weight": (64, 2048),
        "laurel.linear_right.weight": (2048, 64),
        "laurel.post_laurel_norm.weight": (2048,),
    }
    assert not list(laurel.model_parameters(2048, 35))
    assert not list(laurel.check())


def test_tensor_parallelism_divides_the_rank() -> None:
    shapes = {t.name: t.per_rank(4) for t in Laurel(laurel_rank=64).layer_parameters(2048)}
    assert shapes["laurel.linear_left.weight"] == (16, 2048)
    assert shapes["laurel.linear_right.weight"] == (2048, 16)
    assert shapes["laurel.post_laurel_norm.weight"] == (2048,)

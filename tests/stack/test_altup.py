import pytest

from kvcalc.stack.altup import AltUp


def test_gemma_3n_e4b() -> None:
    # transformers 5.23 Gemma3nForCausalLM on the meta device, default (E4B) dimensions.
    altup = AltUp(altup_num_inputs=4)
    layer = {t.name: t.shape for t in altup.layer_parameters(2048)}
    assert layer == {
        "altup.correct_output_scale": (2048,),
        "altup.correction_coefs.weight": (4, 4),
        "altup.prediction_coefs.weight": (16, 4),
        "altup.modality_router.weight": (4, 2048),
        "altup.router_norm.weight": (2048,),
    }
    assert sum(t.numel for t in altup.layer_parameters(2048)) == 12_368
    beside = [*altup.model_parameters(2048, 35), *altup.final_parameters(2048)]
    assert sum(t.numel for t in beside) == 25_165_824
    assert len(beside) == 6


@pytest.mark.parametrize(
    ("num_inputs", "active", "fields"),
    [
        (4, 0, []),
        (4, 3, []),
        (4, 4, ["altup_active_idx"]),
        (4, -1, ["altup_active_idx"]),
        (1, 0, ["altup_num_inputs"]),
    ],
)
def test_check(num_inputs: int, active: int, fields: list[str]) -> None:
    altup = AltUp(altup_num_inputs=num_inputs, altup_active_idx=active)
    assert [field for field, _ in altup.check()] == fields

import pytest

from kvcalc.memory.inventory import mtp_groups
from kvcalc.spec import catalog
from kvcalc.stack.mtp import MultiTokenPrediction


def glue(hidden_size: int, vocab_size: int | None = None) -> int:
    mtp = MultiTokenPrediction(num_layers=1, block="moe", vocab_size=vocab_size)
    return sum(t.numel for t in mtp.glue_parameters(hidden_size))


def test_deepseek_v3() -> None:
    # transformers 5.23 MtpModel on the meta device: 11,610,067,968 weights of its own, of which
    # 11,507,286,016 are the layer ("11.5B unique parameters", DeepSeek-V3 README_WEIGHTS.md).
    assert glue(7168) == 11_610_067_968 - 11_507_286_016
    # The bf16 checkpoint holds 684,489,845,504 values: the model (671,026,404,352), the module
    # with its copies of embedding and head, and the router biases of 58 + 1 layers, 15,104.
    with_copies = glue(7168, vocab_size=129_280)
    assert with_copies == 684_489_845_504 - 671_026_404_352 - 11_507_286_016 - 15_104


# Values in the published safetensors, less the main model, the module's layer (both transformers
# 5.23, meta device) and the router biases.
@pytest.mark.parametrize(
    ("hidden_size", "vocab_size", "checkpoint", "model", "layer", "biases"),
    [
        (5120, 151_552, 358_337_791_296, 352_797_814_784, 3_935_625_472, 14_400),
        (4096, 151_552, 110_468_824_832, 106_852_245_504, 2_341_492_736, 5_888),
        (2048, None, 81_324_862_720, 79_674_391_296, 1_642_076_672, 0),
    ],
    ids=["glm-4.5", "glm-4.5-air", "qwen3-next-80b-a3b"],
)
def test_closes_the_checkpoint(
    hidden_size: int, vocab_size: int | None, checkpoint: int, model: int, layer: int, biases: int
) -> None:
    assert glue(hidden_size, vocab_size) == checkpoint - model - layer - biases


def test_names_and_components() -> None:
    mtp = MultiTokenPrediction(num_layers=1, block="moe", vocab_size=129_280)
    assert {t.name: (t.shape, t.component) for t in mtp.glue_parameters(7168)} == {
        "enorm.weight": ((7168,), "norm"),
        "hnorm.weight": ((7168,), "norm"),
        "eh_proj.weight": ((7168, 14_336), "other"),
        "shared_head.norm.weight": ((7168,), "norm"),
        "embed_tokens.weight": ((129_280, 7168), "embedding"),
        "shared_head.head.weight": ((129_280, 7168), "head"),
    }


def test_separate_projections() -> None:
    # DeepSeek-V4-Flash's checkpoint: mtp.0.e_proj and mtp.0.h_proj, [4096, 4096] each.
    mtp = MultiTokenPrediction(num_layers=1, block="window", projection="separate")
    shapes = {t.name: t.shape for t in mtp.glue_parameters(4096)}
    assert shapes["e_proj.weight"] == shapes["h_proj.weight"] == (4096, 4096)
    assert "eh_proj.weight" not in shapes
    assert sum(t.numel for t in mtp.glue_parameters(4096)) == 33_566_720


def test_without_a_norm_of_its_own() -> None:
    mtp = MultiTokenPrediction(num_layers=3, block="moe", final_norm=False)
    names = [t.name for t in mtp.glue_parameters(4096)]
    assert names == ["enorm.weight", "hnorm.weight", "eh_proj.weight"]


def test_no_module_is_refused() -> None:
    assert [f for f, _ in MultiTokenPrediction(num_layers=0, block="moe").check()] == ["num_layers"]
    assert not list(MultiTokenPrediction(num_layers=1, block="moe").check())


def test_a_norm_that_spans_the_streams() -> None:
    # Qwen3.8-Flash-Next: two matrices of 2560 x 2560, a norm of 2,560 and one of four streams. Its files:
    # 2,607,150,848 (llmfit 1.1.17: 179,999,981,459 in all, less the model and 35 integers).
    spec = catalog.load("qwen3.8-flash-next")
    assert spec.mtp is not None
    shapes = {tensor.name: tensor.shape for tensor in spec.mtp.glue_parameters(2560)}
    assert shapes == {
        "enorm.weight": (2560,), "hnorm.weight": (10240,), "e_proj.weight": (2560, 2560),
        "h_proj.weight": (2560, 2560),
    }  # fmt: skip
    assert sum(t.numel * g.count for g in mtp_groups(spec) for t in g.tensors) == 2_607_150_848

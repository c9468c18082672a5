"""The table of a checkpoint's formats: what each takes and which tensors are in it."""

import kvcalc
from kvcalc.convert.hf import spec_from_config
from kvcalc.report.answers.types import types_tables
from tests.convert.quantized_models import MODELS


def test_formats_of_single_tensors_and_layers() -> None:
    left = ["lm_head", "model.layers.1.mlp.down_proj"]
    stated = {
        "quant_method": "fp8", "weight_block_size": [128, 128], "modules_to_not_convert": left,
    }  # fmt: skip
    config = {**MODELS["llama"], "quantization_config": stated}
    spec = spec_from_config(config, "model", "config.json").spec
    [table] = types_tables(kvcalc.estimate(spec, context_tokens=512))
    shown = {str(row.cells[0]): str(row.cells[-1]) for row in table.rows}
    assert shown == {
        "fp8_block128": "attention, ffn.gate_proj, ffn.up_proj, ffn.down_proj (layer 0)",
        "bf16": "embedding, ffn.down_proj (layer 1), head, vectors",
    }


def test_one_format_has_no_table() -> None:
    assert not [*types_tables(kvcalc.estimate("qwen3-0.6b", context_tokens=512))]

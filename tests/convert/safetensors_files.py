"""Small safetensors checkpoints, written by hand."""

import json
import struct
from pathlib import Path
from typing import Any

from kvcalc.convert.safetensors import BITS

Tensors = dict[str, tuple[str, list[int]]]

CONFIG = {
    "model_type": "llama", "hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 2,
    "num_attention_heads": 4, "num_key_value_heads": 2, "vocab_size": 100, "head_dim": 16,
    "tie_word_embeddings": False, "max_position_embeddings": 512, "attention_bias": False,
    "mlp_bias": False,
}  # fmt: skip


def llama(dtype: str = "BF16") -> Tensors:
    """The tensors of the config above, as transformers names them."""
    tensors: Tensors = {"model.embed_tokens.weight": (dtype, [100, 64])}
    for index in range(2):
        place = f"model.layers.{index}."
        tensors |= {
            f"{place}input_layernorm.weight": (dtype, [64]),
            f"{place}self_attn.q_proj.weight": (dtype, [64, 64]),
            f"{place}self_attn.k_proj.weight": (dtype, [32, 64]),
            f"{place}self_attn.v_proj.weight": (dtype, [32, 64]),
            f"{place}self_attn.o_proj.weight": (dtype, [64, 64]),
            f"{place}post_attention_layernorm.weight": (dtype, [64]),
            f"{place}mlp.gate_proj.weight": (dtype, [96, 64]),
            f"{place}mlp.up_proj.weight": (dtype, [96, 64]),
            f"{place}mlp.down_proj.weight": (dtype, [64, 96]),
        }
    tensors |= {"model.norm.weight": (dtype, [64]), "lm_head.weight": (dtype, [100, 64])}
    return tensors


def header(tensors: Tensors) -> bytes:
    entries: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    at = 0
    for name, (dtype, shape) in tensors.items():
        bits = BITS[dtype]
        for size in shape:
            bits *= size
        entries[name] = {"dtype": dtype, "shape": shape, "data_offsets": [at, at + bits // 8]}
        at += bits // 8
    return json.dumps(entries).encode()


def data_bytes(tensors: Tensors) -> int:
    last = list(json.loads(header(tensors)).values())[-1]
    return int(last["data_offsets"][1])


def save(path: Path, tensors: Tensors, *, data: bool = True) -> Path:
    text = header(tensors)
    path.write_bytes(struct.pack("<Q", len(text)) + text)
    if data:
        with path.open("r+b") as file:
            file.truncate(8 + len(text) + data_bytes(tensors))
    return path


def model(folder: Path, tensors: Tensors, **config: object) -> Path:
    """A folder with a config and one file of tensors."""
    (folder / "config.json").write_text(json.dumps(CONFIG | config))
    save(folder / "model.safetensors", tensors)
    return folder


def shards(folder: Path) -> list[Path]:
    items = list(llama().items())
    (folder / "config.json").write_text(json.dumps(CONFIG))
    names = [f"model-0000{number}-of-00002.safetensors" for number in (1, 2)]
    halves = [dict(items[:9]), dict(items[9:])]
    for name, half in zip(names, halves, strict=True):
        save(folder / name, half)
    weight_map = {key: name for name, half in zip(names, halves, strict=True) for key in half}
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": weight_map}))
    return [folder / name for name in names]

"""The order of layers of checkpoints whose config lists them one by one.

For these model types transformers has no rule: a twin built from a spec has the spec's order. So the
order as each checkpoint's config.json publishes it stands here a second time, in letters, and a spec
whose pattern was shifted is caught. Each was read apart from the specs: in the config's
layers_block_type, hybrid_override_pattern, layer_types, attn_layer_indices, full_attn_idxs,
linear_attn_config or compress_ratios, or off the cache layers of a model built from it.

F full attention, S sliding window, L recurrent or convolutional, D dense feed-forward only,
E experts only, H attention and Mamba-2 in one layer, c compressed sparse, h heavily compressed.
"""

from kvcalc.spec.layers import decoder_layers
from kvcalc.spec.model import Block, ModelSpec

PUBLISHED: dict[str, str] = {
    "bamba-9b": "LLLLLLLLLFLLLLLLLLFLLLLLLLLFLLLL",
    "deepseek-v4-flash": "SS" + "ch" * 20 + "c",
    "deepseek-v4-pro": "hh" + "ch" * 29 + "c",
    "gemma-4-e2b": "SSSSF" * 7,
    "gemma-4-e4b": "SSSSSF" * 7,
    "gemma-4-26b": "SSSSSF" * 5,
    "gemma-4-31b": "SSSSSF" * 10,
    "granite-4.0-h-small": "LLLLLFLLLL" * 4,
    "granite-4.0-h-tiny": "LLLLLFLLLL" * 4,
    "kimi-linear-48b-a3b": "LLLFLLLFLLLFLLLFLLLFLLLFLLF",
    "lfm2-1.2b": "LLFLLFLLFLFLFLFL",
    "lfm2-8b-a1b": "LLFLLLFLLLFLLLFLLLFLLFLL",
    "nemotron-h-8b": "LDLDLDLFDLDLDLDLDLFDLDLDLDLDLFDLDLDLDLDLFDLDLDLDLDLD",
    "nemotron-h-56b": "LDLDLDLFD" + "LDLDLDLDLFD" * 9 + "LDLDLDLDLD",
    "nemotron-3-nano": "LELELFELELELFELELELFELELELFELELELFELELELELFELELELELE",
    "nemotron-3-super": "LELELELFELELELELFELELELELFELELELELELFELELELELELFELELELELELFE"
    "LELELELELFELELELELFELELELELE",
    "zamba2-2.7b": "LLLLLLHLLLLLHLLLLLHLLLLLHLLLLLHLLLLLHLLLLLHLLLLHLLLHLL",
}


def order_of(spec: ModelSpec) -> str:
    """The spec's own order in the same letters."""
    letters = ""
    for layer in decoder_layers(spec):
        letter = _letter(spec.blocks[layer.block])
        # A use of a shared block stands before the Mamba layer that it is one layer with.
        letters = letters[:-1] + "H" if letters.endswith("A") else letters + letter
    return letters


def _letter(block: Block) -> str:
    if block.share_weights:
        return "A"
    if block.recurrent is not None:
        return "H" if block.attention is not None else "L"
    if block.attention is not None:
        kinds = {"csa": "c", "hca": "h", "v4_window": "S"}
        sliding = getattr(block.attention, "sliding_window", None) is not None
        return kinds.get(block.attention.kind, "S" if sliding else "F")
    return "E" if block.ffn is not None and block.ffn.kind == "moe" else "D"

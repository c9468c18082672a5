"""What published files hold beside a model, so that the hub's count of their elements can be explained.

A hub page adds up every tensor of the safetensors, whatever it is. What a model's class does not count, or
does not load, is a part with a name here, of a size that follows from the spec's own numbers.
"""

import math
from itertools import combinations

from kvcalc.attention.mha_mqa_gqa import SoftmaxAttention
from kvcalc.memory.inventory import mtp_groups
from kvcalc.memory.weights import count_parameters, ledger, summarise
from kvcalc.spec.layers import decoder_layers
from kvcalc.spec.model import ModelSpec

MTP = "modules that predict further tokens"
BUFFERS = "buffers"
HASHES = "integers of the hashes"
HEAD = "the tied head, stored once more"
POSITIONS = "position numbers"
ROTARY = "rotary frequencies"
MASKS = "causal masks"
SCALES = "scales of fp8 tiles"
UNREAD = "keys and values that no layer reads"
# Gemma 4's std_bias and std_scale, of its tower's 1,152 channels each.
_TOWER_BUFFERS = 2 * 1152


def explain(spec: ModelSpec, parameters: int) -> dict[str, int] | None:
    """The parts beside the model that make up the difference exactly; None where none do.

    parameters: elements of the files' tensors.
    """
    held = parameters - summarise(spec).total
    if held <= 0:
        # Most hold the model and nothing else.
        return None if held else {}
    parts = _parts(spec)
    for number in range(len(parts) + 1):
        for chosen in combinations(parts, number):
            if sum(size for _, size in chosen) == held:
                found: dict[str, int] = {}
                for name, size in chosen:
                    found[name] = found.get(name, 0) + size
                return found
    return None


def _parts(spec: ModelSpec) -> list[tuple[str, int]]:
    layers = len(tuple(decoder_layers(spec)))
    extra = [*mtp_groups(spec)]
    extra_buffers = sum(t.numel * g.count for g in extra for t in g.tensors if t.buffer)
    tied = spec.tie_word_embeddings and spec.head == "lm"
    context = spec.max_position_embeddings or 0
    learned = spec.embedding is not None and spec.embedding.positions is not None
    mixer = next(iter(spec.blocks.values())).attention
    width = getattr(mixer, "head_dim", 0)
    # GPT-2, GPT-NeoX and half of GPT-Neo's layers kept their mask, GPT-NeoX a quarter's frequencies, too.
    masks = layers * context**2 if context <= 2048 else 0
    sizes = (
        (MTP, count_parameters(extra)),
        (BUFFERS, summarise(spec).buffers),
        (BUFFERS, extra_buffers),
        (BUFFERS, _TOWER_BUFFERS if spec.model_type == "gemma4" else 0),
        (HEAD, spec.vocab_size * spec.hidden_size if tied else 0),
        (POSITIONS, context if learned else 0),
        (ROTARY, layers * width // 2),
        (ROTARY, layers * width // 8 if spec.model_type == "gpt_neox" else 0),
        (MASKS, masks if spec.model_type in ("gpt2", "gpt_neox") else 0),
        (MASKS, masks // 2 if spec.model_type == "gpt_neo" else 0),
        (UNREAD, sum(_shared(spec, layer.block) for layer in decoder_layers(spec))),
        (HASHES, _hashes(spec)),
        (SCALES, _scales(spec)),
        (SCALES, _scales(spec, 1) if extra else 0),
    )
    return [(name, size) for name, size in sizes if size]


def _hashes(spec: ModelSpec) -> int:
    """The integers of n-gram embeddings: a factor for each token, a size and an offset for each hash."""
    found = [spec.blocks[layer.block].ngram for layer in decoder_layers(spec)]
    return sum(each.ngram_size + 2 * each.num_hashes for each in found if each is not None)


def _shared(spec: ModelSpec, block: str) -> int:
    """K, V and the norm of K of a layer that reads another layer's (Gemma 4)."""
    mixer = spec.blocks[block].attention
    if not spec.blocks[block].shared_kv or not isinstance(mixer, SoftmaxAttention):
        return 0
    rows = mixer.num_key_value_heads * mixer.head_dim
    return 2 * spec.hidden_size * rows + mixer.head_dim


def _scales(spec: ModelSpec, last: int = 0) -> int:
    """Scales of the tiles of 128 x 128; of the last layers alone, as an extra module has them, if asked."""
    if spec.own_dtype != "checkpoint":
        return 0
    count, layers = 0, len(tuple(decoder_layers(spec)))
    for row in ledger(spec, "checkpoint").rows:
        if row.stored.format.name.startswith("fp8_block128") and len(row.shape) > 1:
            *many, rows, columns = row.shape
            tiles = math.prod(many) * math.ceil(rows / 128) * math.ceil(columns / 128)
            count += tiles * (layers - 1 in row.layers if last else len(row.layers) or 1)
    return count

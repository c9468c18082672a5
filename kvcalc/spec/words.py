"""Words of somebody else's file: quoted short and printable, and what they are called here."""

from collections.abc import Collection, Mapping
from importlib import import_module
from typing import TYPE_CHECKING, Any

from kvcalc.names import meant

if TYPE_CHECKING:
    import yaml

# The spec's names, and what they are called in other configs, checkpoints, papers and programs.
NAMES: dict[str, str] = {
    "hidden_size": "d_model n_embd dim embed_dim hidden_dim model_dim embedding_length",
    "vocab_size": "n_vocab vocab padded_vocab_size",
    "max_position_embeddings": "max_context n_ctx n_positions context_length max_seq_len "
    "max_seq_length max_sequence_length max_model_len seq_length model_max_length",
    "tie_word_embeddings": "tie_embeddings tied_embeddings tie_weights weight_tying",
    "source": "reference url paper origin",
    "repeat": "count times num",
    "num_attention_heads": "n_heads n_head num_heads num_q_heads head_count num_query_heads",
    "num_heads": "n_heads n_head nheads num_attention_heads mamba_n_heads",
    "num_key_value_heads": "n_kv_heads num_kv_heads n_head_kv num_key_value_head kv_heads "
    "head_count_kv num_query_groups multi_query_group_num",
    "head_dim": "d_head head_size headdim d_k d_kv attention_head_size kv_channels mamba_d_head",
    "v_head_dim": "d_v value_head_dim",
    "sliding_window": "window window_size attention_window local_window swa_window",
    "bias": "attention_bias qkv_bias use_bias",
    "kv_lora_rank": "d_c kv_rank latent_dim kv_latent_dim",
    "intermediate_size": "d_ff d_inner ffn_dim n_inner ffn_hidden_size mlp_dim feed_forward_length",
    "moe_intermediate_size": "intermediate_size expert_intermediate_size ffn_dim d_ff",
    "num_experts": "n_experts num_local_experts n_routed_experts moe_num_experts",
    "num_experts_per_tok": "top_k topk moe_topk moe_top_k num_experts_per_token experts_per_token",
    "shared_expert_intermediate_size": "moe_shared_expert_intermediate_size",
    "state_size": "d_state ssm_state_size mamba_d_state state_dim",
    "conv_kernel": "d_conv conv_size conv_width mamba_d_conv conv_kernel_size linear_conv",
    "n_groups": "ngroups num_groups mamba_n_groups",
    "num_recursions": "n_recursions recursion_depth num_recursion",
    "gated": "swiglu geglu reglu glu gated_mlp gatedmlp",
    "dense": "mlp gelu relu ffn",
    "moe": "mixture_of_experts sparse_moe",
    "mha": "multi_head multihead self_attention",
    "gqa": "grouped_query attention self_attention full_attention",
    "mqa": "multi_query",
    "mla": "latent multi_head_latent",
    "mamba1": "mamba ssm s6",
    "mamba2": "mamba ssm ssd",
    "gated_deltanet": "linear_attention gdn gated_delta_net",
    "delta_net": "deltanet",
    "weight_bytes": "weights",
    "cache_bytes": "cache",
    "rmsnorm": "rms rms_norm",
    "layernorm": "ln layer_norm",
}
_OWN: dict[str, list[str]] = {}
for _own, _others in NAMES.items():
    for _other in _others.split():
        _OWN.setdefault(_other, []).append(_own)

_LAYERS = ("layers", "write layers: [{repeat: N, blocks: [...]}]")
_SHARED = (
    "shared_expert_intermediate_size",
    "write shared_expert_intermediate_size: n_shared_experts * moe_intermediate_size",
)
_NO_MEMORY = "it takes no memory: leave it out"
# Word -> (the field of the mapping that it is about, what to write instead of it).
INSTEAD: dict[str, tuple[str, str]] = {
    **dict.fromkeys(("num_hidden_layers", "num_layers", "n_layer", "n_layers"), _LAYERS),
    **dict.fromkeys(("n_shared_experts", "num_shared_experts"), _SHARED),
    **dict.fromkeys(("torch_dtype", "dtype"), ("weight_dtypes", "write weight_dtypes: {default: bf16}")),
    **dict.fromkeys(("rope_theta", "rope_scaling", "hidden_act", "rms_norm_eps", "bos_token_id",
                     "eos_token_id", "architectures", "use_cache"), ("hidden_size", _NO_MEMORY)),
}  # fmt: skip

# What to write for a required field that is missing.
MISSING: dict[str, str] = {
    "source": ": any text, such as where the dimensions were read",
    "blocks": ": named kinds of layers, {decoder: {attention: {...}, ffn: {...}}}",
    "layers": ": [{repeat: N, blocks: [...]}]",
}

# What a YAML parser says -> what is usually wrong.
YAML: dict[str, str] = {
    "mapping values are not allowed": "a key is indented too far, or text with a colon needs quotes",
    "found character": "indent with spaces, not tabs, and quote text that begins with a sign",
    "did not find expected key": "a line is indented differently from those beside it",
    "expected <block end>": "a line is indented differently from those beside it",
    "did not find expected '-' indicator": "a list's items are not indented alike",
    "expected ',' or": "a bracket is not closed, or a comma is missing",
    "could not find expected ':'": "a key has no colon after it",
    "unexpected end of stream": "a quote is not closed",
}

# What a message quotes of a file.
MAX_QUOTED = 60
# Among more words than these the nearest one is not looked for.
MAX_KNOWN = 200


def shortened(text: str) -> str:
    """A word of the file for a field path: printable, and not longer than a message may get."""
    text = text if text.isprintable() else ascii(text)[1:-1]
    return text if len(text) <= MAX_QUOTED else f"{text[: MAX_QUOTED - 3]}..."


def quoted(text: str) -> str:
    """A word of the file in quotes, as ``shortened`` gives it."""
    return f"'{shortened(text)}'"


def near(word: str, known: Collection[str]) -> str:
    """`` (did you mean 'x'?)`` for the known word that it means, or what to write instead, or nothing."""
    if len(word) > MAX_QUOTED or len(known) > MAX_KNOWN:
        return ""
    lowered = word.lower().replace("-", "_")
    field, instead = INSTEAD.get(lowered, ("", ""))
    if field in known:
        return f" ({instead})"
    found = [name for name in (lowered, *meanings(word)) if name in known] or meant(word, known)
    return f" (did you mean {' or '.join(map(repr, found))}?)" if found else ""


def meanings(word: str) -> tuple[str, ...]:
    """What another program's word is called in a spec."""
    return tuple(_OWN.get(word.lower().replace("-", "_"), ()))


def missing(field: str) -> str:
    """What is said of a required field that is not there."""
    return f"required and missing{MISSING.get(field, '')}"


def plain_yaml(reason: str) -> str:
    """What a YAML parser complains of, said so that a person knows what to look for."""
    for fragment, words in YAML.items():
        if fragment in reason:
            return f"{words} ({reason})"
    return reason


def home_of(*kinds: str) -> str:
    """Where the first kind belongs that stands under the wrong key."""
    for kind in kinds:
        for name in ("attention", "recurrent", "ffn", "towers"):
            if kind in import_module(f"kvcalc.{name}").KINDS:
                return f" ({kind} belongs under '{name}:')"
        if kind in import_module("kvcalc.attention").CROSS_KINDS:
            return f" ({kind} belongs under 'cross_attention:')"
    return ""


def say(kind: Any) -> str:
    """A type of the spec's fields, in words."""
    names = {"int": "a whole number", "bool": "true or false", "str": "text", "Fraction": "a share",
             "Tokens": "a token count", "Bytes": "a size"}  # fmt: skip
    return names.get(kind.__name__, "a word") if isinstance(kind, type) else "a word"


def say_node(node: "yaml.Node") -> str:
    """A node of a file, in words."""
    import yaml

    if isinstance(node, yaml.MappingNode):
        return "mapping"
    if isinstance(node, yaml.SequenceNode):
        return "list"
    if node.tag == "tag:yaml.org,2002:null":
        return "value that is empty"
    return f"single value ({shortened(node.value) or 'nothing'})"


def first_said(given: Mapping[str, Any]) -> str | None:
    """The first option that was given: of option -> value, None where it was not."""
    return next((option for option, value in given.items() if value is not None), None)

"""The architectures of GGUF files that kvcalc accounts for, and what their keys leave unsaid.

Tensors and keys tell most of a model; this table has what llama.cpp knows of an architecture by
name: which of its layers slide (src/models/<architecture>.cpp, load_arch_hparams), and which
model_type of transformers it is. One that is not here is refused by name.
"""

from collections.abc import Sequence
from typing import Literal

from kvcalc.frozen import frozen
from kvcalc.spec.layers import MAX_LAYERS


@frozen(kw_only=True)
class Architecture:
    """What stands in no key.

    model_type: of the Hugging Face config. with_experts: its model_type where layers have experts.
    window: which layers attention.sliding_window holds for: none of them (such a key is refused),
        every one, or all but each ``period``-th.
    default_window: the window where the file has none.
    gated_attention: the query projection holds an output gate as well.
    first_shared_kv: the layers from this on read an earlier layer's K and V, unless
        attention.shared_kv_layers says otherwise.
    note: what a reader of the answer should know: where the file has a window, or, for an
        architecture whose layers have none, where it has not.
    """

    model_type: str
    with_experts: str | None = None
    window: Literal["none", "every", "pattern"] = "none"
    period: int = 0
    default_window: int | None = None
    gated_attention: bool = False
    first_shared_kv: int | None = None
    note: str | None = None

    def slides(self, num_layers: int, stated: Sequence[bool] | int | None) -> Sequence[bool]:
        """Which layers have the window. stated: attention.sliding_window_pattern."""
        if isinstance(stated, Sequence):
            return stated
        if self.window != "pattern":
            return [self.window == "every"] * num_layers
        period = self.period if stated is None else stated
        return [period == 0 or index % period < period - 1 for index in range(num_layers)]


def _pattern(model_type: str, period: int, **fields: int) -> Architecture:
    return Architecture(
        model_type=model_type, window="pattern", period=period,
        default_window=fields.get("default_window"),
        first_shared_kv=fields.get("first_shared_kv"),
    )  # fmt: skip


ARCHITECTURES: dict[str, Architecture] = {
    "llama": Architecture(model_type="llama", with_experts="mixtral"),
    "arcee": Architecture(model_type="arcee"),
    "bloom": Architecture(model_type="bloom"),
    "codeshell": Architecture(model_type="codeshell"),
    "cohere2": _pattern("cohere2", 4),
    "command-r": Architecture(model_type="cohere"),
    "deepseek": Architecture(model_type="deepseek"),
    "deepseek2": Architecture(model_type="deepseek_v2"),
    "dots1": Architecture(model_type="dots1"),
    "ernie4_5": Architecture(model_type="ernie4_5"),
    "ernie4_5-moe": Architecture(model_type="ernie4_5_moe"),
    "exaone": Architecture(model_type="exaone"),
    "falcon": Architecture(model_type="falcon"),
    "falcon-h1": Architecture(model_type="falcon_h1"),
    "gemma": Architecture(model_type="gemma"),
    "gemma2": _pattern("gemma2", 2, default_window=4096),
    "gemma3": _pattern("gemma3_text", 6),
    "gemma3n": _pattern("gemma3n_text", 5, first_shared_kv=20),
    # Its keys say which layers slide and how many read another's K and V.
    "gemma4": _pattern("gemma4", 6, first_shared_kv=MAX_LAYERS),
    "glm4": Architecture(model_type="glm4"),
    "glm4moe": Architecture(model_type="glm4_moe"),
    "gpt-oss": _pattern("gpt_oss", 2),
    "gpt2": Architecture(model_type="gpt2"),
    "gptneox": Architecture(model_type="gpt_neox"),
    "granite": Architecture(model_type="granite"),
    "granitehybrid": Architecture(model_type="granitemoehybrid"),
    "granitemoe": Architecture(model_type="granitemoe"),
    "hunyuan-dense": Architecture(model_type="hunyuan_v1_dense"),
    "hunyuan-moe": Architecture(model_type="hunyuan_v1_moe"),
    "internlm2": Architecture(model_type="internlm2"),
    "jamba": Architecture(model_type="jamba"),
    "lfm2": Architecture(model_type="lfm2", window="every"),
    "lfm2moe": Architecture(model_type="lfm2_moe", window="every"),
    "mamba": Architecture(model_type="mamba"),
    "mamba2": Architecture(model_type="mamba2"),
    "minicpm": Architecture(model_type="minicpm"),
    "minimax-m2": Architecture(model_type="minimax_m2"),
    "mistral3": Architecture(model_type="ministral3"),
    "nemotron": Architecture(model_type="nemotron"),
    "nemotron_h": Architecture(model_type="nemotron_h"),
    "nemotron_h_moe": Architecture(model_type="nemotron_h"),
    "olmo": Architecture(model_type="olmo"),
    # With a window it is OLMo 3.
    "olmo2": _pattern("olmo2", 4),
    "olmoe": Architecture(model_type="olmoe"),
    "phi2": Architecture(model_type="phi"),
    "phi3": Architecture(
        model_type="phi3", window="every",
        note="the window holds for every layer, as in transformers; llama.cpp does not apply it",
    ),
    "phimoe": Architecture(model_type="phimoe", window="every"),
    "qwen2": Architecture(model_type="qwen2"),
    "qwen2moe": Architecture(model_type="qwen2_moe"),
    "qwen2vl": Architecture(model_type="qwen2_vl_text"),
    "qwen3": Architecture(model_type="qwen3"),
    "qwen3moe": Architecture(model_type="qwen3_moe"),
    "qwen35": Architecture(model_type="qwen3_5_text", gated_attention=True),
    "qwen35moe": Architecture(model_type="qwen3_5_moe_text", gated_attention=True),
    "qwen3next": Architecture(model_type="qwen3_next", gated_attention=True),
    "qwen3vl": Architecture(model_type="qwen3_vl_text"),
    "qwen3vlmoe": Architecture(model_type="qwen3_vl_moe_text"),
    "seed_oss": Architecture(model_type="seed_oss"),
    "smollm3": Architecture(model_type="smollm3"),
    "stablelm": Architecture(model_type="stablelm"),
    "starcoder": Architecture(model_type="gpt_bigcode"),
    "starcoder2": Architecture(
        model_type="starcoder2",
        note="GGUF files of starcoder2 leave out the sliding window of their configs (4096 tokens "
        "in StarCoder2): every layer is taken to see everything, as llama.cpp lets it",
    ),
}  # fmt: skip

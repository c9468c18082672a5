"""Microsoft Phi 1 to 3.5: parallel sublayers with LayerNorm and biases, then a Llama with experts.

Source: transformers 5.23, models/phi, phi3, phimoe .
"""

from kvcalc.convert.config import Config
from kvcalc.convert.families.llama import window_everywhere
from kvcalc.convert.parts import decoder, dense, moe, softmax
from kvcalc.spec.model import Block, ModelSpec


def phi(c: Config) -> ModelSpec:
    """One norm for attention and feed-forward; biases everywhere, the head's too."""
    qk_norm = "per_head_layernorm" if c.flag("qk_layernorm") else "none"
    attention = softmax(c, head_dim=c.divide("hidden_size", c.hidden_size, c.num_heads), bias=True,
                        qk_norm=qk_norm)  # fmt: skip
    block = Block(attention=attention, ffn=dense(c, bias=True), norms=1)
    return decoder(c, block, norm="layernorm", head_bias=True)


def phi3(c: Config) -> ModelSpec:
    """Llama without biases, its projections fused; the window holds for every layer."""
    c.skip("full_attn_mod", "interpolate_factor")
    return window_everywhere(c)


def phi4_multimodal(c: Config) -> ModelSpec:
    """Phi-3 with towers beside it, which kvcalc/convert/towers/phi.py reads."""
    c.skip("vision_config", "audio_config", "img_processor", "embd_layer", "audio_processor",
           "speech_lora", "vision_lora", "max_window_layers", "lm_head_bias")  # fmt: skip
    c.fixed("attention_bias", False, None, what="biases in attention")
    c.fixed("mlp_bias", False, None, what="biases in the feed-forward layers")
    c.fixed("lm_head_bias", False, None, what="a bias on the head")
    return window_everywhere(c)


def phimoe(c: Config) -> ModelSpec:
    """Experts of intermediate_size in every layer; LayerNorm."""
    attention = softmax(c, bias=c.flag("attention_bias"), sliding_window=c.maybe("sliding_window"))
    ffn = moe(c, experts="num_local_experts", width="intermediate_size")
    return decoder(c, Block(attention=attention, ffn=ffn), norm="layernorm",
                   head_bias=c.flag("lm_head_bias"))  # fmt: skip

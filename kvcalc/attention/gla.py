"""GLA, grouped latent attention: several narrow latents per token, each for its share of the heads.

Equation (Zadouri, Strauss and Dao 2025, arXiv 2505.21487). Elements kept per cached
position of one layer:

    n_c * d_c + d_R

    n_c  num_latent_heads: 2 in GLA-2; each serves num_attention_heads / n_c query heads
    d_c  kv_lora_rank: width of one latent (2 * head_dim in the paper)
    d_R  qk_rope_dim: one rotary key for all heads

Stored: every latent and the rotary key. Not stored: keys and values, rebuilt from the latents.
With n_c * d_c equal to MLA's kv_lora_rank it keeps as much as MLA on one device; tensor parallelism
divides the latents up to n_c ranks (then replicates them), and replicates the rotary key.

Worked number: n_c = 2, d_c = 256, d_R = 64: 576 elements as in MLA with 512 + 64; on two ranks 320
each, where MLA still keeps 576.

Not to be confused with gated linear attention, a recurrent layer of the same initials.
Reference code: Dao-AILab/grouped-latent-attention modeling_llama_GLA.py (LlamaFlashGLA).
"""

from collections.abc import Iterator
from typing import Literal

from kvcalc.counts import Heads, Latents, Width
from kvcalc.explanation import Explanation, Symbol
from kvcalc.frozen import frozen
from kvcalc.tensors import (
    EVERY_TOKEN,
    CacheTensor,
    ParamTensor,
    Part,
    Shard,
    linear,
    split,
    split_kv_heads,
)


@frozen(kw_only=True)
class GroupedLatentAttention:
    """Grouped latent attention.

    Fields:
        kind: gla.
        num_attention_heads: query heads.
        num_latent_heads: latents per token; the query heads are divided among them.
        head_dim: width of a head's key (without rotary part) and value, rebuilt from the latent.
        q_lora_rank: width of the query latent (8 * head_dim in the reference code).
        kv_lora_rank: width of one cached latent (2 * head_dim in the reference code).
        qk_rope_dim: width of the rotary key that all heads share; cached.
        bias: which projections carry a bias (in the reference code all but the output's do).
    """

    kind: Literal["gla"]
    num_attention_heads: Heads
    num_latent_heads: Latents
    head_dim: Width
    q_lora_rank: Width
    kv_lora_rank: Width
    qk_rope_dim: Width
    bias: tuple[Literal["q_a", "q_b", "kv_a", "kv_b", "o"], ...] = ("q_a", "q_b", "kv_a", "kv_b")

    def check(self) -> Iterator[tuple[str, str]]:
        """Yield (field, message) for every inconsistency."""
        heads, latents = self.num_attention_heads, self.num_latent_heads
        if heads % latents:
            yield "num_latent_heads", f"{heads} query heads cannot share {latents} latents evenly"

    def parameters(self, hidden_size: int) -> Iterator[ParamTensor]:
        """Every weight tensor of the layer's attention; all belong to ``attention``.

        On n_c ranks each holds one W_ukv whole; listed as an even part of every one, which is as
        many weights.
        """
        heads, latents = self.num_attention_heads, self.num_latent_heads
        query_dim, out_dim = heads * (self.head_dim + self.qk_rope_dim), heads * self.head_dim
        latent_dim, rebuilt = latents * self.kv_lora_rank, 2 * out_dim // latents
        latents_and_rope = Shard(0, (
            Part(latent_dim, latents, replicate=True), Part(self.qk_rope_dim, 1, replicate=True),
        ))  # fmt: skip
        yield from linear("W_dQ", self.q_lora_rank, hidden_size, "attention",
                          bias="q_a" in self.bias)  # fmt: skip
        yield ParamTensor("q_norm.weight", (self.q_lora_rank,), "attention")
        yield from linear("W_uQ_rope", query_dim, self.q_lora_rank, "attention",
                          bias="q_b" in self.bias, shard=split(0, query_dim, heads))  # fmt: skip
        yield from linear("W_dKV", latent_dim + self.qk_rope_dim, hidden_size, "attention",
                          bias="kv_a" in self.bias, shard=latents_and_rope)  # fmt: skip
        for number in range(1, latents + 1):
            yield ParamTensor(f"kv_norm_{number}.weight", (self.kv_lora_rank,), "attention")
            yield from linear(f"W_ukv_{number}", rebuilt, self.kv_lora_rank, "attention",
                              bias="kv_b" in self.bias,
                              shard=split(0, rebuilt, heads // latents))  # fmt: skip
        yield from linear("o_proj", hidden_size, out_dim, "attention",
                          bias="o" in self.bias, shard=split(1, out_dim, heads))  # fmt: skip

    def cache(self) -> Iterator[CacheTensor]:
        """Every tensor kept between decode steps, for one sequence."""
        latents = self.num_latent_heads
        yield CacheTensor("latent", (latents, self.kv_lora_rank), EVERY_TOKEN, "latent",
                          split_kv_heads(0, latents, latents), token_axis=1)  # fmt: skip
        yield CacheTensor("rope_key", (self.qk_rope_dim,), EVERY_TOKEN, "rope_key")

    def explain(self) -> Explanation:
        """The equation of what one layer keeps, with this layer's numbers."""
        return Explanation(
            title="grouped latent attention",
            symbols=(
                Symbol("n_c", "num_latent_heads", self.num_latent_heads, "latents per token"),
                Symbol("d_c", "kv_lora_rank", self.kv_lora_rank, "width of a latent"),
                Symbol("d_R", "qk_rope_dim", self.qk_rope_dim, "shared rotary key"),
            ),
            source="Zadouri et al. 2025, arXiv 2505.21487; "
            "Dao-AILab/grouped-latent-attention modeling_llama_GLA.py",
            stored="every latent and one rotary key for all heads",
            not_stored="keys and values per head: they are rebuilt from the latents",
            per_position="n_c * d_c + d_R",
            positions=str(EVERY_TOKEN),
        )


# Of a layer that its page shows where no shipped model has one.
EXAMPLE = {
    "num_attention_heads": 16, "num_latent_heads": 2, "head_dim": 128, "q_lora_rank": 1024,
    "kv_lora_rank": 256, "qk_rope_dim": 64,
}  # fmt: skip

"""Mixture of experts: a router sends each token to k of E experts; shared experts see every token.

    total  = router d*E + E * P_expert + shared          P_expert = 3 * d * f_e (gated), 2 * d * f_e (dense)
    active = router d*E + k * P_expert + shared

    d  hidden_size    E  num_experts    k  num_experts_per_tok    f_e  moe_intermediate_size

Sources: Shazeer et al. 2017, arXiv 1701.06538; DeepSeekMoE, arXiv 2401.06066 (shared experts);
DeepSeek-V3, arXiv 2412.19437, section 2.1.2 (router bias); Nemotron 3 (experts in a latent width l:
d*l down, E experts of width l, l*d up). No cache: experts add nothing to it.

A router bias that balances load without a loss (DeepSeek's e_score_correction_bias) is a buffer in
transformers and a weight in checkpoints: ``router_bias: buffer`` counts it apart. Hash routing
(DeepSeek-V4's first layers) looks experts up by token id, in a buffer of [vocab, k].

Worked number: DeepSeek-V3, d = 7168, E = 256, k = 8, f_e = 2048, one shared expert:
router 1,835,008; experts 11,274,289,152; shared 44,040,192.
"""

from collections.abc import Iterator
from typing import Literal

from kvcalc.counts import Chosen, Experts, Inner, Rows, Scaled
from kvcalc.frozen import frozen
from kvcalc.tensors import CacheTensor, ParamTensor, Part, Shard, linear, split


@frozen(kw_only=True)
class MixtureOfExperts:
    """Routed experts, with shared experts beside them.

    Fields:
        kind: moe.
        num_experts: routed experts.
        num_experts_per_tok: experts that one token passes.
        moe_intermediate_size: inner width of one expert.
        expert: gated (three matrices) or dense (two).
        expert_bias: the experts' projections have biases (gpt-oss).
        output_bias: one bias of hidden_size on what the experts add up to (JetMoE).
        router_bias: none; parameter (gpt-oss); buffer, counted apart (DeepSeek-V3).
        router_scale: the router scales its input by a weight of hidden_size and each expert's
            output by a weight of its own (Gemma 4).
        shared_expert_intermediate_size: inner width of all shared experts together; null for none.
        shared_expert_bias: the shared experts' projections have biases (Ernie 4.5).
        shared_expert_gate: a learned gate of hidden_size on the shared expert (Qwen2-MoE).
        latent_size: experts work in this width, between two projections (Nemotron 3).
        num_zero_experts: identity experts: router rows without weights (LongCat-Flash).
        hash_vocab_size: experts are looked up by token id in a buffer of this many rows.
    """

    kind: Literal["moe"]
    num_experts: Experts
    num_experts_per_tok: Chosen
    moe_intermediate_size: Inner
    expert: Literal["gated", "dense"] = "gated"
    expert_bias: bool = False
    output_bias: bool = False
    router_bias: Literal["none", "parameter", "buffer"] = "none"
    router_scale: bool = False
    shared_expert_intermediate_size: Inner | None = None
    shared_expert_bias: bool = False
    shared_expert_gate: bool = False
    latent_size: Scaled | None = None
    num_zero_experts: Experts | None = None
    hash_vocab_size: Rows | None = None

    def check(self) -> Iterator[tuple[str, str]]:
        """Yield (field, message) for every inconsistency."""
        routed = self.num_experts + (self.num_zero_experts or 0)
        if self.num_experts_per_tok > routed:
            yield (
                "num_experts_per_tok",
                f"a token cannot pass {self.num_experts_per_tok} of {routed}",
            )
        if self.shared_expert_gate and self.shared_expert_intermediate_size is None:
            yield "shared_expert_gate", "there is no shared expert to gate"
        if self.shared_expert_bias and self.shared_expert_intermediate_size is None:
            yield "shared_expert_bias", "there is no shared expert to have biases"

    def parameters(self, hidden_size: int) -> Iterator[ParamTensor]:
        """Router, routed experts (``experts``) and shared experts (``ffn``)."""
        num_experts = self.num_experts
        routed = num_experts + (self.num_zero_experts or 0)
        yield from linear(
            "router", routed, hidden_size, "router", bias=self.router_bias == "parameter"
        )
        if self.router_bias == "buffer":
            yield ParamTensor("router.e_score_correction_bias", (routed,), "router", buffer=True)
        if self.router_scale:
            yield ParamTensor("router.scale", (hidden_size,), "router")
            yield ParamTensor("router.per_expert_scale", (num_experts,), "router")
        if self.hash_vocab_size is not None:
            table = (self.hash_vocab_size, self.num_experts_per_tok)
            yield ParamTensor("router.tid2eid", table, "router", buffer=True)
        yield from self._experts(self.latent_size or hidden_size)
        if self.latent_size is not None:
            yield from linear("latent_down_proj", self.latent_size, hidden_size, "ffn")
            yield from linear("latent_up_proj", hidden_size, self.latent_size, "ffn")
        if self.output_bias:
            yield ParamTensor("experts.bias", (hidden_size,), "experts")
        shared = self.shared_expert_intermediate_size
        if shared is not None:
            names = ("gate_proj", "up_proj") if self.expert == "gated" else ("up_proj",)
            for name in names:
                yield from linear(f"shared_expert.{name}", shared, hidden_size, "ffn",
                                  bias=self.shared_expert_bias, shard=split(0, shared))  # fmt: skip
            yield from linear("shared_expert.down_proj", hidden_size, shared, "ffn",
                              bias=self.shared_expert_bias, shard=split(1, shared))  # fmt: skip
            if self.shared_expert_gate:
                yield from linear("shared_expert_gate", 1, hidden_size, "ffn")

    def _experts(self, hidden_size: int) -> Iterator[ParamTensor]:
        """The routed experts, stacked along axis 0 as libraries keep them."""
        num_experts, width = self.num_experts, self.moe_intermediate_size
        # A zero expert can take a token's slot, so k is an upper bound there.
        active = min(self.num_experts_per_tok, num_experts)
        num_halves = 2 if self.expert == "gated" else 1
        name, rows = ("gate_up_proj", "up_proj")[2 - num_halves], num_halves * width
        halves = (Part(width, width),) * num_halves
        yield ParamTensor(f"experts.{name}", (num_experts, rows, hidden_size), "experts",
                          Shard(1, halves), active, quantised=True, fused=num_halves)  # fmt: skip
        yield ParamTensor("experts.down_proj", (num_experts, hidden_size, width), "experts",
                          split(2, width), active, quantised=True)  # fmt: skip
        if self.expert_bias:
            yield ParamTensor(f"experts.{name}_bias", (num_experts, rows), "experts",
                              Shard(1, halves), active)  # fmt: skip
            yield ParamTensor("experts.down_proj_bias", (num_experts, hidden_size), "experts",
                              None, active)  # fmt: skip

    def cache(self) -> Iterator[CacheTensor]:
        """A feed-forward layer keeps nothing."""
        yield from ()

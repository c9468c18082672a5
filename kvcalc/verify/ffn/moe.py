"""Mixture of experts with real routing: a token passes k of E experts, and the shared ones.

    y = sum over the top k of g_e * Expert_e(x)  +  Shared(x)          g = softmax of the k scores

The experts are stacked along axis 0; a token's k experts are looked up there. A token's route
depends on that token alone, so nothing is kept. A zero expert returns its input (LongCat-Flash).
"""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

from kvcalc.ffn.moe import MixtureOfExperts as Fields
from kvcalc.verify.parts import Linear, Module, State, Step, rms, up, weight


class Router(Module):
    """Scores of all experts for each token: (B, T, E)."""

    def __init__(self, c: Fields, hidden_size: int) -> None:
        super().__init__()
        self.c = c
        routed = c.num_experts + (c.num_zero_experts or 0)
        self.weight = weight(routed, hidden_size)
        if c.router_bias == "parameter":
            self.bias = weight(routed)
        elif c.router_bias == "buffer":
            self.register_buffer("e_score_correction_bias", torch.empty(routed))
        if c.router_scale:
            self.scale = weight(hidden_size)
            self.per_expert_scale = weight(c.num_experts)
        if c.hash_vocab_size is not None:
            table = torch.empty(c.hash_vocab_size, c.num_experts_per_tok, dtype=torch.int64)
            self.register_buffer("tid2eid", table)

    def forward(self, x: Tensor) -> Tensor:
        if self.c.router_scale:
            x = rms(x) * self.scale
        bias = self.bias if self.c.router_bias == "parameter" else None
        return F.linear(x, self.weight, bias)

    def choose(self, scores: Tensor, token_ids: Tensor) -> tuple[Tensor, Tensor]:
        """The k experts of each token and their shares, (B, T, k) each."""
        k = self.c.num_experts_per_tok
        if self.c.hash_vocab_size is not None:
            chosen = self.get_buffer("tid2eid")[token_ids % self.c.hash_vocab_size]
        else:
            ranked = scores
            if self.c.router_bias == "buffer":
                # DeepSeek-V3: the balancing bias decides who is chosen, not the share.
                ranked = scores.sigmoid() + self.get_buffer("e_score_correction_bias")
            chosen = ranked.topk(k, -1).indices
        shares = up(scores.gather(-1, chosen)).softmax(-1).to(scores.dtype)
        if self.c.router_scale:
            shares = shares * self.per_expert_scale[chosen.clamp(max=self.c.num_experts - 1)]
        return chosen, shares


class Experts(Module):
    """All experts, stacked: (E, out, in)."""

    def __init__(self, c: Fields, width: int, hidden_size: int) -> None:
        super().__init__()
        self.c = c
        if c.output_bias:
            # JetMoE's, on what the experts add up to.
            self.bias = weight(hidden_size)
        # Ranks that hold a share of the inner width add up their results; see verify/shards.py.
        self.total: Callable[[Tensor], Tensor] = torch.Tensor.contiguous
        E, f = c.num_experts, c.moe_intermediate_size
        if c.expert == "gated":
            self.gate_up_proj = weight(E, 2 * f, width)
        else:
            self.up_proj = weight(E, f, width)
        self.down_proj = weight(E, width, f)
        if c.expert_bias:
            if c.expert == "gated":
                self.gate_up_proj_bias = weight(E, 2 * f)
            else:
                self.up_proj_bias = weight(E, f)
            self.down_proj_bias = weight(E, width)

    def forward(self, x: Tensor, chosen: Tensor) -> Tensor:
        """x (N, w), chosen (N, k) -> (N, k, w)."""
        c = self.c
        gated = c.expert == "gated"
        index = chosen.clamp(max=c.num_experts - 1)
        inner = torch.einsum(
            "nw,nkfw->nkf", x, (self.gate_up_proj if gated else self.up_proj)[index]
        )
        if c.expert_bias:
            inner = inner + (self.gate_up_proj_bias if gated else self.up_proj_bias)[index]
        if gated:
            gate, value = inner.chunk(2, -1)
            inner = F.silu(gate) * value
        else:
            inner = F.relu(inner).square()
        y = self.total(torch.einsum("nkf,nkwf->nkw", inner, self.down_proj[index]))
        if c.expert_bias:
            y = y + self.down_proj_bias[index]
        if c.num_zero_experts is not None:
            y = torch.where((chosen >= c.num_experts)[..., None], x[:, None], y)
        return y


class SharedExpert(Module):
    """The expert that every token passes."""

    def __init__(self, c: Fields, hidden_size: int, width: int) -> None:
        super().__init__()
        self.gated, bias = c.expert == "gated", c.shared_expert_bias
        if self.gated:
            self.gate_proj = Linear(hidden_size, width, bias)
        self.up_proj = Linear(hidden_size, width, bias)
        self.down_proj = Linear(width, hidden_size, bias)

    def forward(self, x: Tensor) -> Tensor:
        if self.gated:
            return self.down_proj(F.silu(self.gate_proj(x)) * self.up_proj(x))
        return self.down_proj(F.relu(self.up_proj(x)).square())


class MixtureOfExperts(Module):
    """Router, routed experts and shared experts."""

    def __init__(self, c: Fields, hidden_size: int) -> None:
        super().__init__()
        self.c = c
        self.router = Router(c, hidden_size)
        self.experts = Experts(c, c.latent_size or hidden_size, hidden_size)
        if c.latent_size is not None:
            self.latent_down_proj = Linear(hidden_size, c.latent_size)
            self.latent_up_proj = Linear(c.latent_size, hidden_size)
        if c.shared_expert_intermediate_size is not None:
            width = c.shared_expert_intermediate_size
            self.shared_expert = SharedExpert(c, hidden_size, width)
            if c.shared_expert_gate:
                self.shared_expert_gate = Linear(hidden_size, 1)

    def forward(self, x: Tensor, cache: State | None, step: Step) -> Tensor:
        c = self.c
        chosen, shares = self.router.choose(self.router(x), step.token_ids)  # (B, T, k) each
        narrow = x if c.latent_size is None else self.latent_down_proj(x)
        each = self.experts(narrow.flatten(0, 1), chosen.flatten(0, 1))  # (B * T, k, w)
        y = (each * shares.flatten(0, 1)[..., None]).sum(1).view_as(narrow)  # (B, T, w)
        if c.latent_size is not None:
            y = self.latent_up_proj(y)
        if c.output_bias:
            y = y + self.experts.bias
        if c.shared_expert_intermediate_size is not None:
            shared = self.shared_expert(x)
            if c.shared_expert_gate:
                shared = shared * self.shared_expert_gate(x).sigmoid()
            y = y + shared
        return y

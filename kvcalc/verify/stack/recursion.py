"""Mixture of recursions: shared layers that fewer and fewer tokens pass again.

Which tokens pass recursion r is decided when they arrive and never taken back, so that a full pass
and a decode step agree.

Expert choice: of a prompt of P tokens the max(1, floor(c_r P)) with the highest router scores pass
(among those that passed r - 1). A token generated at position t afterwards passes when the
recursion's share of t + 1 tokens has room for one more than its share of t. (The paper picks the
top k of a sequence, which looks at later tokens, and trains an auxiliary loss so that a threshold
does the same at inference; how many pass is then a matter of the weights. Here it is the share that
the paper's own memory figures assume.)

Token choice: each token chooses its depth once, by its router's highest score.

What a recursion adds is weighed by the router's score. Kept, per_recursion: each recursion's own
keys and values. Kept, shared: those of the first one, which all tokens pass and the later ones read.
"""

from fractions import Fraction
from typing import Any

import torch
from torch import Tensor, nn

from kvcalc.stack.recursion import Recursion
from kvcalc.verify.parts import Linear, Module


class MlpRouter(Module):
    """A router of two matrices."""

    def __init__(self, hidden_size: int, outputs: int) -> None:
        super().__init__()
        self.up_proj = Linear(hidden_size, 2 * hidden_size)
        self.down_proj = Linear(2 * hidden_size, outputs)

    def forward(self, x: Tensor) -> Tensor:
        return self.down_proj(nn.functional.gelu(self.up_proj(x)))


def routers(c: Recursion, hidden_size: int) -> nn.ModuleList:
    """One router per recursion that scores tokens, or one that scores depths."""
    one = c.routing == "token_choice"
    outputs = c.num_recursions if one else 1
    make: Any = MlpRouter if c.router == "mlp" else Linear
    return nn.ModuleList(make(hidden_size, outputs) for _ in range(1 if one else c.num_recursions))


def turns(c: Recursion, num_layers: int) -> list[tuple[int, int | None]]:
    """For each layer: the layer whose weights it uses, and which recursion it is."""
    ends = 1 if c.sharing.startswith("middle") else 0
    depth = (num_layers - 2 * ends) // c.num_recursions
    inner: list[tuple[int, int | None]]
    if c.sharing.endswith("cycle"):
        inner = [(ends + unit, turn) for turn in range(c.num_recursions) for unit in range(depth)]
    else:
        inner = [(ends + unit * c.num_recursions, turn)
                 for unit in range(depth) for turn in range(c.num_recursions)]  # fmt: skip
    if not ends:
        return inner
    return [(0, None), *inner, (num_layers - 1, None)]


def capacity(c: Recursion, turn: int) -> Fraction:
    """The share of the tokens that pass a recursion under expert choice."""
    if c.kv_cache == "shared" and turn == 0:
        return Fraction(1)
    return (
        c.capacities[turn] if c.capacities else Fraction(c.num_recursions - turn, c.num_recursions)
    )


class Routing:
    """Who passes which recursion, within one forward pass of one sequence.

    prompt: tokens of the first pass. forced_depth: every token's depth, for measuring the extremes
    of token choice.
    """

    def __init__(
        self, c: Recursion, modules: nn.ModuleList, prompt: int, forced_depth: int | None
    ) -> None:
        self.c, self.modules, self.prompt, self.forced_depth = c, modules, prompt, forced_depth
        self.active: list[int] = []
        self.gates: dict[int, Tensor] = {}
        self.depths: list[int] = []

    def enter(self, turn: int, x: Tensor, positions: list[int]) -> list[int]:
        """x (1, T, d): which of the new tokens pass recursion ``turn``, by their index."""
        if turn == 0:
            self.active = list(range(len(positions)))
        if self.c.routing == "token_choice":
            self._choose_depths(turn, x)
        else:
            self._choose_tokens(turn, x, positions)
        return self.active

    def _choose_depths(self, turn: int, x: Tensor) -> None:
        if turn == 0:
            shares = self.modules[0](x)[0].softmax(-1)  # (T, N_r)
            chosen = shares.max(-1)
            self.depths = [int(depth) + 1 for depth in chosen.indices.tolist()]
            if self.forced_depth is not None:
                self.depths = [self.forced_depth] * len(self.depths)
            self.gates = dict(enumerate(chosen.values))
        self.active = [token for token in self.active if self.depths[token] > turn]

    def _choose_tokens(self, turn: int, x: Tensor, positions: list[int]) -> None:
        share = capacity(self.c, turn)
        scores = self.modules[turn](x)[0, :, 0].sigmoid()  # (T,)
        self.gates = dict(enumerate(scores))
        prompt = [token for token in self.active if positions[token] < self.prompt]
        passing = []
        if prompt:
            ranked = sorted(prompt, key=lambda token: -float(scores[token]))
            passing = sorted(ranked[: quota(share, self.prompt)])
        passing += [
            token
            for token in self.active
            if positions[token] >= self.prompt
            and quota(share, positions[token] + 1) > quota(share, positions[token])
        ]
        self.active = passing

    def weighed(self, x: Tensor, y: Tensor, chosen: list[int]) -> Tensor:
        """The residual stream with what the chosen tokens' layer changed, times their gates."""
        index = torch.tensor(chosen, device=x.device)
        before = x[:, index]
        gate = torch.stack([self.gates[token] for token in chosen]).view(1, -1, 1)
        return x.index_copy(1, index, before + gate * (y - before))


def quota(share: Fraction, tokens: int) -> int:
    """How many of the first ``tokens`` tokens a recursion takes."""
    return max(1, tokens * share.numerator // share.denominator) if tokens else 0

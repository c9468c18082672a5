"""TPA: keys and values as sums of outer products of head factors a and channel factors b.

    K_t = 1 / R_K sum_r a_r outer b_r          a_r (h), b_r (d_h), b of keys and queries rotated

Kept: the factors that depend on the token: ``key_a`` (B, S, h, R_K), ``key_b`` (B, S, R_K, d_h),
``value_a`` and ``value_b`` likewise. Keys and values are their products, made in every step.
"""

from torch import Tensor, nn

from kvcalc.attention.tpa import TensorProductAttention as Fields
from kvcalc.verify.parts import (
    Linear,
    Module,
    Norm,
    Sight,
    State,
    Step,
    append,
    attend,
    heads,
    merged,
    rotary,
    unfold,
    weight,
)


class Factors(nn.Module):
    """The projections (CPLinear) or weights that make A and B of Q, K and V."""

    def __init__(self, c: Fields, hidden_size: int, ranks: dict[str, int | None]) -> None:
        super().__init__()
        h, d_h = c.num_attention_heads, c.head_dim
        for side, rank in ranks.items():
            if rank is None:
                self.c_q = Linear(hidden_size, h * d_h)
                continue
            if c.factors == "noncontextual_a":
                self.register_parameter(f"A_{side}", weight(h, rank))
            else:
                self.add_module(f"W_A_{side}", Linear(hidden_size, h * rank))
            if c.factors == "noncontextual_b":
                self.register_parameter(f"B_{side}", weight(rank, d_h))
            else:
                self.add_module(f"W_B_{side}", Linear(hidden_size, rank * d_h))

    def made(self, name: str, x: Tensor, rows: int) -> Tensor:
        """Factor ``A_q`` .. ``B_v``: (B, T, rows, columns), or (rows, columns) of the weights."""
        if name in self._parameters:
            return self.get_parameter(name)
        y: Tensor = self.get_submodule(f"W_{name}")(x)
        return unfold(y, -1, (rows, -1))


class TensorProductAttention(Module):
    """Tensor product attention; no factor that is a weight is kept."""

    def __init__(self, c: Fields, hidden_size: int) -> None:
        super().__init__()
        self.c = c
        self.ranks = {"q": c.q_rank, "k": c.rank, "v": c.rank if c.v_rank is None else c.v_rank}
        self.c_qkv = Factors(c, hidden_size, self.ranks)
        if c.using_groupnorm:
            self.subln = Norm(c.head_dim)
        self.c_proj = Linear(c.num_attention_heads * c.head_dim, hidden_size)
        self.sight = Sight()

    def forward(self, x: Tensor, cache: State | None, step: Step) -> Tensor:
        c = self.c
        mask = self.sight.mask(step.order, self.sight.kept(step, cache))
        if c.q_rank is None:
            q = rotary(heads(self.c_qkv.c_q(x), c.num_attention_heads), step.positions)
        else:
            q = self._product(*self._factors("q", x, step), c.q_rank)  # (B, h, T, d_h)
        sides = []
        for side, role in (("k", "key"), ("v", "value")):
            a, b = self._factors(side, x, step)
            if c.factors != "noncontextual_a":
                a = append(cache, f"{role}_a", a, 1)  # (B, S, h, R)
                self.sight.keep(cache, f"{role}_a", a, 1, step)
            if c.factors != "noncontextual_b":
                b = append(cache, f"{role}_b", b, 1)  # (B, S, R, d_h)
                self.sight.keep(cache, f"{role}_b", b, 1, step)
            rank = self.ranks[side]
            assert rank is not None
            sides.append(self._product(a, b, rank))  # (B, h, S, d_h)
        y = attend(q, sides[0], sides[1], mask)  # (B, h, T, d_h)
        return self.c_proj(merged(self.subln(y) if c.using_groupnorm else y))

    def _factors(self, side: str, x: Tensor, step: Step) -> tuple[Tensor, Tensor]:
        a = self.c_qkv.made(f"A_{side}", x, self.c.num_attention_heads)  # (B, T, h, R)
        b = self.c_qkv.made(f"B_{side}", x, self.ranks[side] or 0)  # (B, T, R, d_h)
        if side != "v" and b.dim() == 4:
            b = rotary(b.transpose(1, 2), step.positions).transpose(1, 2)
        return a, b

    @staticmethod
    def _product(a: Tensor, b: Tensor, rank: int) -> Tensor:
        """(B, h, S, d_h) from the two factors; one that is a weight serves all tokens."""
        y = a @ b / rank  # (B, S, h, d_h)
        return y.transpose(1, 2)

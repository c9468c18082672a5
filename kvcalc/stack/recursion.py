"""MoR, mixture of recursions: a block of layers passed several times, by fewer tokens each time.

Equation (Bae et al. 2025, arXiv 2507.10524). With L layers in total, N_r recursions and b layers
of weights in the recursion:

    cycle            b = L / N_r         layer l uses weights l mod b      (1 2 3)(1 2 3)(1 2 3)
    sequence         b = L / N_r         layer l uses weights l // N_r     (1 1 1)(2 2 2)(3 3 3)
    middle_*         b = (L - 2) / N_r   the same between a first and a last layer of their own

    layers of cache, per_recursion   2 + b * (c_0 + c_1 + ... )     shared   2 + b     (middle_*)

    c_r  share of the tokens that recursion r = 0 .. N_r - 1 sees. Expert choice: capacities,
         (N_r - r) / N_r unless stated, max(1, floor(c_r * S)) of S tokens. Token choice: the share
         of the tokens whose chosen depth is above r.

It is no attention type: it multiplies or divides whichever attention it wraps. Weight tying alone
saves no cache. "1 / N_r" holds only for the shared cache and not for the outer layers of middle_*.
Stored: K and V of the tokens that a recursion sees (per_recursion), or of the first recursion only
(shared). Routers: d weights per recursion (expert choice), d * N_r (token choice).
The reference code floors b and drops the layers that are left over; here that is an error.

Worked number: SmolLM-360M, L = 32, N_r = 3, middle_cycle: b = 10, 12 layers of weights with
117,988,800 parameters beside the embedding; a cache of 22 layers, or 12 when shared, of 32.

Reference code: raymin0223/mixture_of_recursions, util/config.py and model/sharing_strategy.
"""

from collections.abc import Iterator
from fractions import Fraction
from typing import Literal

from kvcalc.counts import Layers
from kvcalc.frozen import frozen
from kvcalc.tensors import ParamTensor, linear

Case = Literal["least", "expected", "worst"]


@frozen(kw_only=True)
class Recursion:
    """Mixture of recursions over the whole stack.

    Fields:
        num_recursions: how often the shared layers are passed (N_r).
        sharing: which layers share weights; middle_* keeps the first and the last layer apart.
        kv_cache: per_recursion caches each recursion's own tokens, shared reuses the first's.
        routing: expert_choice keeps a fixed share of the tokens at each recursion; token_choice
            lets each token choose its depth.
        capacities: share of the tokens at each recursion (expert_choice); (N_r - r) / N_r if absent.
        depths: share of the tokens that stop at each depth 1..N_r (token_choice).
        router: linear (a vector per recursion), or mlp.
    """

    num_recursions: Layers
    sharing: Literal["cycle", "sequence", "middle_cycle", "middle_sequence"]
    kv_cache: Literal["per_recursion", "shared"]
    routing: Literal["expert_choice", "token_choice"]
    capacities: tuple[Fraction, ...] = ()
    depths: tuple[Fraction, ...] = ()
    router: Literal["linear", "mlp"] = "linear"

    def check(self) -> Iterator[tuple[str, str]]:
        """Yield (field, message) for every inconsistency."""
        num = self.num_recursions
        if num < 2:
            yield "num_recursions", "one recursion is a plain stack"
        if self.capacities and len(self.capacities) != num:
            yield "capacities", f"give {num} shares"
        if list(self.capacities) != sorted(self.capacities, reverse=True):
            yield "capacities", "a token that was dropped does not return"
        if self.kv_cache == "shared" and self.capacities and self.capacities[0] != 1:
            yield (
                "capacities",
                "a shared cache is the first recursion's, which every token passes: 1",
            )
        if self.depths and (len(self.depths) != num or sum(self.depths) != 1):
            yield "depths", f"give {num} shares that add up to 1"
        if self.routing == "token_choice" and self.capacities:
            yield "capacities", "capacities go with expert_choice; token_choice has depths"
        if self.routing == "expert_choice" and self.depths:
            yield "depths", "depths go with token_choice; expert_choice has capacities"

    def places(self, num_layers: int) -> list[tuple[int, int | None]]:
        """For each layer: the layer whose weights it uses, and its recursion (None outside).

        Raises ValueError when the layers do not divide.
        """
        num, ends = self.num_recursions, 1 if self.sharing.startswith("middle") else 0
        inner = num_layers - 2 * ends
        depth, rest = divmod(inner, num)
        if rest or depth < 1:
            between = " between the first and the last" if ends else ""
            raise ValueError(
                f"{inner} layers{between} do not divide into {num} recursions; "
                f"{inner - rest + 2 * ends} layers in all would (none is dropped silently)"
            )
        placed: list[tuple[int, int | None]] = []
        for index in range(num_layers):
            place = index - ends
            if not 0 <= place < inner:
                placed.append((index, None))
            elif self.sharing.endswith("cycle"):
                placed.append((ends + place % depth, place // depth))
            else:
                placed.append((ends + place // num * num, place % num))
        return placed

    def token_share(self, turn: int, case: Case) -> Fraction | None:
        """The share of the tokens that recursion ``turn`` keeps; None when it is not known."""
        num = self.num_recursions
        if self.kv_cache == "shared":
            return Fraction(1 if turn == 0 else 0)
        if self.routing == "expert_choice":
            return self.capacities[turn] if self.capacities else Fraction(num - turn, num)
        if case == "worst" or turn == 0:
            return Fraction(1)
        if case == "least":
            return Fraction(0)
        return sum(self.depths[turn:], Fraction(0)) if self.depths else None

    def routed(self, turns: list[int], share: Fraction, tokens: int, kept: int) -> str:
        """Which tokens the layers of some recursions keep, and what decides that (expert choice)."""
        num = self.num_recursions
        origin = (
            "recursion.capacities of the spec"
            if self.capacities
            else f"(N_r - r) / N_r with N_r = {num} and r = {turns[0]}, as recursion.capacities is "
            f"not stated"
        )
        names = " and ".join(str(turn + 1) for turn in turns)
        return (
            f"{share} of the tokens, max(1, floor({share} * {tokens})) = {kept}: those that the "
            f"router of recursion {names} of {num} lets through (expert choice: {origin})"
        )

    def routers(self, hidden_size: int) -> Iterator[tuple[ParamTensor, ...]]:
        """The routers' weights: one per recursion under expert choice, one in all under token
        choice. Each stands where its recursion begins."""
        expert_choice = self.routing == "expert_choice"
        outputs = 1 if expert_choice else self.num_recursions
        for copy in range(self.num_recursions if expert_choice else 1):
            name = f"recursion_router.{copy}"
            if self.router == "mlp":
                yield (
                    *linear(f"{name}.up_proj", 2 * hidden_size, hidden_size, "router"),
                    *linear(f"{name}.down_proj", outputs, 2 * hidden_size, "router"),
                )
            else:
                yield tuple(linear(name, outputs, hidden_size, "router"))

"""How many devices share a model, and what each of them divides."""

from kvcalc.frozen import frozen


@frozen
class Layout:
    """Ranks of each kind.

    tensor, pipeline: ranks that divide the heads, and the layers. data: replicas of the attention,
    each with requests of its own. expert: the routed experts are dealt out whole over the tensor
    and data ranks of a stage, instead of each being cut. towers_whole: each tensor rank holds towers
    whole, where the engine asks (vLLM's --mm-encoder-tp-mode data).
    """

    tensor: int = 1
    pipeline: int = 1
    data: int = 1
    expert: bool = False
    towers_whole: bool = False

    @property
    def devices(self) -> int:
        return self.tensor * self.pipeline * self.data

    @property
    def expert_ranks(self) -> int:
        """Ranks that the routed experts are dealt out over; 1 where each is cut."""
        return self.tensor * self.data if self.expert else 1

    def __str__(self) -> str:
        parts = [f"TP {self.tensor}", f"PP {self.pipeline}"]
        if self.data > 1:
            parts.append(f"DP {self.data}")
        if self.expert:
            parts.append(f"EP {self.expert_ranks}")
        return " x ".join(parts)

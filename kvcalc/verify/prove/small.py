"""A small model that proofs run: its inputs, and how its tokens are cut into passes."""

from functools import cached_property
from itertools import pairwise

import torch

from kvcalc.spec.model import ModelSpec
from kvcalc.verify.build import filled
from kvcalc.verify.model import ModelCache, ReferenceModel, source_shape
from kvcalc.verify.plan import plan


class Run:
    """A small model, its inputs, and how many tokens to run."""

    def __init__(self, spec: ModelSpec) -> None:
        self.spec, self.plan = spec, plan(spec)
        generator = torch.Generator().manual_seed(1)
        self.ids = torch.randint(0, spec.vocab_size, (1, self.plan.tokens), generator=generator)
        self.source = self._source(generator)

    def _source(self, generator: torch.Generator) -> torch.Tensor | None:
        if self.spec.encoder is None:
            return None
        shape = source_shape(self.spec, 1, self.plan.encoder_tokens)
        if len(shape) == 2:
            return torch.randint(0, self.spec.vocab_size, shape, generator=generator)
        return torch.randn(shape, generator=generator, dtype=torch.float64)

    @cached_property
    def model(self) -> ReferenceModel:
        """The model in float64."""
        return filled(self.spec)

    def in_dtype(self, dtype: torch.dtype) -> tuple[ReferenceModel, torch.Tensor | None]:
        """The same model in another precision."""
        model = filled(self.spec).to(dtype)
        source = self.source
        if source is not None and source.is_floating_point():
            source = source.to(dtype)
        return model, source

    def steps(self, *cuts: int) -> list[tuple[int, int]]:
        """Stretches of tokens: up to each cut at once, then one by one."""
        edges = [0, *cuts, *range(cuts[-1] + 1, self.plan.tokens + 1)]
        return list(pairwise(edges))

    def decode(self, *cuts: int) -> tuple[torch.Tensor, ModelCache]:
        """Logits of every token and the cache, decoding in these stretches."""
        cache, outputs = ModelCache(), []
        for start, end in self.steps(*cuts):
            source = self.source if start == 0 else None
            outputs.append(self.model(self.ids[:, start:end], cache, source))
        return torch.cat(outputs, 1), cache

    @property
    def encoder_only(self) -> bool:
        """No layer of the stack is causal: nothing is decoded."""
        blocks = [self.spec.blocks[name] for name in self.model.names]
        return all(block.is_bidirectional and block.recurrent is None for block in blocks)

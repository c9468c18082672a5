"""The question: how many sequences of how many tokens, in which number formats, on how many devices."""

from kvcalc.dtypes import CacheDtypes
from kvcalc.frozen import frozen


@frozen(kw_only=True)
class Workload:
    """What is asked of a model.

    context_tokens: cached positions of one sequence; the answer is the most held at any length up
        to it. batch_size: sequences. encoder_tokens: encoder positions of one sequence.
    beams: beams per sequence, each with a cache of its own.
    dtype: number format of the weights; ``checkpoint`` takes the spec's ``weight_dtypes``.
    cache: number formats of keys, values and states.
    tensor, pipeline: ranks of tensor and pipeline parallelism.
    """

    context_tokens: int
    batch_size: int = 1
    encoder_tokens: int = 0
    beams: int = 1
    dtype: str = "bf16"
    cache: CacheDtypes = CacheDtypes()
    tensor: int = 1
    pipeline: int = 1

    @property
    def num_sequences(self) -> int:
        """Sequences that have a cache: beams do not share one."""
        return self.batch_size * self.beams

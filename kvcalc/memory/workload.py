"""The question: how many sequences of how many tokens, in which number formats, on how many devices.

``Asked`` is what a person said of it; ``kvcalc.memory.estimate.choose_workload`` fills in the rest for a
model and makes a ``Workload`` of it, which every request and every answer contains.
"""

from kvcalc.dtypes import CacheDtypes
from kvcalc.frozen import frozen
from kvcalc.media.asked import MediaWords
from kvcalc.media.words import LargestItem, MediaItem
from kvcalc.memory.asked_beside import Beside
from kvcalc.memory.layout import Layout


@frozen(kw_only=True)
class Asked:
    """A workload as far as it was said; None takes the model's.

    context_tokens: cached positions of one sequence. batch_size: sequences. encoder_tokens: encoder
    positions of one sequence. beams: beams per sequence. dtype: number format of the weights.
    kv_dtype: of the cache, ``q8_0:bf16`` for keys and values. state_dtype: of recurrent states.
    media: images and sound of one sequence, whose places come on top of context_tokens; put: the
    same as it was written, until the model's processor is known. largest_item: as the workload's.
    beside: what is loaded beside the model.
    """

    context_tokens: int | None = None
    batch_size: int = 1
    encoder_tokens: int | None = None
    beams: int = 1
    dtype: str | None = None
    kv_dtype: str = "bf16"
    state_dtype: str | None = None
    layout: Layout = Layout()
    media: tuple[MediaItem, ...] = ()
    put: MediaWords = MediaWords()
    largest_item: LargestItem | None = None
    beside: Beside = Beside()


@frozen(kw_only=True)
class Workload:
    """What is asked of a model.

    context_tokens: cached positions of one sequence; the answer is the most held at any length up
        to it. batch_size: sequences. encoder_tokens: encoder positions of one sequence.
    beams: beams per sequence, each with a cache of its own.
    dtype: number format of the weights; ``checkpoint`` takes the spec's ``weight_dtypes``.
    cache: number formats of keys, values and states.
    layout: the devices that share it.
    media: images and sound of one sequence; their places are among context_tokens.
    largest_item: of each modality, as the model's processors make it; None: not asked.
    beside: what is loaded beside the model to draft for it, or to change it.
    """

    context_tokens: int
    batch_size: int = 1
    encoder_tokens: int = 0
    beams: int = 1
    dtype: str = "bf16"
    cache: CacheDtypes = CacheDtypes()
    layout: Layout = Layout()
    media: tuple[MediaItem, ...] = ()
    largest_item: LargestItem | None = None
    beside: Beside = Beside()

    @property
    def kv_dtype(self) -> str:
        """The number format of keys and values, ``KEYS:VALUES`` where they differ."""
        return self.cache.kv_name

    @property
    def num_sequences(self) -> int:
        """Sequences that have a cache: beams do not share one."""
        return self.batch_size * self.beams

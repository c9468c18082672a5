"""The same places for every image: it is squeezed or cropped to one size, or resampled to queries."""

from typing import Literal

from kvcalc.frozen import frozen
from kvcalc.media.words import Image, Placeholders


@frozen(kw_only=True)
class FixedTokens:
    """``image_seq_length`` places whatever the size.

    Source: transformers 5.23.0, processing_gemma3.py, processing_paligemma.py, processing_janus.py,
    processing_chameleon.py, processing_llava.py (the crop over the patch, squared).
    """

    kind: Literal["fixed"]
    image_seq_length: int
    separators: int = 0
    side: int = 224

    def placeholders(self, image: Image) -> Placeholders:
        return Placeholders(self.image_seq_length, self.separators)

    def largest(self) -> Image:
        return Image(self.side, self.side)

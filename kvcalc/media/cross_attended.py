"""One token in the prompt, and all of an image's keys in the cross-attention (Llama 3.2 Vision)."""

from typing import Literal

from kvcalc.frozen import frozen
from kvcalc.media.words import Image, Placeholders


@frozen(kw_only=True)
class CrossAttended:
    """One place in the prompt; ``encoder_tokens`` keys that the cross-attention layers keep.

    An image is padded to ``max_image_tiles`` tiles of (image_size / patch_size)^2 patches and a class
    token, and the padded tiles are kept like the others: 4 x 1,601 = 6,404 whatever the size.
    Source: transformers 5.23.0, image_processing_mllama.py (pad to max_image_tiles),
    modeling_mllama.py (cross_attention_states of all tiles).
    """

    kind: Literal["cross_attended"]
    image_size: int
    patch_size: int
    max_image_tiles: int

    @property
    def encoder_tokens(self) -> int:
        """Keys of one image in each cross-attention layer."""
        return self.max_image_tiles * ((self.image_size // self.patch_size) ** 2 + 1)

    def placeholders(self, image: Image) -> Placeholders:
        return Placeholders(1)

    def largest(self) -> Image:
        return Image(2 * self.image_size, 2 * self.image_size)

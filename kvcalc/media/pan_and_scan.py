"""256 places for an image, and for each crop of a long one where pan-and-scan is asked for (Gemma 3)."""

import math
from typing import Literal

from kvcalc.errors import UnsupportedError
from kvcalc.frozen import frozen
from kvcalc.media.words import Image, Placeholders


@frozen(kw_only=True)
class PanAndScan:
    """``image_seq_length`` places for the image and for each crop along its longer side.

    Separators: begin and end of the image with a double line break on either side. The sentence
    that the processor puts between crops is English text, whose tokens depend on the vocabulary:
    it is not counted, and ``separators`` of an image with crops is refused.

    Source: transformers 5.23.0, image_processing_gemma3.py (pan_and_scan_batched).
    """

    kind: Literal["pan_and_scan"]
    image_seq_length: int = 256
    do_pan_and_scan: bool = False
    pan_and_scan_min_crop_size: int = 256
    pan_and_scan_max_num_crops: int = 4
    pan_and_scan_min_ratio_to_activate: float = 1.2
    separators: int = 4
    size: int = 896

    def crops(self, image: Image) -> int:
        """Crops beside the image; 0 where it is taken whole."""
        longer, shorter = max(image.width, image.height), min(image.width, image.height)
        if not self.do_pan_and_scan or longer / shorter < self.pan_and_scan_min_ratio_to_activate:
            return 0
        least = self.pan_and_scan_min_crop_size
        number = min(math.floor(longer / least), math.floor(longer / shorter + 0.5))
        number = min(self.pan_and_scan_max_num_crops, max(2, number))
        if min(math.ceil(longer / number), shorter) < least:
            return 0
        return number

    def tokens(self, image: Image) -> int:
        """Places of the embeddings alone."""
        return self.image_seq_length * (1 + self.crops(image))

    def placeholders(self, image: Image) -> Placeholders:
        if self.crops(image):
            raise UnsupportedError(
                f"an image of {image} with do_pan_and_scan: {self.tokens(image)} places of embeddings, "
                "and an English sentence between the crops whose tokens are not known here"
            )
        return Placeholders(self.image_seq_length, self.separators)

    def largest(self) -> Image:
        return Image(self.size, self.size)

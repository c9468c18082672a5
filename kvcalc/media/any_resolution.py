"""The best of a list of canvases, its padding taken off again, a token at each row (LLaVA-NeXT)."""

import math
from typing import Literal

from kvcalc.frozen import frozen
from kvcalc.media.words import Image, Placeholders, most


def best_canvas(image: Image, pinpoints: tuple[tuple[int, int], ...]) -> tuple[int, int]:
    """(height, width) that keeps most of the image's pixels, and wastes least among equals."""
    best, kept, wasted = pinpoints[0], 0, float("inf")
    for height, width in pinpoints:
        scale = min(width / image.width, height / image.height)
        held = int(image.width * scale) * int(image.height * scale)
        held = min(held, image.width * image.height)
        waste = height * width - held
        if held > kept or (held == kept and waste < wasted):
            best, kept, wasted = (height, width), held, waste
    return best


@frozen(kw_only=True)
class AnyResolution:
    """The whole image at ``side`` x ``side`` places, and its tiles without the padding.

    image_grid_pinpoints: (height, width) of the canvases. size: pixels of a tile's side. side:
    places along a tile's side. max_tiles: LLaVA-OneVision's ``anyres_max_9`` pools beyond it.
    base_extra: places of the whole image beside its patches (a class token that stays).
    Row-end embeddings are among the tokens: they are no words of the vocabulary.

    Source: transformers 5.23.0, image_processing_utils.py (select_best_resolution),
    processing_llava_next.py, processing_llava_onevision.py, processing_granite4_vision.py
    (_get_unpadded_features of each).
    """

    kind: Literal["any_resolution"]
    image_grid_pinpoints: tuple[tuple[int, int], ...]
    size: int
    side: int
    max_tiles: int | None = None
    base_extra: int = 0

    def placeholders(self, image: Image) -> Placeholders:
        height, width = best_canvas(image, self.image_grid_pinpoints)
        rows, columns = self._unpadded(image, height // self.size, width // self.size)
        if self.max_tiles is not None:
            ratio = math.sqrt(rows * columns / (self.max_tiles * self.side**2))
            if ratio > 1.1:
                rows, columns = int(rows // ratio), int(columns // ratio)
        return Placeholders(rows * columns + rows + self.side**2 + self.base_extra)

    def _unpadded(self, image: Image, tiles_high: int, tiles_wide: int) -> tuple[int, int]:
        rows, columns = self.side * tiles_high, self.side * tiles_wide
        if image.width / image.height > columns / rows:
            inner = int(round(image.height * (columns / image.width), 7))
            rows -= (rows - inner) // 2 * 2
        else:
            inner = int(round(image.width * (rows / image.height), 7))
            columns -= (columns - inner) // 2 * 2
        return rows, columns

    def largest(self) -> Image:
        if self.max_tiles is None:
            return most(self, [Image(width, height) for height, width in self.image_grid_pinpoints])
        # Just short of the pooling is more than the largest canvas: look at every unpadded shape.
        pixels = self.size // self.side
        shapes = set()
        for height, width in self.image_grid_pinpoints:
            rows, columns = height // self.size * self.side, width // self.size * self.side
            shapes |= {(kept, columns) for kept in range(rows, 0, -2)}
            shapes |= {(rows, kept) for kept in range(columns, 0, -2)}
        limit = 1.1**2 * self.max_tiles * self.side**2
        unpooled = [shape for shape in shapes if shape[0] * shape[1] <= limit]
        unpooled.sort(key=lambda shape: (shape[0] * shape[1] + shape[0], shape), reverse=True)
        return most(
            self, [Image(columns * pixels, rows * pixels) for rows, columns in unpooled[:64]]
        )

"""Layer numbers as people write them: runs, and runs that repeat."""

from itertools import pairwise


def layer_ranges(layers: tuple[int, ...]) -> list[list[int]]:
    """Consecutive runs as [first, last]: (0, 1, 2, 5) is [[0, 2], [5, 5]]."""
    ranges: list[list[int]] = []
    for layer in layers:
        if ranges and layer == ranges[-1][1] + 1:
            ranges[-1][1] = layer
        else:
            ranges.append([layer, layer])
    return ranges


def describe_layers(layers: tuple[int, ...]) -> str:
    """``0-31``, ``5, 11, ... 59``, ``0-4, ... 60-61``: never more than a few words."""
    ranges = layer_ranges(layers)
    if len(ranges) > 3:
        steps = {b - a for a, b in pairwise(layers)}
        if len(steps) == 1:
            return f"{layers[0]}, {layers[1]}, ... {layers[-1]}"
    words = [str(a) if a == b else f"{a}-{b}" for a, b in ranges]
    return ", ".join(words) if len(words) <= 3 else f"{words[0]}, ... {words[-1]}"

"""Two lists of weights held against each other where one side fuses or splits what the other has.

transformers fuses and splits matrices (one qkv_proj, one module per expert, GPT-2's transposed
Conv1D): equal shapes are taken out first, then transposed ones, then pieces of one tensor that lie
along an axis.
"""

from collections import Counter
from collections.abc import Iterable
from itertools import combinations
from math import prod

Shape = tuple[int, ...]
Named = tuple[str, Shape]


def match_tensors(
    ours: Iterable[Named], theirs: Iterable[Named]
) -> tuple[list[Named], list[Named]]:
    """What is left of two lists of tensors once equal ones and pieces of one are taken out.

    Shapes are compared without axes of one: a convolution's kernel is [c, 1, k] or [c, k].
    """
    left, right = list(ours), list(theirs)
    for same in (_as_is, _turned, _last_two_turned):
        counted = Counter(same(_squeezed(shape)) for _, shape in right)
        kept_left = []
        for tensor in left:
            shape = _squeezed(tensor[1])
            if counted[shape]:
                counted[shape] -= 1
            else:
                kept_left.append(tensor)
        kept_right = []
        for tensor in reversed(right):
            shape = same(_squeezed(tensor[1]))
            if counted[shape]:
                counted[shape] -= 1
                kept_right.append(tensor)
        left, right = kept_left, kept_right[::-1]
    right, left = _take_pieces(right, left)
    left, right = _take_pieces(left, right)
    # A vector that the twin keeps as a row for each head.
    for tensor in [tensor for tensor in left if len(tensor[1]) == 1]:
        rows = [other for other in right if len(other[1]) == 2 and prod(other[1]) == tensor[1][0]]
        if rows:
            left.remove(tensor)
            right.remove(rows[0])
    return left, right


def _as_is(shape: Shape) -> Shape:
    return shape


def _turned(shape: Shape) -> Shape:
    return shape[::-1]


def _last_two_turned(shape: Shape) -> Shape:
    """Experts that are stacked as (in, out) matrices."""
    return (*shape[:-2], *shape[:-3:-1])


def _squeezed(shape: Shape) -> Shape:
    return tuple(size for size in shape if size != 1)


# Beyond so many candidates a sum of different sizes is not looked for.
_MOST_PIECES = 16


def _take_pieces(wholes: list[Named], pieces: list[Named]) -> tuple[list[Named], list[Named]]:
    """Remove tensors of ``wholes`` that pieces laid along one axis make up, and those pieces."""
    unmatched = []
    for whole in sorted(wholes, key=lambda tensor: -prod(tensor[1])):
        used = _pieces_of(whole[1], pieces)
        if used is None:
            unmatched.append(whole)
        else:
            pieces = [piece for index, piece in enumerate(pieces) if index not in used]
    return unmatched, pieces


def _pieces_of(whole: Shape, pieces: list[Named]) -> set[int] | None:
    for axis in range(len(whole)):
        for turned in (whole, whole[::-1]):
            place = axis if turned is whole else len(whole) - 1 - axis
            rest = turned[:place] + turned[place + 1 :]
            fitting = {
                index: shape[place]
                for index, (_, shape) in enumerate(pieces)
                if len(shape) == len(turned) and shape[:place] + shape[place + 1 :] == rest
            }
            # The experts of a layer, one module each: entries of axis 0.
            if place == 0:
                fitting |= {index: 1 for index, (_, shape) in enumerate(pieces) if shape == rest}
            if sum(fitting.values()) == turned[place]:
                return set(fitting)
            for size in set(fitting.values()):
                equal = [index for index, own in fitting.items() if own == size]
                count, rest_size = divmod(turned[place], size)
                if not rest_size and 1 < count <= len(equal):
                    return set(equal[:count])
            if len(fitting) > _MOST_PIECES:
                continue
            for count in range(2, min(5, len(fitting)) + 1):
                for chosen in combinations(fitting, count):
                    if sum(fitting[index] for index in chosen) == turned[place]:
                        return set(chosen)
    return None

"""Matrices of the inventory that a checkpoint keeps in one module: qkv_proj, gate_up_proj, in_proj_ba.

What a module stores once (a scale of all, its shape, GPTQ's index) is stored once for all of them.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

from kvcalc.convert.config import Config
from kvcalc.convert.quantized.method import Stated, refuse
from kvcalc.convert.quantized.modules import Module
from kvcalc.spec.stored_formats import stored_format

Members = Sequence[tuple[Module, str]]


def as_one(
    config: Config, stated: Stated, members: Members, choose: Callable[[Module], str | None]
) -> Iterator[tuple[Module, str]]:
    """The words of modules that are one in the checkpoint, such that their bytes are the one's.

    choose: what gives a module its word. Raises UnsupportedError where no words say that.
    """
    (first, _), *others = members
    shapes = [module.tensor.shape for module, _ in members]
    rows = (sum(shape[0] for shape in shapes), *shapes[0][1:])
    word = choose(replace(first, tensor=replace(first.tensor, shape=rows)))
    if word is not None and len({shape[1:] for shape in shapes}) == 1:
        plain = _without(word)
        for told in (word, plain, plain.partition("_block")[0]):
            own = _bytes(word, shapes[0]) + sum(_bytes(told, shape) for shape in shapes[1:])
            left = _bytes(word, rows) - own
            # What is left over is the last part's, as what it stores once.
            if left == 0 or (left > 0 and told != plain and told != word):
                last = f"{told}+{left}" if left else told
                yield first, word
                yield from ((module, told) for module, _ in others[:-1])
                yield others[-1][0], last
                return
    what = f"{first.rule} and others in one matrix, whose scales do not follow from the parts"
    refuse(config, "quant_method", stated.get("quant_method"), what)


def _without(word: str) -> str:
    """A format's word without what a module stores once."""
    base = word.partition("+")[0].removesuffix("_idx")
    return f"{base}_noidx" if base.startswith("gptq") and not base.endswith("_noidx") else base


def _bytes(word: str, shape: tuple[int, ...]) -> int:
    return sum(each.tensor(shape) for each in stored_format(word))

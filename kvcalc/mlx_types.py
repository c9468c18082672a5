"""The names of what mlx-lm makes of a model: ``mlx-4bit``, ``mlx-8bit-g32``, ``mlx-mxfp4``, ...

Source: mlx-lm 0.32.2, mlx_lm/convert.py (``--q-bits``, ``--q-group-size``, ``--q-mode``,
``--quant-predicate``) and mlx_lm/utils.py (quantize_model); mlx 0.32.4, mlx.core.quantize.
"""

import re
from functools import lru_cache

from kvcalc.dtypes import Format
from kvcalc.errors import UsageError
from kvcalc.frozen import frozen

BITS = (2, 3, 4, 5, 6, 8)
GROUPS = (32, 64, 128)
DEFAULT_GROUP = 64
# Modes of one width each: an 8-bit scale for each group, and no bias. (bits, group)
MODES = {"mxfp4": (4, 32), "mxfp8": (8, 32), "nvfp4": (4, 16)}
# The recipes of mlx_lm.convert's mixed_quant_predicate_builder: bits of most, of what needs more.
MIXED = {"2-6": (2, 6), "3-4": (3, 4), "3-6": (3, 6), "4-6": (4, 6)}


@frozen
class MlxFormat:
    """How one module is stored. mode: affine, or one of ``MODES``."""

    mode: str
    bits: int
    group: int

    @property
    def word(self) -> str:
        """``mlx-4bit`` (groups of 64), ``mlx-8bit-g32``, ``mlx-mxfp4``."""
        if self.mode != "affine":
            return f"mlx-{self.mode}"
        return f"mlx-{self.bits}bit" + (f"-g{self.group}" if self.group != DEFAULT_GROUP else "")

    def format(self, scale_bytes: int = 2) -> Format:
        """Bytes of a group; scale_bytes: of the model's own format, which scale and bias are in."""
        beside = 2 * scale_bytes if self.mode == "affine" else 1
        name = self.word if scale_bytes == 2 or self.mode != "affine" else f"{self.word}-fp32"
        return _format(name, self.group, self.group * self.bits // 8 + beside)


@lru_cache(256)
def _format(name: str, group: int, group_bytes: int) -> Format:
    """One for all questions, as the other formats are: it remembers the sizes of tensors."""
    return Format(name, group, group_bytes)


@frozen
class MlxRecipe:
    """What mlx_lm.convert is asked for. high: bits of what a mixed recipe stores wider."""

    usual: MlxFormat
    high: int | None = None

    @property
    def word(self) -> str:
        """As --dtype has it."""
        if self.high is None:
            return self.usual.word
        group = "" if self.usual.group == DEFAULT_GROUP else f"-g{self.usual.group}"
        return f"mlx-mixed-{self.usual.bits}-{self.high}{group}"


# Compiled where they are first used: most questions name no type of MLX's.
_NAME = r"mlx-(?:(?P<bits>\d+)bit|mixed-(?P<mixed>\d-\d)|(?P<mode>mxfp4|mxfp8|nvfp4))(?:-g(?P<group>\d+))?"
# Names of an earlier release.
_OLD = r"mlx(?P<bits>[48])_g(?P<group>32|64|128)"
MLX_WORDS = (
    *(MlxFormat("affine", bits, group).word for bits in BITS for group in GROUPS),
    *(f"mlx-{mode}" for mode in MODES),
    *(f"mlx-mixed-{mixed}" for mixed in MIXED),
)


def mlx_recipe(text: str) -> MlxRecipe | None:
    """What a --dtype asks of mlx-lm; None for one that names none of its types.

    Raises UsageError for a name that begins as they do and is none.
    """
    if "mlx" not in text.lower():
        return None
    word = text.strip().lower().replace("_", "-") if "mlx-" in text.lower() else text.lower()
    old = re.fullmatch(_OLD, text.strip().lower())
    if old is not None:
        return MlxRecipe(MlxFormat("affine", int(old["bits"]), int(old["group"])))
    if not word.startswith("mlx-"):
        return None
    found = re.fullmatch(_NAME, word)
    if found is None:
        raise _unknown(text, word)
    if found["mode"]:
        bits, group = MODES[found["mode"]]
        if found["group"] not in (None, str(group)):
            raise UsageError(f"dtype {text}: {found['mode']} has groups of {group} and no others")
        return MlxRecipe(MlxFormat(found["mode"], bits, group))
    group = int(found["group"] or DEFAULT_GROUP)
    if group not in GROUPS:
        raise UsageError(f"dtype {text}: MLX's groups are {', '.join(map(str, GROUPS))}")
    if found["mixed"]:
        if found["mixed"] not in MIXED:
            raise _unknown(text, word)
        low, high = MIXED[found["mixed"]]
        return MlxRecipe(MlxFormat("affine", low, group), high)
    if int(found["bits"]) not in BITS:
        raise UsageError(f"dtype {text}: MLX's widths are {', '.join(map(str, BITS))} bits")
    return MlxRecipe(MlxFormat("affine", int(found["bits"]), group))


def instead_of(text: str) -> str | None:
    """The name to write for one of an earlier release; None for a name that is of today."""
    old = re.fullmatch(_OLD, text.strip().lower()) if "mlx" in text.lower() else None
    return mlx_recipe(text).word if old else None  # type: ignore[union-attr]


def stored_word(text: str) -> Format | None:
    """The format of one tensor that a word names, ``mlx-4bit`` or ``mlx-4bit-fp32``; None for others.

    A mixture is no format of a tensor.
    """
    word, wide = text.removesuffix("-fp32"), text.endswith("-fp32")
    try:
        found = mlx_recipe(word) if word.startswith("mlx-") else None
    except UsageError:
        return None
    if found is None or found.high is not None:
        return None
    return found.usual.format(4 if wide else 2)


def _unknown(text: str, word: str) -> UsageError:
    from difflib import get_close_matches

    near = get_close_matches(word, MLX_WORDS, n=1)
    hint = f"did you mean '{near[0]}'?" if near else "such as mlx-4bit, mlx-8bit-g32, mlx-mxfp4"
    return UsageError(f"dtype {text}: not a type that mlx-lm makes ({hint})")

"""What every method answers: a module's format. And how a config that says too little is refused."""

from collections.abc import Callable, Mapping
from typing import Any, NoReturn

from kvcalc.convert.config import Config, short
from kvcalc.convert.quantized.matching import Entries, How
from kvcalc.convert.quantized.modules import Module
from kvcalc.errors import Problem, UnsupportedError
from kvcalc.frozen import frozen

Stated = Mapping[str, Any]
# Where the libraries list what they leave in the default format.
_EXCEPTIONS = (
    "modules_to_not_convert", "ignore", "ignored_layers", "llm_int8_skip_modules", "exclude_modules",
)  # fmt: skip

GROUPS = (16, 32, 64, 128, 256, 512, 1024)
# The longest list known has 30; each is tried on every module.
MAX_EXPRESSIONS = 500


@frozen
class Method:
    """choose: a module's format, None for the default one. listed: the names it went by.

    separate: it takes linear layers only, so experts stacked in one tensor are not quantised.
    targets: more names that it went by.
    """

    choose: Callable[[Module], str | None]
    listed: Entries
    separate: bool = False
    targets: tuple[Entries, ...] = ()


def one_answer(
    config: Config, key: str, module: Module, decide: Callable[[tuple[str, ...]], str | None]
) -> str | None:
    """What ``decide`` says of a module's paths, where it is several of all of them.

    Raises UnsupportedError where experts that stand in one tensor here would differ.
    """
    found = {decide(names) for names in module.each()}
    if len(found) > 1:
        refuse(config, key, module.rule, "one tensor in several formats")
    return found.pop()


def refuse(config: Config, key: str, value: Any, what: str) -> NoReturn:
    """Raise UnsupportedError about a key of quantization_config."""
    field = f"quantization_config.{key}"
    reason = (
        f"{what}, so the weights' bytes are not known; take quantization_config out of the config to "
        f"import the model in bf16, or give its .safetensors files, whose headers hold the exact bytes"
    )
    problem = Problem("KV106", config.path, 0, 0, field, reason)
    raise UnsupportedError(f"{config.path}: {field} = {short(value)}: {reason}", (problem,))


def entries_of(config: Config, stated: Stated, how: How) -> Entries:
    """All names that a config lists as left out."""
    names: list[str] = []
    for key in _EXCEPTIONS:
        entries = stated.get(key)
        if not isinstance(entries, list | None):
            refuse(config, key, entries, "not a list of names")
        for entry in entries or ():
            if not isinstance(entry, str):
                config.wrong("quantization_config", f"{key}: expected names, found {short(entry)}")
            names.append(entry)
    listed = Entries(names, how)
    if listed.num_expressions > MAX_EXPRESSIONS:
        refuse(config, "ignore", len(names), f"more than {MAX_EXPRESSIONS} expressions for names")
    return listed


def numbers(config: Config, stated: Stated, widths: tuple[int, ...]) -> tuple[int, str]:
    """Bits and ``g128`` or ``row`` of a method that states bits and a group size."""
    bits = stated.get("bits", stated.get("w_bit"))
    size = stated.get("group_size", stated.get("q_group_size"))
    if type(bits) is not int or bits not in widths:
        refuse(config, "bits", bits, f"only {', '.join(map(str, widths))} bits are known")
    if size != -1 and (type(size) is not int or size not in GROUPS):
        refuse(
            config, "group_size", size, f"only groups of {', '.join(map(str, GROUPS))} are known"
        )
    return bits, "row" if size == -1 else f"g{size}"

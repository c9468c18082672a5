"""What llama.cpp said of its file and of the buffers that it loaded it into, held against the file's type.

``print_info: file size`` adds up the tensors (llama_model::print_info); buffers hold the same tensors, the
token table twice where it is the output as well, each at a boundary of its backend's. What a mapped buffer
spans of the file may be more (llama_model_loader::get_mapping_range).
"""

import re
from collections.abc import Iterator
from fractions import Fraction

from kvcalc.engines.llama_cpp.file import ModelFile, is_gguf, model_file
from kvcalc.errors import KvcalcError
from kvcalc.file_types import FILE_TYPES, recipe
from kvcalc.gguf.scheme import whole_file_bytes
from kvcalc.logs.answer import Observation
from kvcalc.logs.facts import UNITS, Figure, Start, printed
from kvcalc.logs.held.common import observed
from kvcalc.spec.model import ModelSpec

_SIZES = {"small": "S", "medium": "M", "large": "L"}
# No backend's buffers begin a tensor at more than this boundary.
_BOUNDARY = 256
_MIXED = re.compile(r"(?:^|[-_.])(?:UD|XL|XXL|APEX|MIX|R[48])(?:$|[-_.])", re.IGNORECASE)


def weights(start: Start, spec: ModelSpec) -> Iterator[Observation]:
    """Rows of the file's size and of its buffers, as far as the log has them."""
    figures = [*_file_size(start), *_buffers(start)]
    if not figures:
        return
    word, why = _type(start, spec)
    file: ModelFile | None = None
    if word is not None:
        try:
            file = model_file(spec, word)
        except KvcalcError as error:
            why = str(error)
    for figure in figures:
        if file is None or word is None:
            yield observed(figure, None, None, None, None, why)
        else:
            yield _held(figure, spec, word, file)


def _held(figure: Figure, spec: ModelSpec, word: str, file: ModelFile) -> Observation:
    spare = sum(each.padding for each in file.tensors) + _BOUNDARY * len(file.tensors)
    buffers = figure.quantity == "loaded_bytes"
    for size, said in _readings(spec, word, file, buffers):
        most = size + spare if buffers else size
        if figure.least <= most and figure.most >= size:
            return observed(figure, size, size, most, True, said)
    size, said = next(iter(_readings(spec, word, file, buffers)))
    off = f"{float((figure.value - size) * 100 / max(1, size)):+.2f} %"
    doubt = "a file that another recipe made, or a mapping that spans more"
    return observed(figure, size, size, size, None, f"{said}, {off}: {doubt}")


def _readings(
    spec: ModelSpec, word: str, file: ModelFile, buffers: bool
) -> Iterator[tuple[int, str]]:
    """(bytes, what they are), the likeliest first."""
    asked = recipe(word)
    named = (
        "the file's own types" if asked is None else f"{asked.file_type.name} as llama.cpp makes it"
    )
    twice = file.table_bytes if buffers and file.tied else 0
    if twice:
        yield file.bytes + twice, f"{named}, the token table twice: it is the output as well"
    yield file.bytes, named
    if asked is None:
        return
    if not asked.imatrix:
        try:
            other = model_file(spec, f"{word}+imatrix")
        except KvcalcError:
            return
        yield other.bytes + twice, f"{named} with an importance matrix"
    whole = whole_file_bytes(spec, asked) if spec.mtp is not None else None
    if whole is not None:
        yield whole + twice, f"{named}, with the layers that predict tokens"


def _file_size(start: Start) -> Iterator[Figure]:
    for key in ("file size", "model size"):
        said = start.dims.get(key)
        found = re.match(r"([\d.]+) ([KMGT]i)B", str(said.value)) if said is not None else None
        if found is not None and said is not None:
            unit = UNITS[found[2] + "B"]
            yield printed("file_bytes", found[1], said.line, unit=unit, digits=2)


def _buffers(start: Start) -> Iterator[Figure]:
    """All buffers of weights together."""
    own = [each for name, each in start.memory.items() if name.startswith("weights on")]
    if own:
        value, least, most = (
            sum((getattr(each, name) for each in own), Fraction())
            for name in ("value", "least", "most")
        )
        yield Figure(
            quantity="loaded_bytes", line=own[-1].line, value=value, least=least, most=most
        )


def _type(start: Start, spec: ModelSpec) -> tuple[str | None, str]:
    """The file's type as --dtype has it, or why it is not known."""
    if is_gguf(spec):
        return "checkpoint", ""
    names = [str(start.dims["file"].value)] if "file" in start.dims else []
    names += [str(start.model.value)] if start.model is not None else []
    if any(_MIXED.search(name) for name in names):
        return None, "a mixture of another tool's, which its file alone says: --model FILE.gguf"
    for key in ("file type", "model ftype"):
        said = start.dims.get(key)
        found = _word(str(said.value)) if said is not None else None
        if found is not None:
            return found, ""
    for name in names:
        for each in sorted(FILE_TYPES, key=len, reverse=True):
            if re.search(rf"(?:^|[-_.]){each}(?:$|[-_.])", name, re.IGNORECASE):
                return FILE_TYPES[each].word, ""
    return None, "the file's type is not in the log"


def _word(printed: str) -> str | None:
    """``Q4_K - Medium`` -> q4_k_m (llama_model_ftype_name)."""
    text = printed.removesuffix(" (guessed)").removeprefix("all ").strip()
    name, _, rest = text.partition(" - ")
    size = _SIZES.get(rest.lower())
    tried = f"{name}_{size}" if size else name.replace(" ", "_").upper()
    found = FILE_TYPES.get(tried.upper())
    return None if found is None else found.word

"""Ids of the hub whose config was read: the shipped spec of the same shape, and what differs from it.

``hub_ids.tsv`` has a line for each: the id, the spec, the fields of ``ModelSpec`` that are its own (its
context, its vocabulary, the formats of its files), where its config was read, and how many parameters its
published files hold. An id that a spec names itself has no fields; one whose config nobody read but the
spec's author has no source. Written by
``python -m tests.convert.hub_ids`` from configs that are kept beside it; the file is read only when a
name is no shipped spec's.
"""

import os
import re
from collections.abc import Iterator
from functools import lru_cache
from typing import Any

from kvcalc.errors import NotFoundError
from kvcalc.frozen import changed, frozen
from kvcalc.names import listed, model_name
from kvcalc.spec import index
from kvcalc.spec.model import ModelSpec, PublishedCount

FILE = os.path.join(os.path.dirname(__file__), "hub_ids.tsv")
# What a model of the same shape may have of its own. Everything else is the shape.
OWN = (
    "max_position_embeddings", "vocab_size", "tie_word_embeddings", "head", "head_bias",
    "head_transform", "pooler", "class_tensors", "mtp", "weight_dtypes", "weight_formats", "declared_cache",
    "quantized_by",
)  # fmt: skip
# Organisations that have another name on the hub today.
_RENAMED = {"cohereforai": "coherelabs", "thudm": "zai-org", "neuralmagic": "redhatai"}
# Where the parameters of files were read.
FILES = "llmfit 1.1.17 (PyPI), the parameters of its files"
FORMATS = ("weight_dtypes", "weight_formats", "declared_cache", "quantized_by")


@frozen
class HubId:
    """One line. own: the fields that differ from the spec's, as ``kvcalc.spec.index`` writes them.

    files: the parameters of its published files; empty where they are not known.
    """

    id: str
    spec: str
    own: str = ""
    source: str = ""
    files: str = ""

    def line(self) -> str:
        return "\t".join((self.id, self.spec, self.own, self.source, self.files))

    def of(self, base: ModelSpec) -> ModelSpec:
        """The model that the id names. base: the spec that it has the shape of."""
        if base.hub_id[:1] == (self.id,) and not self.own:
            return base
        # What a spec says of published files is about its first id's.
        base = changed(base, checkpoint=PublishedCount(parameters=int(self.files), source=FILES)
                       if self.files else None)  # fmt: skip
        if not self.own and self.id in base.hub_id:
            return base
        own: dict[str, Any] = index.from_text(self.own) if self.own else {}
        held = {} if own else {"expect": base.expect, "budgets": base.budgets}
        return changed(
            base, name=model_name(self.id.split("/")[1]), source=(self.source,), hub_id=(self.id,),
            released=None, **{"expect": None, "budgets": (), **held, **own},
        )  # fmt: skip

    def told(self, base: ModelSpec, model: ModelSpec) -> tuple[str, ...]:
        """What an answer says of it: whose shape it has, its context, what else is its own."""
        if base.hub_id[:1] == (self.id,) and model is base:
            return ()
        said = [f"{self.id} has the shape of {self.spec}"]
        if not self.source:
            files = f"its files hold {int(self.files):,} parameters, " if self.files else ""
            return (f"{said[0]}, which names it; {files}its own config was not read",)
        if model.max_position_embeddings is not None:
            context, other = model.max_position_embeddings, base.max_position_embeddings
            beside = f" ({self.spec}: {other:,})" if other is not None and other != context else ""
            said.append(f"its context is {context:,} tokens{beside}")
        if model.vocab_size != base.vocab_size:
            said.append(f"its vocabulary {model.vocab_size:,} ({self.spec}: {base.vocab_size:,})")
        if (model.head, model.class_tensors) != (base.head, base.class_tensors):
            said.append("its head is that of its own class")
        elif model.tie_word_embeddings != base.tie_word_embeddings:
            tied = "the token table" if model.tie_word_embeddings else "a matrix of its own"
            said.append(f"its head is {tied}")
        if any(getattr(model, field) != getattr(base, field) for field in FORMATS):
            said.append("its files are in formats of their own")
        return (f"{', '.join(said)}; its config was read: {self.source}",)


def read(line: str) -> HubId:
    """The entry of one line of the file."""
    return HubId(*line.rstrip("\n").split("\t"))


@lru_cache(maxsize=1)
def _text() -> str:
    with open(FILE, encoding="utf-8") as file:
        return "\n" + file.read()


def entries() -> Iterator[HubId]:
    """Every id, in alphabetical order."""
    return map(read, _text().splitlines()[1:])


def find(name: str) -> HubId | None:
    """The entry of an id, or of its name without the organisation's; None where there is none.

    Letters' case does not matter; ``Meta-`` before a name and ``-hf`` behind it may be left out, and
    the organisation may go by a name that it had before.
    Raises NotFoundError where several ids have that name and are not the same model.
    """
    lowered = name.lower()
    if re.search(r"[\t\n]", lowered) or not lowered:
        return None
    if "/" in lowered:
        organisation, _, bare = lowered.partition("/")
        of = _RENAMED.get(organisation, organisation)
        places = (
            _text().lower().find(f"\n{each}\t")
            for each in (lowered, f"{of}/{bare}", f"{of}/{bare}-hf", f"{of}/meta-{bare}")
        )
        place = next((found for found in places if found >= 0), -1)
        return None if place < 0 else read(_text()[place + 1 : _text().index("\n", place + 1)])
    found = [entry for entry in entries() if lowered in bare_names(entry.id)]
    same = {(entry.spec, entry.own) for entry in found}
    if len(same) > 1:
        told = listed([entry.id for entry in found])
        raise NotFoundError(f"'{name}' is the name of several models: say which, {told}")
    return found[0] if found else None


def bare_names(hub_id: str) -> tuple[str, ...]:
    """The names that an id goes by without its organisation, in lower case."""
    bare = hub_id.lower().rpartition("/")[2]
    short = bare.removeprefix("meta-").removesuffix("-hf")
    return tuple(dict.fromkeys((bare, bare.removesuffix("-hf"), bare.removeprefix("meta-"), short)))


def near(name: str) -> str:
    """The spec whose shape an id has that another is most like, to say; nothing where none is.

    The one whose name stands whole in the other's, as llama-3.1-8b in hermes-3-llama-3.1-8b; else, of
    those of its family (the words up to the first number: qwen 3), the one whose size is nearest, and
    of equal sizes the one that has more of its further words. A name that states another size is not the
    one that stands in it.
    """
    asked, size = _words(name), _size(name)
    family = next((at + 1 for at, word in enumerate(asked) if word.isdigit()), 1)
    best: tuple[Any, ...] = ()
    found = ""
    for entry in entries():
        own, own_size = _words(entry.id), _size(entry.id)
        whole = 0
        if own_size == size:
            if len(own) > 2 and _within(own, asked):
                whole = len(own)
            elif len(asked) > 2 and own[: len(asked)] == asked:
                whole = len(asked)  # the same name with its format behind it
        pairs = zip(own, asked, strict=False)
        same = next((at for at, (a, b) in enumerate(pairs) if a != b), min(len(own), len(asked)))
        if not whole and same < 2:
            continue
        like = (
            whole,
            min(same, family),
            _nearness(own_size, size),
            same,
            _common(own, asked),
            -len(own),
        )
        if not best or like > best:
            best, found = like, f"the nearest known shape is {entry.spec}"
    return found


# A count of parameters in a name: 0.6b, 8x7b, a3b, e4b, 270m. What is active or effective has a letter.
_SIZE = re.compile(
    r"(?<![a-z\d.])(?P<kind>[ae]?)(?:(?P<times>\d+)x)?(?P<count>\d+(?:\.\d+)?)(?P<unit>[bm])(?![a-z])"
)


def _size(name: str) -> tuple[int, bool]:
    """The parameters that a name states, in thousands (0: none stated), and whether fewer are active."""
    sizes = list(_SIZE.finditer(name.lower().rpartition("/")[2].replace("_", "-")))
    total = next((each for each in sizes if each["kind"] != "a"), None)
    if total is None:
        return 0, False
    thousands = _thousands(total["count"]) * (1000 if total["unit"] == "b" else 1)
    mixture = total["times"] is not None or any(each["kind"] == "a" for each in sizes)
    return thousands * int(total["times"] or 1), mixture


def _thousands(count: str) -> int:
    """1,000 times a decimal number, exactly: 0.6 is 600."""
    whole, _, part = count.partition(".")
    return int(whole) * 1000 + int(part[:3].ljust(3, "0"))


def _nearness(own: tuple[int, bool], asked: tuple[int, bool]) -> tuple[bool, int]:
    """How near two sizes are: both mixtures or neither, then the smaller in millionths of the greater."""
    least, most = sorted((own[0], asked[0]))
    return own[1] == asked[1], least * 1_000_000 // most if least else int(not most)


def _common(own: tuple[str, ...], asked: tuple[str, ...]) -> int:
    """How many words of a name stand in the other, wherever."""
    return len(set(own) & set(asked))


def _words(name: str) -> tuple[str, ...]:
    """The words and numbers of a name without its organisation."""
    return tuple(re.findall(r"[^\W\d_]+|\d+", name.lower().rpartition("/")[2]))


def _within(words: tuple[str, ...], text: tuple[str, ...]) -> bool:
    """Whether words stand in a text one after the other."""
    places = range(len(text) - len(words) + 1)
    return any(text[at : at + len(words)] == words for at in places)

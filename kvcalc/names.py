"""One rule for every kind of name: what a word that is none of the known ones may be told about.

Only exact names and stated aliases answer. A hint is a name that *means the same*: written with
other separators, or with a slip of the keyboard in its letters. Digits are no slip: q4_k_m is not
q4_1, llama-4 not llama-7b, rtx-4060 not rtx-4070. A word that begins several names is told all of
them, with the fact that tells them apart.

The rule is for accelerators, models, number formats, engines, columns, fields, options, commands.
"""

import re
from collections.abc import Collection, Mapping
from functools import lru_cache

# A longer word is no slip of anything.
MAX_WORD = 60
# As many names of a family are told.
_TOLD = 6


def model_name(text: str) -> str:
    """A spec's name: lower case, with hyphens for what names do not hold."""
    return re.sub(r"[^a-z0-9.]+", "-", text.lower()).strip("-.") or "model"


@lru_cache(maxsize=4096)
def parts(name: str) -> tuple[str, ...]:
    """A name as runs of letters and runs of digits, whatever separates them.

    ``llama3-8b`` and ``Llama_3.8B`` are both (llama, 3, 8, b); adjacent words are one, so that
    ``chat-glm`` is ``chatglm``.
    """
    found: list[str] = []
    for run in re.findall(r"[^\W\d_]+|\d+", name.lower()):
        if found and run.isalpha() and found[-1].isalpha():
            found[-1] += run
        else:
            found.append(run)
    return tuple(found)


def _is_slip(word: str, name: str) -> bool:
    """Whether one run of letters is another with a slip of the keyboard in it.

    Short runs are codes, where each letter counts (bf, fp, awq): there two letters may have changed
    places, or one been doubled or not. Longer ones may miss, add or change one; from 7 letters two.
    """
    if word == name:
        return True
    short, long = sorted((word, name), key=len)
    if len(long) == len(short):
        wrong = [place for place in range(len(long)) if long[place] != short[place]]
        if len(wrong) == 2 and wrong[1] == wrong[0] + 1:
            first, second = wrong
            if long[first] == short[second] and long[second] == short[first]:
                return True
    if len(long) == len(short) + 1 and re.sub(r"(.)\1+", r"\1", long) == re.sub(
        r"(.)\1+", r"\1", short
    ):
        return True
    return len(short) >= 4 and _edits(short, long) <= (2 if len(short) >= 7 else 1)


def _edits(word: str, name: str) -> int:
    """Letters to add, drop, change or exchange with the next, to make one word of another."""
    if abs(len(word) - len(name)) > 2:
        return 3
    before: list[int] = []
    row = list(range(len(name) + 1))
    for i, letter in enumerate(word, 1):
        last, row, oldest = row, [i], before
        for j, other in enumerate(name, 1):
            cost = min(last[j] + 1, row[-1] + 1, last[j - 1] + (letter != other))
            if i > 1 and j > 1 and letter == name[j - 2] and word[i - 2] == other:
                cost = min(cost, oldest[j - 2] + 1)
            row.append(cost)
        before = last
    return row[-1]


def meant(word: str, known: Collection[str]) -> list[str]:
    """The known names that a word means: the same runs, or the same digits and slips in letters.

    Those written the same come alone; else the closest.
    """
    if len(word) > MAX_WORD:
        return []
    asked = parts(word)
    same = [name for name in known if parts(name) == asked]
    if same or not asked:
        return same
    close: list[tuple[int, str]] = []
    for name in known:
        runs = parts(name)
        if len(runs) == len(asked) and all(
            _is_slip(mine, own) if own.isalpha() else mine == own
            for mine, own in zip(asked, runs, strict=True)
        ):
            pairs = zip(asked, runs, strict=True)
            close.append((sum(_edits(mine, own) for mine, own in pairs), name))
    least = min(close, default=(0, ""))[0]
    return [name for edits, name in close if edits == least][:_TOLD]


def family(word: str, known: Collection[str]) -> list[str]:
    """The known names that a word begins: ``llama3`` begins llama-3-8b and llama-3-70b.

    A number is whole: ``h10`` does not begin h100; the last word may be cut short.
    """
    asked = parts(word)
    if not asked or len(word) > MAX_WORD:
        return []
    *first, last = asked
    found = []
    for name in known:
        runs = parts(name)
        if len(runs) < len(asked) or list(runs[: len(first)]) != first:
            continue
        own = runs[len(first)]
        if own == last or (last.isalpha() and len(last) > 1 and own.startswith(last)):
            found.append(name)
    return found


def hint(word: str, known: Collection[str], facts: Mapping[str, str] | None = None) -> str:
    """``did you mean x?`` or ``it may be x (24 GiB) or y (20 GiB)``; nothing where neither is so.

    facts: name -> what tells it from its neighbours.
    """
    near, begun = meant(word, known), family(word, known)
    # A word that begins names is no slip of another: bert-base is not bart-base.
    if near and (not begun or {*near} & {*begun} or parts(near[0]) == parts(word)):
        return f"did you mean {listed(near, facts)}?"
    if begun and begun != list(known):
        return f"it may be {listed(begun, facts)}"
    return ""


def listed(names: Collection[str], facts: Mapping[str, str] | None = None) -> str:
    """``x (24 GiB), y (20 GiB) or z``: the first few, and how many more there are."""
    told = [f"{name} ({facts[name]})" if facts and name in facts else name for name in names]
    shown, more = told[:_TOLD], len(told) - _TOLD
    if more > 0:
        return f"{', '.join(shown)} or {more} more"
    return shown[0] if len(shown) == 1 else f"{', '.join(shown[:-1])} or {shown[-1]}"

"""Docstrings and the accuracy page as HTML: paragraphs, lists, equations, tables, links."""

import re
from collections.abc import Callable, Iterable, Iterator
from itertools import pairwise

from kvcalc.site.frame import focusable, text

_CODE = re.compile(r"(``.+?``|`[^`]+`)")
_INLINE = re.compile(
    r"\*\*(?P<bold>.+?)\*\*|(?<![\w*])\*(?P<apart>[a-z]+)\*(?![\w*])"
    r"|\[(?P<words>[^\]]+)\]\((?P<to>https://[^)\s]+)\)"
    r"|(?P<url>https://[^\s)>,;]+[^\s)>,;.])"
    r"|arXiv (?P<arxiv>\d{4}\.\d{4,5})"
)

# What begins an item of a list; what shows that a line is laid out in columns.
_MARK = re.compile(r"\* |\d+\. ")
_NUMBER = re.compile(r"[\d,.]*|-")
_COLUMNS = re.compile(r"\S {2,}\S")


def inline(words: str) -> str:
    """One sentence: code, links, papers."""
    return "".join(
        f"<code>{text(part.strip('`'))}</code>" if _CODE.fullmatch(part) else _linked(part)
        for part in _CODE.split(words)
    )


def _linked(words: str) -> str:
    parts, end = [], 0
    words = re.sub(r"<(https://[^>]+)>", r"\1", words)
    for found in _INLINE.finditer(words):
        parts.append(text(words[end : found.start()]))
        parts.append(_one(found))
        end = found.end()
    return "".join(parts) + text(words[end:])


def _one(found: re.Match[str]) -> str:
    if found["bold"]:
        return f"<strong>{inline(found['bold'])}</strong>"
    if found["apart"]:
        return f"<em>{text(found['apart'])}</em>"
    if found["arxiv"]:
        paper = found["arxiv"]
        return f'<a href="https://arxiv.org/abs/{paper}">arXiv {paper}</a>'
    to = found["to"] or found["url"]
    return f'<a href="{text(to)}">{text(found["words"] or _short(to))}</a>'


def _short(url: str) -> str:
    return url.removeprefix("https://").removeprefix("www.")


def docstring(words: str) -> str:
    """A module's docstring: prose, lists, and what stands indented as it is written."""
    return "".join(_paragraph(lines) for lines in _paragraphs(words))


def _paragraphs(words: str) -> Iterator[list[str]]:
    lines: list[str] = []
    for line in [*words.strip("\n").splitlines(), ""]:
        if line.strip():
            lines.append(line.rstrip())
        elif lines:
            yield lines
            lines = []


def _paragraph(lines: list[str]) -> str:
    """Lines without an empty one between them; an equation may follow its sentence so."""
    marked = _MARK.match(lines[0])
    if marked is not None:
        items = re.split(rf"\n(?={_MARK.pattern})", "\n".join(lines))
        kind = "ul" if marked[0] == "* " else "ol"
        return _list(kind, (inline(_joined([_MARK.sub("", item, count=1)])) for item in items))
    pairs = list(pairwise(lines))
    if any(_indented(b) and not _indented(a) and a[-1] != ":" for a, b in pairs):
        return _hanging(lines)
    return "".join(map(_block, _runs(lines, lambda a, b: _indented(a) != _indented(b))))


def _hanging(lines: list[str]) -> str:
    """Items that begin at the margin and go on indented; what is laid out in columns stays so."""
    items = []
    for item in _runs(lines, lambda _, line: not _indented(line)):
        table = next(
            (at for at, line in enumerate(item) if at and _COLUMNS.search(line)), len(item)
        )
        rest = item[table:]
        items.append(inline(_joined(item[:table])) + (_block(rest) if rest else ""))
    return _list("ul", items)


def _runs(lines: list[str], ends: Callable[[str, str], bool]) -> Iterator[list[str]]:
    """The lines in groups. ends: whether one ends between two lines."""
    run: list[str] = []
    for line in lines:
        if run and ends(run[-1], line):
            yield run
            run = []
        run.append(line)
    yield run


def _indented(line: str) -> bool:
    return line.startswith("    ")


def _joined(lines: list[str]) -> str:
    return " ".join(" ".join(lines).split())


def _list(kind: str, items: Iterable[str]) -> str:
    return f"<{kind}>{''.join(f'<li>{item}</li>' for item in items)}</{kind}>\n"


def _block(lines: list[str]) -> str:
    if _indented(lines[0]):
        said = "\n".join(text(line[4:].replace("``", "")) for line in lines)
        return f'<pre tabindex="0">{said}</pre>\n'
    return f"<p>{inline(_joined(lines))}</p>\n"


def markdown(words: str, level: int) -> str:
    """A Markdown page, or a part of one. level: of its highest headings."""
    parts, signs = [], re.findall(r"^(#+) ", words, re.MULTILINE)
    for lines in _paragraphs(words):
        heading = re.match(r"(#+) (.+)", lines[0])
        if heading is not None:
            own = level + len(heading[1]) - len(min(signs))
            parts.append(f"<h{own}>{inline(heading[2])}</h{own}>\n")
            lines = lines[1:]
        if lines:
            parts.append(_table(lines) if lines[0].startswith("|") else _paragraph(lines))
    return focusable("".join(parts))


def cells(line: str) -> list[str]:
    """The cells of a row of a Markdown table; a bar that a backslash stands before is a word's."""
    return [cell.strip().replace("\\|", "|") for cell in re.split(r"(?<!\\)\|", line.strip()[1:-1])]


def _table(lines: list[str]) -> str:
    rules, rows = cells(lines[1]), [cells(line) for line in lines[2:]]
    right = [
        rule.endswith(":") or all(_NUMBER.fullmatch(row[at]) for row in rows if at < len(row))
        for at, rule in enumerate(rules)
    ]
    kinds = [' class="n"' if one else "" for one in right]

    def row(line: list[str], head: str = "td") -> str:
        # A cell without words heads nothing.
        tags = [head if cell else "td" for cell in line]
        found = zip(tags, kinds, line, strict=False)
        return f"<tr>{''.join(f'<{tag}{kind}>{inline(cell)}</{tag}>' for tag, kind, cell in found)}</tr>"

    head, body = row(cells(lines[0]), "th"), "\n".join(map(row, rows))
    return (
        f'<div class="scroll"><table><thead>{head}</thead>\n<tbody>{body}</tbody></table></div>\n'
    )

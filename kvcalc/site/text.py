"""Docstrings and the accuracy page as HTML: paragraphs, lists, equations, tables, links."""

import re
from collections.abc import Iterator

from kvcalc.site.frame import focusable, text

_CODE = re.compile(r"(``.+?``|`[^`]+`)")
_INLINE = re.compile(
    r"\*\*(?P<bold>.+?)\*\*"
    r"|\[(?P<words>[^\]]+)\]\((?P<to>https://[^)\s]+)\)"
    r"|(?P<url>https://[^\s)>,;]+[^\s)>,;.])"
    r"|arXiv (?P<arxiv>\d{4}\.\d{4,5})"
)


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
    if found["arxiv"]:
        paper = found["arxiv"]
        return f'<a href="https://arxiv.org/abs/{paper}">arXiv {paper}</a>'
    to = found["to"] or found["url"]
    return f'<a href="{text(to)}">{text(found["words"] or _short(to))}</a>'


def _short(url: str) -> str:
    return url.removeprefix("https://").removeprefix("www.")


def docstring(words: str) -> str:
    """A module's docstring: prose, lists, and what stands indented as it is written."""
    return "".join(_block(lines) for paragraph in _paragraphs(words) for lines in _runs(paragraph))


def _paragraphs(words: str) -> Iterator[list[str]]:
    lines: list[str] = []
    for line in [*words.strip("\n").splitlines(), ""]:
        if line.strip():
            lines.append(line.rstrip())
        elif lines:
            yield lines
            lines = []


def _runs(lines: list[str]) -> Iterator[list[str]]:
    """Lines of one kind: an equation may follow its sentence without an empty line."""
    run: list[str] = []
    for line in lines:
        if run and _indented(line) != _indented(run[0]) and not _is_list(run[0]):
            yield run
            run = []
        run.append(line)
    yield run


def _indented(line: str) -> bool:
    return line.startswith("    ")


def _is_list(line: str) -> bool:
    return line.startswith("* ")


def _block(lines: list[str]) -> str:
    if _indented(lines[0]):
        said = "\n".join(text(line[4:].replace("``", "")) for line in lines)
        return f'<pre tabindex="0">{said}</pre>\n'
    if _is_list(lines[0]):
        items = re.split(r"\n\* ", "\n".join(lines)[2:])
        return (
            "<ul>" + "".join(f"<li>{inline(' '.join(i.split()))}</li>" for i in items) + "</ul>\n"
        )
    return f"<p>{inline(' '.join(lines))}</p>\n"


def markdown(words: str, level: int) -> str:
    """A part of a Markdown page. level: of its headings of three signs."""
    parts = []
    for lines in _paragraphs(words):
        if lines[0].startswith("### "):
            parts.append(f"<h{level}>{inline(lines[0][4:])}</h{level}>\n")
            lines = lines[1:]
        if lines:
            parts.append(_table(lines) if lines[0].startswith("|") else _block(lines))
    return focusable("".join(parts))


def cells(line: str) -> list[str]:
    """The cells of a row of a Markdown table; a bar that a backslash stands before is a word's."""
    return [cell.strip().replace("\\|", "|") for cell in re.split(r"(?<!\\)\|", line.strip()[1:-1])]


def _table(lines: list[str]) -> str:
    right = [rule.endswith(":") for rule in cells(lines[1])]
    kinds = [' class="n"' if one else "" for one in right]

    def row(line: str, tag: str) -> str:
        pairs = zip(kinds, cells(line), strict=False)
        return f"<tr>{''.join(f'<{tag}{kind}>{inline(cell)}</{tag}>' for kind, cell in pairs)}</tr>"

    body = "\n".join(row(line, "td") for line in lines[2:])
    return (
        f'<div class="scroll"><table><thead>{row(lines[0], "th")}</thead>\n<tbody>{body}</tbody>'
        "</table></div>\n"
    )

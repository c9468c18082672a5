"""A rich console that renders to text: coloured and fitted on a terminal, plain and whole elsewhere."""

import os
import sys
from io import StringIO
from shutil import get_terminal_size
from typing import Any

from rich.console import Console

BAR_WIDTH = 16
# What tables are laid out for. A narrower terminal breaks their lines, and loses no number.
LEAST_WIDTH = 80


def on_terminal() -> bool:
    """Whether the answer goes to a person's terminal."""
    return sys.stdout.isatty()


def render(*parts: Any) -> str:
    """Render rich objects as they would look on stdout; off a terminal nothing is cut or coloured."""
    terminal = on_terminal()
    bounded = terminal or "COLUMNS" in os.environ
    console = Console(
        file=StringIO(),
        force_terminal=terminal,
        color_system="auto" if terminal and "NO_COLOR" not in os.environ else None,
        width=max(LEAST_WIDTH, get_terminal_size().columns) if bounded else 10_000,
        highlight=False,
        soft_wrap=not terminal,
    )
    for part in parts:
        console.print(part)
    text = console.file.getvalue()  # type: ignore[attr-defined]
    return "\n".join(line.rstrip() for line in str(text).splitlines()) + "\n"


def bar(part: int, whole: int, width: int = BAR_WIDTH) -> str:
    """A proportion as a bar of eighth blocks; anything above zero shows."""
    if whole <= 0 or part <= 0:
        return ""
    eighths = max(1, (part * width * 8 + whole // 2) // whole)
    full, rest = divmod(eighths, 8)
    if not (sys.stdout.encoding or "utf-8").lower().startswith("utf"):
        return "#" * max(1, full)
    return "█" * full + " ▏▎▍▌▋▊▉"[rest].strip()


def percent(part: int, whole: int) -> str:
    """``12.3 %``, in integer arithmetic."""
    if whole <= 0:
        return ""
    tenths = (part * 1000 + whole // 2) // whole
    return f"{tenths // 10}.{tenths % 10} %"


def ratio(part: int, whole: int) -> str:
    """``4x``, ``0.67x``: as few decimals as say it."""
    if whole <= 0:
        return "-"
    if part % whole == 0:
        return f"{part // whole}x"
    hundredths = (part * 100 + whole // 2) // whole
    return f"{hundredths // 100}.{hundredths % 100:02d}x"

"""``kvcalc compare --plot``: cache against context and where the memory goes, as svg, png or pdf.

The same question gives the same bytes: no date, no random ids. Every line differs from every other
in colour, in dash and in marker, and every part of a bar in colour and hatch, so that a print in
grey and an eye that does not tell red from green read the same. Colours: Okabe and Ito, "Color
universal design" (2008), without its yellow, which is lost on white.
"""

from importlib import import_module
from importlib.util import find_spec
from io import BytesIO
from typing import Any

from kvcalc.deployment.curves import CACHE, PARTS, Picture, bends
from kvcalc.errors import MissingExtraError, UsageError
from kvcalc.units import GIB, format_bytes, format_tokens

FORMATS = ("svg", "png", "pdf")
INSTALL = "pip install 'kvcalc[plot]'"

COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#000000", "#e69f00", "#56b4e9")
DASHES: tuple[Any, ...] = (
    "-", (0, (6, 2)), (0, (1.5, 1.5)), (0, (6, 2, 1.5, 2)), (0, (9, 2, 1.5, 2, 1.5, 2)),
)  # fmt: skip
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")
PART_STYLES = {
    "embedding and head": ("#bbbbbb", ""),
    "attention": ("#0072b2", "///"),
    "recurrent": ("#56b4e9", "\\\\\\"),
    "feed-forward": ("#009e73", ""),
    "experts": ("#cc79a7", "..."),
    "other weights": ("#666666", ""),
    "towers": ("#d55e00", "||"),
    CACHE: ("#e69f00", "xx"),
}
_SETTINGS = {
    "svg.hashsalt": "kvcalc",
    "svg.fonttype": "path",
    "pdf.fonttype": 42,
    "font.family": "DejaVu Sans",
    "font.size": 9,
    "hatch.linewidth": 0.6,
    "axes.spines.top": False,
    "axes.spines.right": False,
}
# What a file would otherwise say of the day and the library's version.
_METADATA: dict[str, dict[str, Any]] = {
    "svg": {"Date": None, "Creator": None},
    "png": {"Software": None},
    "pdf": {"CreationDate": None, "Creator": None, "Producer": None},
}


def check_format(file_name: str) -> str:
    """The format that a file's name asks for, once it is sure that it can be drawn.

    Raises UsageError for another ending and MissingExtraError where matplotlib is not installed.
    """
    ending = file_name.rpartition(".")[2].lower() if "." in file_name else ""
    if ending not in FORMATS:
        raise UsageError(f"--plot {file_name}: end the name in .{', .'.join(FORMATS)}")
    if find_spec("matplotlib") is None:
        raise MissingExtraError(f"--plot draws with matplotlib, which is not installed: {INSTALL}")
    return ending


def render(picture: Picture, file_format: str) -> bytes:
    """The file's bytes: lines above, bars below."""
    # By name, because the extra may not be there for a type checker either.
    matplotlib = import_module("matplotlib")
    new_figure = import_module("matplotlib.figure").Figure
    bars_height = 1.1 + 0.34 * len(picture.curves)
    lines_height = max(4.2, 1.4 + 0.2 * len(picture.curves))
    with matplotlib.rc_context({**matplotlib.rcParamsDefault, **_SETTINGS}):
        figure = new_figure(figsize=(9.0, lines_height + bars_height), layout="constrained")
        upper, lower = figure.subplots(2, 1, height_ratios=(lines_height, bars_height))
        _lines(upper, picture)
        _bars(lower, picture)
        file = BytesIO()
        figure.savefig(file, format=file_format, dpi=160, metadata=_METADATA[file_format])
    return file.getvalue()


def _lines(axes: Any, picture: Picture) -> None:
    """Cache against context on two logarithmic axes; a marker stands at each bend and at the end."""
    contexts, batch = picture.contexts, picture.batch
    ends: list[tuple[int, Any]] = []
    for number, curve in enumerate(picture.curves):
        held = [curve.cache_bytes(context, batch) for context in contexts]
        kept = [(x, y) for x, y in zip(contexts, held, strict=True) if y]
        marked = {*bends(curve.function), contexts[-1]}
        (line,) = axes.plot(
            [x for x, _ in kept], [y for _, y in kept],
            color=COLOURS[number % len(COLOURS)], linestyle=DASHES[number % len(DASHES)],
            marker=MARKERS[number % len(MARKERS)], markersize=5, linewidth=1.6,
            markevery=[i for i, (x, _) in enumerate(kept) if x in marked],
            label=curve.label if kept else f"{curve.label} (keeps nothing)",
        )  # fmt: skip
        ends.append((held[-1], line))
    axes.set_xscale("log", base=2)
    axes.set_yscale("log", base=2)
    _ticks(axes, picture)
    for device in picture.devices:
        axes.axhline(device.bytes, color="#888888", linewidth=0.8, linestyle=(0, (2, 2)), zorder=0)
        axes.annotate(
            f"{device.name}, {format_bytes(device.bytes)}", (0.005, device.bytes),
            xycoords=("axes fraction", "data"), xytext=(0, 1.5), textcoords="offset points",
            fontsize=7, color="#555555",
        )  # fmt: skip
    axes.set_xlabel("context, tokens of one sequence")
    axes.set_ylabel(f"cache of {batch} sequence{'s' if batch != 1 else ''}")
    axes.set_title("Cache against context", loc="left", fontsize=10, fontweight="bold")
    axes.grid(True, which="major", color="#dddddd", linewidth=0.5)
    # The legend lists the lines as they end, the highest first.
    ends.sort(key=lambda end: -end[0])
    axes.legend(handles=[line for _, line in ends], loc="upper left", bbox_to_anchor=(1.01, 1.0),
                frameon=False, handlelength=4.5, fontsize=8)  # fmt: skip


def _ticks(axes: Any, picture: Picture) -> None:
    """Powers of two, named as people name them: 8k, 128k, 1 GiB."""
    ticker = import_module("matplotlib.ticker")

    def tokens(value: float, _: object) -> str:
        return format_tokens(round(value))

    def size(value: float, _: object) -> str:
        return whole_bytes(round(value))

    for axis, formatter in ((axes.xaxis, tokens), (axes.yaxis, size)):
        axis.set_major_locator(ticker.LogLocator(base=2, numticks=14))
        axis.set_major_formatter(ticker.FuncFormatter(formatter))
        axis.set_minor_locator(ticker.NullLocator())
    axes.set_xlim(picture.contexts[0], picture.contexts[-1] * 1.06)


def whole_bytes(num_bytes: int) -> str:
    """``4 MiB``: a tick's size without decimals that say nothing."""
    return format_bytes(num_bytes).replace(".00 ", " ")


def _bars(axes: Any, picture: Picture) -> None:
    """One bar per curve: the parts of the weights, then the cache, and the sum beside it."""
    labels = [curve.label for curve in picture.curves]
    stacks = [dict(curve.stack(picture.context, picture.batch)) for curve in picture.curves]
    places = range(len(labels))
    left = [0] * len(labels)
    for name in (*PARTS, CACHE):
        sizes = [stack.get(name, 0) for stack in stacks]
        if any(sizes):
            colour, hatch = PART_STYLES[name]
            axes.barh(
                places, [size / GIB for size in sizes], left=[value / GIB for value in left],
                height=0.68, color=colour, hatch=hatch, edgecolor="white", linewidth=0.5, label=name,
            )  # fmt: skip
        left = [value + size for value, size in zip(left, sizes, strict=True)]
    for place, total in zip(places, left, strict=True):
        axes.annotate(
            format_bytes(total), (total / GIB, place), xytext=(4, 0),
            textcoords="offset points", va="center", fontsize=8,
        )  # fmt: skip
    axes.set_yticks(places, labels)
    axes.invert_yaxis()
    axes.margins(x=0.13)
    axes.set_xlim(left=0)
    axes.set_xlabel("GiB")
    axes.tick_params(axis="y", length=0)
    question = f"{format_tokens(picture.context)} tokens, batch {picture.batch}"
    axes.set_title(f"Where the memory goes: {question}", loc="left", fontsize=10, fontweight="bold")
    axes.grid(True, axis="x", color="#dddddd", linewidth=0.5)
    axes.set_axisbelow(True)
    axes.legend(loc="upper left", bbox_to_anchor=(1.01, 1.0), frameon=False, fontsize=8)

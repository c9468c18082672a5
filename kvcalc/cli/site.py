"""``kvcalc site``: models, mechanisms and engines as a folder of pages."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Annotated

from kvcalc.cli import completion, kinds, options
from kvcalc.cli.folder import spare_folder, write_folder
from kvcalc.cli.output import note
from kvcalc.cli.progress import track

_Models = Annotated[
    list[str] | None,
    kinds.argument(
        "[MODEL...]",
        f"{options.MODELS[:-1]}, or a pattern such as 'qwen*'.",
        completion.model,
        shown="all that are shipped",
    ),
]
_Output = Annotated[
    Path, kinds.file("The folder to write.", "--output", "-o", metavar="DIR", shown=False)
]


def site(
    output: _Output,
    models: _Models = None,
    force: options.Force = False,
    quiet: options.Quiet = False,
) -> None:
    """A folder of pages: models, mechanisms, engines, a search.

    Any web server hands it out, and it opens from the disk; no page asks a network. '*' stands for
    every shipped model, so that '*' my-model.yaml adds one. A folder that holds anything else is left
    alone; --force writes its pages among it.

    Example: kvcalc site -o site
    """
    spare_folder(output, force)
    from kvcalc.convert.locate import locate
    from kvcalc.site.build import build
    from kvcalc.spec.catalog import expand

    names = list(dict.fromkeys(expand(models or ["*"])))
    found = [(name, locate(name)) for name in track(names, len(names), "reading", quiet=quiet)]

    def shown(pages: Sequence[str]) -> Iterable[str]:
        return track(pages, len(pages), "writing", quiet=quiet)

    count, size = write_folder(output, build(found, shown), force)
    if not quiet:
        note(f"wrote {output}: {count:,} files, {size:,} bytes")

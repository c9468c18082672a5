"""``kvcalc import``: write the spec of a model that comes as a config, to read, review and commit."""

from pathlib import Path
from typing import Annotated

from kvcalc.cli import completion, kinds, options
from kvcalc.cli.output import note, write, write_file

Source = Annotated[
    str,
    kinds.argument(
        "SOURCE",
        "A config.json, a folder with one, a .safetensors or .gguf file, or a hub id "
        "(org/name, org/name@revision).",
        completion.path,
    ),
]
Output = Annotated[
    Path | None, kinds.file("The file to write.", "--output", "-o", shown="standard output")
]
Name = Annotated[
    str | None, kinds.option("NAME", "The spec's name.", shown="the file's or the model's")
]


def import_(
    source: Source,
    output: Output = None,
    force: options.Force = False,
    name: Name = None,
    quiet: options.Quiet = False,
) -> None:
    """A commented spec from a model's own config, to review.

    'kvcalc check' holds it to its numbers.

    Example: kvcalc import ./config.json -o model_specs/mine/my-model.yaml
    """
    from kvcalc.convert.write import read_source, spec_text

    found = read_source(source, name or (output.stem if output is not None else None))
    text = spec_text(found)
    if output is None:
        write(text)
        return
    write_file(output, text.encode("utf-8"), force, (source,))
    if not quiet:
        for assumption in found.assumptions:
            note(f"assumed: {assumption}")
        note(f"wrote {output}; review it, then: kvcalc check {output}")

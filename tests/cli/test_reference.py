"""The command reference in the package is the generated one, and every command has an example."""

from kvcalc.cli.commands import COMMANDS
from kvcalc.cli.reference import FILE, text


def test_the_file_is_the_generated_one() -> None:
    assert FILE.read_text("utf-8") == text(), "python -m kvcalc.cli.reference rewrites it"


def test_every_command_is_described_with_an_example() -> None:
    sections = text().split("\n## kvcalc ")[1:]
    assert [section.split("\n")[0] for section in sections] == list(COMMANDS)
    for section in sections:
        assert "Example: kvcalc" in section, section.split("\n")[0]

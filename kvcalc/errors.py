"""The errors that kvcalc raises on purpose. Each has a ``kind``, the word that JSON errors carry."""

from kvcalc.frozen import frozen


@frozen
class Problem:
    """A problem of a file; line and column are 0 for the whole file.

    path: the file as the user named it. line, column: counted from 1. field: its dotted path, such as
    ``blocks.local.attention.head_dim``.

    Fields:
        code: the rule, as ``kvcalc check --rules`` lists them.
    """

    code: str
    path: str
    line: int
    column: int
    field: str
    message: str

    def __str__(self) -> str:
        return one_line(self._said())

    def _said(self) -> str:
        where = f"{self.path}:{self.line}:{self.column}" if self.line else self.path
        return f"{where} {self.field}: {self.message}" if self.field else f"{where} {self.message}"


def one_line(text: str) -> str:
    """Words of somebody else in one line, with what does not print escaped: a path or a name may hold a
    line break, and what follows it would be a line of its author's, or what moves a cursor. Bytes of a
    path that are no text stay, and go out as they are.
    """
    if text.isprintable():
        return text
    return "".join(
        c if c.isprintable() or "\udc80" <= c <= "\udcff" else ascii(c)[1:-1] for c in text
    )


class KvcalcError(Exception):
    """Base of every error that a user can cause. The message is for people; no traceback needed."""

    kind = "usage"

    def __init__(self, message: str, problems: tuple[Problem, ...] = ()) -> None:
        super().__init__(message)
        self.message = message
        self.problems = problems

    def __str__(self) -> str:
        """The message, and every problem that it leaves out on a line of its own."""
        lines = [f"  {problem} [{problem.code}]" for problem in self.left_out]
        return "\n".join([self.message, *lines])

    @property
    def left_out(self) -> tuple[Problem, ...]:
        """The problems that the message does not state itself, as it does where there is one."""
        return tuple(each for each in self.problems if each.message not in self.message)


class SpecError(KvcalcError):
    """The YAML spec has problems; all of them are in ``problems``."""

    kind = "spec"


class UnsupportedError(KvcalcError):
    """Something that kvcalc knows of and cannot account for; the message names it."""

    kind = "unsupported"


class NotFoundError(KvcalcError):
    """No such model, file or device."""

    kind = "not_found"


class UsageError(KvcalcError):
    """The options do not fit together, or an option's value is wrong."""

    kind = "usage"


class UnknownFormatError(UsageError, ValueError):
    """A word that names no number format."""


class MissingExtraError(KvcalcError):
    """An optional dependency is not installed; the message holds the install command."""

    kind = "missing_extra"


class FileError(KvcalcError):
    """A file cannot be read or written."""

    kind = "io"

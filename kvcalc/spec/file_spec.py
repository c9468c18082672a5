"""A model whose files are known to be of one type, without having been read."""

from dataclasses import fields

from kvcalc.frozen import frozen
from kvcalc.spec.model import ModelSpec


@frozen(kw_only=True)
class FileSpec(ModelSpec):
    """A model as files of one type hold it.

    file_type: as --dtype has it, such as q4_k_m or mlx-4bit; ``gguf`` where which type is not known.
    """

    file_type: str

    @property
    def own_dtype(self) -> str:
        """The type of the files."""
        return self.file_type


def of_type(spec: ModelSpec, file_type: str) -> FileSpec:
    """The model as files of one type hold it."""
    held = {each.name: getattr(spec, each.name) for each in fields(ModelSpec)}
    return FileSpec(**held, file_type=file_type)

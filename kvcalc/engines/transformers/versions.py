"""The release of transformers whose caches were measured."""

MEASURED = (5, 23, 0)

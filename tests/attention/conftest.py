"""Sums over an inventory that the tests of single mechanisms compare with literal numbers."""

from math import prod
from typing import Any

import pytest

from kvcalc.dtypes import CacheDtypes


class Sums:
    """What a mechanism's lists add up to."""

    @staticmethod
    def elements(mechanism: Any, tokens: int, encoder_tokens: int = 0) -> int:
        """Elements held by one layer for one sequence of ``tokens``."""
        return sum(
            prod(tensor.shape) * tensor.extent.positions(tokens, encoder_tokens)
            for tensor in mechanism.cache()
        )

    @staticmethod
    def bytes(mechanism: Any, tokens: int, kv_dtype: str) -> int:
        """Bytes held by one layer for one sequence of ``tokens``."""
        dtypes = CacheDtypes.parse(kv_dtype)
        return sum(
            tensor.position_bytes(dtypes) * tensor.extent.positions(tokens, 0)
            for tensor in mechanism.cache()
        )

    @staticmethod
    def shapes(mechanism: Any, tokens: int) -> dict[str, tuple[int, ...]]:
        """Name and shape of every cached tensor, batch first, for one sequence of ``tokens``."""
        return {
            tensor.name: tensor.full_shape(1, tensor.extent.positions(tokens, 0))
            for tensor in mechanism.cache()
        }

    @staticmethod
    def parameters(mechanism: Any, hidden_size: int) -> int:
        """Parameters of one layer's mechanism."""
        return sum(tensor.numel for tensor in mechanism.parameters(hidden_size))

    @staticmethod
    def per_rank(mechanism: Any, ranks: int) -> dict[str, tuple[int, ...]]:
        """Shape of every cached tensor on the fullest of ``ranks`` tensor-parallel ranks."""
        return {tensor.name: tensor.per_rank(ranks) for tensor in mechanism.cache()}

    @staticmethod
    def weights_per_rank(
        mechanism: Any, hidden_size: int, ranks: int
    ) -> dict[str, tuple[int, ...]]:
        """Shape of every weight on the fullest of ``ranks`` tensor-parallel ranks."""
        return {tensor.name: tensor.per_rank(ranks) for tensor in mechanism.parameters(hidden_size)}


@pytest.fixture
def sums() -> type[Sums]:
    return Sums

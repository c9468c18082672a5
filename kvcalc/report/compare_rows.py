"""The columns of a comparison, shared by its formats."""

from kvcalc.memory.grid import Row

FIELDS = (
    "model", "attention", "kv_dtype", "context_tokens", "encoder_tokens", "batch_size",
    "parameters", "weight_bytes", "cache_bytes", "bytes_per_token", "total_bytes", "cache_ratio_to_first",
)  # fmt: skip


def values(row: Row) -> tuple[str | int, ...]:
    """The row's values in the order of ``FIELDS``; the ratio as a decimal of six digits."""
    return (
        row.model, row.attention, row.kv_dtype, row.context_tokens, row.encoder_tokens, row.batch_size,
        row.parameters, row.weight_bytes, row.cache_bytes, row.bytes_per_token, row.total_bytes,
        decimal_ratio(row.cache_bytes, row.first_cache_bytes),
    )  # fmt: skip


def decimal_ratio(part: int, whole: int) -> str:
    """``0.131000``: six decimals in integer arithmetic; empty when there is nothing to divide by."""
    if whole <= 0:
        return ""
    millionths = (part * 10**6 + whole // 2) // whole
    return f"{millionths // 10**6}.{millionths % 10**6:06d}"

"""A running server, asked for what its start-up log says: placeholder until written."""

from kvcalc.errors import UsageError


def asked(url: str) -> bytes:
    raise UsageError(f"{url}: asking a running server is not available yet")

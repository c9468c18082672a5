"""How many tokens to run: past every window, over a chunk's end, up to a block about to close."""

from kvcalc.frozen import frozen
from kvcalc.spec.model import ModelSpec
from kvcalc.verify.reduce import ENCODER_TOKENS, sizes_of

SEARCH = 240


@frozen
class Plan:
    """prefill tokens at once, then single ones up to ``tokens``; ``ahead`` more to see effects."""

    prefill: int
    tokens: int
    ahead: int
    encoder_tokens: int

    def __str__(self) -> str:
        encoder = f", {self.encoder_tokens} encoder tokens" if self.encoder_tokens else ""
        return (
            f"prefill of {self.prefill} tokens, then one by one to {self.tokens}; "
            f"effects looked for in the {self.ahead} tokens after{encoder}"
        )


def plan(spec: ModelSpec) -> Plan:
    """A plan for a model with these windows, chunks and blocks."""
    parts = [part for block in spec.blocks.values() for part in block.mechanisms()]
    windows, sinks = sizes_of(parts, "window"), sizes_of(parts, "sinks")
    chunks, blocks = sizes_of(parts, "chunk"), sizes_of(parts, "block")
    kernels = {
        (kernel, stride)
        for part in parts
        for kernel in sizes_of([part], "kernel")
        for stride in sizes_of([part], "stride")
    }
    lengths = [12, max(windows, default=0) + max(sinks, default=0) + 3,
               max(chunks, default=0) + 2, 3 * max(blocks, default=0)]  # fmt: skip
    least = max(lengths + [kernel + 3 * stride for kernel, stride in kernels])
    shares = [spec.recursion.num_recursions] if spec.recursion is not None else []

    def fit(tokens: int) -> int:
        """How many of the wishes a length grants."""
        after = tokens + 1
        granted: int = (
            # A block is one token short of closing, so all its tokens matter next.
            sum(after % size == 0 for size in blocks)
            + sum(after >= kernel and (after - kernel) % stride == 0 for kernel, stride in kernels)
            # The chunk goes on, and what is kept of it is read again.
            + sum(tokens % size not in (0, 1) for size in chunks)
            + sum(tokens % size == 0 for size in shares)
        )
        return granted

    tokens: int = max(range(least, least + SEARCH), key=lambda length: (fit(length), -length))
    prefill: int = min([5, *(size - 2 for size in chunks)])
    if shares:
        prefill = 2 * shares[0]
    encoder = 0
    if spec.encoder is not None:
        encoder = spec.encoder.tokens or ENCODER_TOKENS
    return Plan(max(1, prefill), tokens, 3, encoder)

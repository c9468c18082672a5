"""What tpu-inference's own functions say of pages: `python -m tests.engines.tpu_inference_measured`.

Needs jax (no TPU), torch, and an unpacked wheel of tpu-inference, whose folder PYTHONPATH names; vLLM and
what else it imports are stood in for. Its functions are called as its cache manager does: heads and widths
padded, a page's bytes over so many chips, the tokens of a page for a longest request. Two seconds; the
output
is tests/engines/tpu_inference.json.
"""

import json
from datetime import UTC, datetime
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from tests.engines.releases import Sources
from tests.engines.stand_ins import stand_in

FILE = Path(__file__).with_name("tpu_inference.json")
# What of its release says what changed (tests/engines/releases.py).
SOURCES = Sources(
    package="tpu_inference",
    functions=(
        "runner/kv_cache.py",
        "layers/vllm/backends/flash_attn.py",
        "layers/vllm/backends/flash_attn_mla.py",
        "utils.py",
    ),
)
RELEASE = "0.32.0"
# (KV heads, width of a head), and widths of latents.
HEADS = (
    (1, 64), (1, 128), (1, 256), (2, 64), (2, 96), (2, 128), (2, 256), (4, 64), (4, 80), (4, 128), (4, 256),
    (5, 64), (8, 64), (8, 80), (8, 96), (8, 128), (8, 192), (8, 256), (12, 64), (16, 128), (20, 128),
    (32, 80),
    (32, 96), (32, 128), (40, 128),
)  # fmt: skip
LATENTS = (288, 320, 576)
FORMATS = ("bfloat16", "float8_e4m3fn")
CHIPS = (1, 2, 8)
PAGES = (16, 256)
LENGTHS = (100, 512, 1024, 2048, 4096, 8192, 8193, 32768, 131072, 1048576)
REQUESTS = (8, 256, 1024)


def section() -> str:
    """Its own functions of pages."""
    table = json.loads(FILE.read_text("utf-8"))
    lines = [
        "## tpu-inference", "",
        f"No public log that states its pages was found. tpu-inference {table['tpu-inference']}'s own "
        f"functions were called on {table['measured']}, without a TPU and with vLLM stood in for: "
        f"{len(table['pages'])} pages of heads over 1, 2 and 8 chips, {len(table['latents'])} of "
        f"latents, and "
        f"the tokens of a page for {len(table['tokens'])} servers. The tests hold kvcalc to all of them "
        "(`tests/engines/test_tpu_inference.py`, written by "
        "`python -m tests.engines.tpu_inference_measured`); in bf16 and fp8 on one chip, pages "
        "of 16 tokens:", "",
        "| KV heads | width | a page in bf16 | in fp8 |",
        "|---:|---:|---:|---:|",
    ]  # fmt: skip
    pages = {tuple(row[:5]): row[5] for row in table["pages"]}
    for heads, width, dtype, chips, tokens in pages:
        if (dtype, chips, tokens) == ("bfloat16", 1, 16):
            narrow = pages[heads, width, "float8_e4m3fn", 1, 16]
            lines.append(
                f"| {heads} | {width} | {pages[heads, width, dtype, 1, 16]:,} | {narrow:,} |"
            )
    return "\n".join(lines) + "\n"


def main() -> None:
    stand_in({"vllm", "torchax", "flax", "libtpu", "tokamax", "qwix", "google", "tpu_info",
              "tpu_inference.models", "tpu_inference.layers.vllm.quantization",
              "tpu_inference.layers.vllm.custom_ops", "tpu_inference.layers.vllm.ops"},
             ("torchvision", "numba", "jaxtyping", "absl", "pathwaysutils"))  # fmt: skip
    import jax.numpy as jnp

    registry: Any = import_module("vllm.v1.attention.backends.registry")
    # Its decorator would put a mock in the class's place.
    registry.register_backend = lambda *_, **__: lambda made: made
    from tpu_inference import utils
    from tpu_inference.layers.vllm.backends.flash_attn import PallasAttentionBackend
    from tpu_inference.layers.vllm.backends.flash_attn_mla import PallasMLAttentionBackend
    from tpu_inference.runner import kv_cache

    assert version("tpu-inference") == RELEASE, f"this is {version('tpu-inference')}"

    kv_cache.to_jax_dtype = lambda dtype: jnp.dtype(getattr(jnp, dtype))

    def page(heads: int, width: int, dtype: str, chips: int, tokens: int, mla: bool) -> int | None:
        axis = kv_cache.ShardingAxisName.KV_HEAD
        kv_cache.utils.get_mesh_shape_product = lambda mesh, each: chips if each == axis else 1
        try:
            if not mla:
                heads = utils.get_padded_num_heads(heads, chips)
                width = utils.get_padded_head_dim(width)
            return int(kv_cache.get_attention_page_size_bytes(
                None, tokens, heads, width, dtype, mla
            ))  # fmt: skip
        except AssertionError:
            return None

    def tokens_of(length: int, requests: int) -> list[int]:
        config = SimpleNamespace(
            model_config=SimpleNamespace(max_model_len=length),
            scheduler_config=SimpleNamespace(max_num_seqs=requests),
        )
        least = PallasAttentionBackend.get_min_page_size(config)
        return [max(PallasAttentionBackend.get_page_size(config), least),
                PallasMLAttentionBackend.get_page_size(config)]  # fmt: skip

    import tpu_inference.layers.vllm.backends.flash_attn as module

    module.cdiv = lambda number, by: -(-number // by)
    module.next_power_of_2 = lambda number: 1 << (number - 1).bit_length()
    table: dict[str, Any] = {
        "tpu-inference": RELEASE,
        "measured": datetime.now(UTC).date().isoformat(),
        "pages": [[heads, width, dtype, chips, tokens, page(heads, width, dtype, chips, tokens, False)]
                  for heads, width in HEADS for dtype in FORMATS for chips in CHIPS for tokens in PAGES],
        "latents": [[width, dtype, tokens, page(1, width, dtype, 1, tokens, True)]
                    for width in LATENTS for dtype in FORMATS for tokens in (16, 256, 1024)],
        "tokens": [[length, requests, *tokens_of(length, requests)]
                   for length in LENGTHS for requests in REQUESTS],
    }  # fmt: skip
    lines = [f"{json.dumps(name)}: {json.dumps(value)}" for name, value in table.items()]
    FILE.write_text("{\n" + ",\n".join(lines) + "\n}\n", "utf-8")


if __name__ == "__main__":
    main()

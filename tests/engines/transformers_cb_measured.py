"""What transformers' continuous batching does: `python -m tests.engines.transformers_cb_measured`.

In a virtual environment with torch and the release of transformers that is named below; two minutes on a
CPU. Small random models of every decoder type that kvcalc reads are built, answer two prompts by
``generate_batch`` and by ``generate``, and their ``PagedAttentionCache`` is asked for the sectors of
prompts. The shipped models' caches are laid out at true size on the meta device, for memories and
attention implementations. tests/engines/transformers_cb.json holds what came out; the tests replay it.
"""

import json
import logging
import random
import sys
import warnings
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from kvcalc.convert.model_types import CONVERTERS, TEXT_CONFIGS
from kvcalc.spec.catalog import load
from tests.convert.measured import drawn, inside
from tests.engines.releases import Sources

FILE = Path(__file__).with_name("transformers_cb.json")
# What of its release says what changed (tests/engines/releases.py).
_BATCHING = "generation/continuous_batching"
SOURCES = Sources(
    package="transformers",
    classes=(f"{_BATCHING}/cache.py",),
    functions=(f"{_BATCHING}/cache.py", f"{_BATCHING}/cache_allocators/full_attention.py",
               f"{_BATCHING}/cache_allocators/sliding_attention.py",
               f"{_BATCHING}/initialization.py", f"{_BATCHING}/distributed.py"),
    words=((f"{_BATCHING}/initialization.py", "FALLBACK_DEFAULTS"),),
    models=(("models/auto/auto_mappings.py", "CONFIG_MAPPING_NAMES"),),
)  # fmt: skip
RELEASE = "5.24.0"
PROMPTS = ([3, 5, 7, 9, 11, 13, 15, 17, 19, 21, 23, 25, 27], [4, 6, 8])
# Pages of 4 tokens for the small models, whose windows are 4 to 9; prompts that are asked about.
PAGE, LENGTHS = 4, (1, 4, 5, 13, 40)
# At true size: pages of 256, these lengths, and so many requests of each.
TRUE_LENGTHS, REQUESTS = (1, 257, 4096, 5000, 32769), (1, 2, 7)
# Around whose text model: a tower needs no package that is not there.
AROUND = (
    "gemma3",
    "llava",
    "mistral3",
    "aya_vision",
    "voxtral",
    "got_ocr2",
    "internvl",
    "idefics3",
)
SHIPPED = (
    "llama-3-8b", "llama-3.1-70b", "qwen3-8b", "qwen3-30b-a3b", "mistral-7b-v0.1", "mixtral-8x7b",
    "gemma-2-9b", "gemma-3-1b", "gemma-3-27b", "gemma-3n-e2b", "gpt-oss-20b", "gpt-oss-120b", "phi-4",
    "phi-3-mini-4k", "olmo-3-7b", "command-r7b", "exaone-4.0-32b", "gpt2", "starcoder2-3b", "minimax-m2",
    "glm-4.5-air", "smollm3-3b",
)  # fmt: skip
IMPLEMENTATIONS = ("sdpa", "paged|eager", "flash_attention_2")


class Ranks:
    """The stand-in for a process of several: their KV heads are divided, and no other is asked."""

    def __init__(self, count: int) -> None:
        self.count, self.seen = count, 0

    @property
    def tp_size(self) -> int:
        # Read three times for the heads, then to agree with the other ranks, which there are not.
        self.seen += 1
        return self.count if self.seen <= 3 else 1

    def are_kv_heads_tp_ed(self) -> bool:
        return self.count > 1


def _sectors(cache: Any, tokens: int, requests: int = 1) -> int:
    """Sectors that so many requests of so many tokens take of an empty cache."""
    for number in range(requests):
        state = SimpleNamespace(request_id=str(number), current_len=lambda: 0)
        assert cache.can_store_request_tokens(state, tokens)
    used = cache.num_sectors - cache.pool.num_free_sectors
    cache.free_all_requests(clear_ledgers=True)
    cache.pool.reset()
    return int(used)


def _paged(config: Any, given: Any, ranks: int = 1, logits: bool = False) -> Any:
    import torch
    from transformers.generation.continuous_batching.cache import PagedAttentionCache

    return PagedAttentionCache(config, given, "meta", Ranks(ranks), torch.bfloat16, logits)


def _resolved(memory: int = 1 << 40, **given: Any) -> Any:
    """A config with nothing left open, on a device with so much memory."""
    from transformers.generation.configuration_utils import ContinuousBatchingConfig
    from transformers.generation.continuous_batching import cache as module

    module.get_device_and_memory_breakdown = lambda: (None, memory, 0, 0)
    open_ = {"max_batch_tokens": 64, "max_requests_per_batch": 1024, "max_blocks_per_request": 0}
    return ContinuousBatchingConfig(
        **{"use_async_batching": False, "max_memory_percent": 1.0, **open_, **given}
    )


def small(model_type: str, seed: int) -> dict[str, Any]:
    """How one small random model fares."""
    import torch
    from transformers import CONFIG_MAPPING, GenerationConfig
    from transformers.generation.configuration_utils import ContinuousBatchingConfig
    from transformers.generation.continuous_batching.distributed import DistributedHelper

    around = model_type in TEXT_CONFIGS
    values = inside(model_type, seed) if around else drawn(model_type, seed)
    given = {name: value for name, value in values.items() if name != "model_type"}
    try:
        config = CONFIG_MAPPING[model_type](**given)
        config._experts_implementation = "eager"
        for one in (config, config.get_text_config()):
            one.eos_token_id = one.pad_token_id = None
        model = _built(config, around)
        model.generation_config.eos_token_id = None
        plain = GenerationConfig(max_new_tokens=6, do_sample=False, pad_token_id=0)
        want = [model.generate(torch.tensor([prompt]), generation_config=plain)[0, len(prompt):].tolist()
                for prompt in PROMPTS]  # fmt: skip
        paged = ContinuousBatchingConfig(num_blocks=24, max_batch_tokens=64, page_size=PAGE)
        greedy = GenerationConfig(
            max_new_tokens=6, do_sample=False, eos_token_id=-1, pad_token_id=0
        )
        got = model.generate_batch(
            inputs=[list(prompt) for prompt in PROMPTS], generation_config=greedy,
            continuous_batching_config=paged, progress_bar=False,
        )  # fmt: skip
        answers = [got[name] for name in sorted(got)]
        failed = [answer.error for answer in answers if answer.error]
        if failed:
            return {"fails": " ".join(failed[0].split())[:160]}
        cache = _paged(config.get_text_config(), _resolved(num_blocks=200, page_size=PAGE))
        plan = SimpleNamespace(tp_plan=getattr(model, "tp_plan", None) or {})
        return {
            "same": [answer.generated_tokens for answer in answers] == want,
            "sector_bytes": cache.bytes_per_sector,
            "layers": {
                name: len(one.layer_indices) for name, one in cache.cache_allocators.items()
            },
            "sectors": [_sectors(cache, tokens) for tokens in LENGTHS],
            "shares_prefixes": cache.use_prefix_sharing,
            "divides_heads": DistributedHelper.are_kv_heads_tp_ed(plan),
            "slices_logits": bool(model._supports_logits_to_keep()),
        }
    except Exception as error:  # what it fails at is the answer
        return {"fails": f"{type(error).__name__}: {' '.join(str(error).split())}"[:160]}


def _built(config: Any, around: bool) -> Any:
    import torch
    from transformers import AutoModelForCausalLM, AutoModelForImageTextToText

    torch.manual_seed(0)
    auto = AutoModelForImageTextToText if around else AutoModelForCausalLM
    try:
        config._attn_implementation = "sdpa"
        return auto.from_config(config, dtype=torch.float32).eval()
    except ValueError as error:
        if "scaled_dot_product" not in str(error):
            raise
        config._attn_implementation = "eager"
        return auto.from_config(config, dtype=torch.float32).eval()


def shipped(name: str) -> dict[str, Any]:
    """A shipped model's cache at true size: its sectors, and the sectors of memories."""
    from transformers import CONFIG_MAPPING

    from kvcalc.verify.twins.twin import twin_of

    twin = twin_of(load(name))
    config = CONFIG_MAPPING[twin.model_type](**twin.values)
    rng = random.Random(name)
    fixed = _resolved(num_blocks=4096)
    rows: dict[str, Any] = {"held": [], "pools": []}
    for ranks in (1, 2):
        heads = getattr(config, "num_key_value_heads", None) or config.num_attention_heads
        if heads % ranks:
            continue
        cache = _paged(config, fixed, ranks)
        rows["held"].append(
            [ranks, cache.bytes_per_sector,
             [[_sectors(cache, tokens, each) for each in REQUESTS] for tokens in TRUE_LENGTHS]]
        )  # fmt: skip
    for _ in range(6):
        memory = rng.randint(8 << 30, 120 << 30)
        kind = rng.choice(IMPLEMENTATIONS)
        batch, requests = rng.choice((None, 512, 2048)), rng.choice((None, 64))
        flash = kind.startswith("flash")
        ahead = rng.random() < 0.5 if flash else False
        windows = len(set(getattr(config, "layer_types", None) or [])) > 1 or getattr(
            config, "sliding_window", None
        )
        table = 32 if flash and not windows else 0
        given = _resolved(
            memory, max_batch_tokens=batch, max_blocks_per_request=table,
            max_requests_per_batch=requests or 1024, use_async_batching=ahead,
        )  # fmt: skip
        config._attn_implementation = kind
        try:
            pool = _paged(config, given, logits=True)
            found = [pool.max_batch_tokens, pool.num_sectors, pool.num_blocks]
        except (MemoryError, ValueError):
            found = None
        rows["pools"].append([memory, kind, batch, requests, ahead, found])
    return rows


def section() -> str:
    """Its allocators, run: sectors of requests, and the sectors of memories."""
    table = json.loads(FILE.read_text("utf-8"))
    runs = sum("fails" not in row for rows in table["small"].values() for row in rows)
    lines = [
        "## transformers' continuous batching", "",
        f"No public log states its sizes. transformers {table['transformers']} was run on a CPU on "
        f"{table['measured']}: {len(table['small'])} types as two small random models each, of which "
        f"{runs} models answered as `generate` does and were asked for the sectors of prompts, the others "
        "failed and are refused by name; and the cache of shipped models laid out at true size on the meta "
        "device, for six memories each. The tests hold kvcalc to all (`tests/engines/"
        "test_transformers_cb.py`, written by `python -m tests.engines.transformers_cb_measured`):", "",
        "| model | a sector, bytes | sectors of 1, 4,096 and 32,769 tokens | memory for the cache | "
        "attention | sectors |",
        "|---|---:|---:|---:|---|---:|",
    ]  # fmt: skip
    for name, row in table["shipped"].items():
        _, sector, counts = row["held"][0]
        memory, backend, batch, _, _, pool = row["pools"][0]
        shown = " / ".join(f"{counts[place][0]:,}" for place in (0, 2, 4))
        step = f", steps of {batch:,}" if batch else ""
        found = "refused" if pool is None else f"{pool[1]:,}"
        lines.append(f"| {name} | {sector:,} | {shown} | {memory:,} | {backend}{step} | {found} |")
    return "\n".join(lines) + "\n"


def text(table: dict[str, Any]) -> str:
    """One model a line."""
    parts = [f'"transformers": "{RELEASE}"', f'"measured": "{table["measured"]}"']
    for part in ("small", "shipped"):
        lines = [f"{json.dumps(name)}: {json.dumps(row)}" for name, row in table[part].items()]
        parts.append(f'"{part}": {{\n' + ",\n".join(lines) + "\n}")
    return "{\n" + ",\n".join(parts) + "\n}\n"


if __name__ == "__main__":
    import transformers

    assert transformers.__version__ == RELEASE, f"this is transformers {transformers.__version__}"
    warnings.simplefilter("ignore")
    transformers.logging.set_verbosity_error()
    logging.disable(logging.CRITICAL)
    chosen = sys.argv[1:] or ["small", "shipped"]
    table = json.loads(FILE.read_text("utf-8")) if FILE.exists() else {}
    table["measured"] = datetime.now(UTC).date().isoformat()
    if "shipped" in chosen:
        table["shipped"] = {name: shipped(name) for name in SHIPPED}
    if "small" in chosen:
        names = (*CONVERTERS, *AROUND)
        table["small"] = {name: [small(name, seed) for seed in (0, 1)] for name in names}
    FILE.write_text(text(table), "utf-8")

"""Programs that run llama.cpp with defaults of their own."""

from collections.abc import Callable, Mapping
from typing import Any

from kvcalc.engines.llama_cpp.flags import LlamaCppFlags
from kvcalc.errors import UsageError
from kvcalc.frozen import frozen
from kvcalc.units import GIB


@frozen(kw_only=True)
class Runner:
    """A program.

    words: as sentences name it. context: tokens where none are said, by the memory of all devices, with
    the source; None: the model's, at most 8,192. defaults: (flag, value, source) of what it sets where
    nothing is said. has: the flags of llama.cpp that it has, None for all. opens: what it finds by
    itself of where things lie. warning: what is to be said of every answer.
    """

    words: str
    context: Callable[[int], tuple[int, str]] | None = None
    defaults: tuple[tuple[str, Any, str], ...] = ()
    has: frozenset[str] | None = None
    opens: frozenset[str] = frozenset(("layers", "experts", "shares"))
    warning: str = ""

    def flags(
        self, given: Mapping[str, Any], version: str | None
    ) -> tuple[LlamaCppFlags, tuple[str, ...]]:
        """The flags, and what was filled in, as notes. Raises UsageError for flags it has not."""
        from kvcalc.engines.flags import option_of

        said = {name: value for name, value in given.items() if value is not None}
        foreign = [
            option_of(name) for name in said if self.has is not None and name not in self.has
        ]
        if foreign:
            raise UsageError(f"{self.words} has no {' or '.join(foreign)}: --engine llama.cpp has")
        notes = [self.warning] if self.warning else []
        for name, value, source in self.defaults:
            if name not in said:
                said[name] = value
                set_to = "" if value is True else f" {value}"
                notes.append(f"{option_of(name)}{set_to}: {self.words}'s default ({source})")
        return LlamaCppFlags.of(self.words, said, engine_version=version), tuple(notes)


def _by_memory(num_bytes: int) -> tuple[int, str]:
    """Ollama's docs/context-length.mdx: less than 24 GiB of VRAM 4k, up to 48 GiB 32k, else 256k."""
    source = "Ollama's default by VRAM (docs/context-length.mdx)"
    # Of the memory that a program sees, as Ollama looks at it: a 24 GB card has a little less.
    nominal = -(-num_bytes // GIB)
    return (4096 if nominal < 24 else 32768 if nominal < 48 else 262144), source


def _four_thousand(num_bytes: int) -> tuple[int, str]:
    return 4096, "LM Studio's default (lmstudio-bug-tracker, issue 2174)"


RUNNERS: dict[str, Runner] = {
    "llama.cpp": Runner(words="llama.cpp"),
    "ollama": Runner(
        words="Ollama",
        context=_by_memory,
        defaults=(
            ("parallel", 1, "envconfig/config.go, NumParallel"),
            ("cache_type_k", "f16", "envconfig/config.go, KvCacheType"),
            ("cache_type_v", "f16", "envconfig/config.go, KvCacheType"),
        ),
        has=frozenset(
            ("parallel", "cache_type_k", "cache_type_v", "flash_attn", "n_gpu_layers", "ubatch")
        ),
        opens=frozenset(("layers",)),
        warning="weights in llama.cpp's mixture of that name; Ollama's own files may be of another (its "
        "Q4_K_M of Qwen3 keeps attn_v in F16, 0.4 GiB more at 32B: ollama issue 14774): name the pulled "
        "model, such as qwen3:32b, for its own bytes",
    ),
    "lm-studio": Runner(
        words="LM Studio",
        context=_four_thousand,
        defaults=(
            ("parallel", 4, "docs/app/advanced/parallel-requests"),
            ("cache_type_k", "f16", "llm-load-model-config: no type is set"),
            ("cache_type_v", "f16", "llm-load-model-config: no type is set"),
            ("kv_unified", True, "0.4.0: its slots share one cache"),
        ),
        has=frozenset(
            ("parallel", "cache_type_k", "cache_type_v", "flash_attn", "n_gpu_layers", "n_cpu_moe",
             "cpu_moe", "kv_offload", "kv_unified")
        ),
        opens=frozenset(("layers", "experts")),
    ),
}  # fmt: skip


def runner_of(engine: str) -> Runner:
    return RUNNERS[engine]

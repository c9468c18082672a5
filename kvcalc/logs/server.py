"""A running server, asked for what its start-up log would say.

vLLM: /version, /v1/models (entrypoints/openai/models), and vllm:cache_config_info of /metrics, the whole of
its CacheConfig as labels (v1/metrics/loggers.py). SGLang: /server_info, before 0.5.20 /get_server_info
(entrypoints/http_server.py): its arguments and what its pools took. llama-server: /props
(tools/server/server-context.cpp). Ollama: /api/ps, /api/version (docs/api.md). The answers are written down
as lines of those engines' logs, and read as such.

Only what is named is asked, with GET; an answer is bounded, waits no longer than ``TIMEOUT_SECONDS``, and
leads nowhere else.
"""

import json
import re
from collections.abc import Iterator
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from typing import Any
from urllib.parse import urlsplit

from kvcalc.errors import FileError, UsageError

TIMEOUT_SECONDS = 10
MAX_ANSWER_BYTES = 8 << 20


def asked(url: str) -> bytes:
    """What the server at an address says, as lines of a log.

    Raises FileError where nothing answers, UsageError where what answers is none of the servers.
    """
    parts = urlsplit(url)
    try:
        port = parts.port
    except ValueError:
        port = None
    if not parts.hostname or (parts.port if port is None else port) == 0:
        raise UsageError(f"{url} is no address of a server: http://localhost:8000 is")
    server = _Server(url, parts.scheme, parts.hostname, port)
    for read in (_vllm, _sglang, _llama_server, _ollama):
        lines = list(read(server))
        if lines:
            return ("\n".join(lines) + "\n").encode()
    raise UsageError(
        f"{url} is no server that is known here: vLLM answers /metrics, SGLang /server_info, llama-server "
        "/props, Ollama /api/ps"
    )


class _Server:
    """One server. Each path is asked once."""

    def __init__(self, url: str, scheme: str, host: str, port: int | None) -> None:
        self.url = url
        self._scheme, self._host, self._port = scheme, host, port

    def text(self, path: str) -> str | None:
        """The answer to GET, None where it is no success. Raises FileError where nothing answers."""
        kind = HTTPSConnection if self._scheme == "https" else HTTPConnection
        connection = kind(self._host, self._port, timeout=TIMEOUT_SECONDS)
        try:
            connection.request("GET", path, headers={"Accept": "application/json, text/plain"})
            response = connection.getresponse()
            body = response.read(MAX_ANSWER_BYTES + 1)
        except (OSError, HTTPException, ValueError) as error:
            reason = getattr(error, "strerror", None) or type(error).__name__
            raise FileError(f"{self.url} does not answer ({reason})") from None
        finally:
            connection.close()
        if response.status != 200:
            return None
        if len(body) > MAX_ANSWER_BYTES:
            raise FileError(f"{self.url}{path} answers with more than {MAX_ANSWER_BYTES:,} bytes")
        return body.decode("utf-8", "replace")

    def json(self, path: str) -> Any:
        """The answer as JSON, None where it is none."""
        text = self.text(path)
        try:
            return None if text is None else json.loads(text)
        except (ValueError, RecursionError):
            return None


def _plain(value: Any) -> str:
    """Words of an answer, in one line and without quotation marks."""
    return re.sub(r"[\s'\"{}]+", " ", str(value)).strip()[:400]


def _vllm(server: _Server) -> Iterator[str]:
    metrics = server.text("/metrics") or ""
    config = [line for line in metrics.splitlines() if line.startswith("vllm:cache_config_info{")]
    if not config:
        return
    version, models = server.json("/version"), server.json("/v1/models")
    if isinstance(version, dict) and "version" in version:
        yield f"vLLM API server version {_plain(version['version'])}"
    found = models.get("data") if isinstance(models, dict) else None
    if isinstance(found, list) and found and isinstance(found[0], dict):
        model = _plain(found[0].get("root") or found[0].get("id"))
        length = found[0].get("max_model_len")
        told = f", 'max_model_len': {length}" if isinstance(length, int) else ""
        yield f"non-default args: {{'model': '{model}'{told}}}"
    yield config[0]


# Arguments that decide the pools: the others are not written down.
_SGLANG = (
    "model_path", "tp_size", "pp_size", "dp_size", "kv_cache_dtype", "dtype", "page_size", "context_length",
    "mem_fraction_static", "swa_full_tokens_ratio", "mamba_full_memory_ratio", "mamba_ssm_dtype",
    "disable_radix_cache", "speculative_algorithm", "speculative_num_draft_tokens", "enable_dp_attention",
    "max_mamba_cache_size",
)  # fmt: skip


def _sglang(server: _Server) -> Iterator[str]:
    found = server.json("/server_info") or server.json("/get_server_info")
    if not isinstance(found, dict) or "mem_fraction_static" not in found:
        return
    if "version" in found:
        yield f"sglang version: {_plain(found['version'])}"
    told = [f"{name}='{_plain(found[name])}'" for name in _SGLANG if found.get(name) is not None]
    yield f"server_args=ServerArgs({', '.join(told)})"
    states = found.get("internal_states")
    first = states[0] if isinstance(states, list) and states else {}
    usage = first.get("memory_usage") if isinstance(first, dict) else None
    tokens = found.get("max_total_num_tokens")
    if not isinstance(usage, dict):
        usage = {}
    tokens = tokens or usage.get("token_capacity")
    if isinstance(usage.get("kvcache"), int | float) and isinstance(tokens, int):
        yield f"KV Cache is allocated. #tokens: {tokens}, KV size: {usage['kvcache']:.2f} GB"
    if isinstance(tokens, int):
        yield f"max_total_num_tokens={tokens}, "


def _llama_server(server: _Server) -> Iterator[str]:
    found = server.json("/props")
    settings = found.get("default_generation_settings") if isinstance(found, dict) else None
    if not isinstance(settings, dict) or "total_slots" not in found:
        return
    if found.get("build_info"):
        yield f"build: {_plain(found['build_info'])}"
    yield f"loaded meta data with 0 key-value pairs and 0 tensors from {_plain(found.get('model_path'))}"
    slots, cells = found["total_slots"], settings.get("n_ctx")
    if isinstance(slots, int) and isinstance(cells, int):
        yield f"llama-server answers: {slots} slots of {cells} tokens"


def _ollama(server: _Server) -> Iterator[str]:
    found = server.json("/api/ps")
    models = found.get("models") if isinstance(found, dict) else None
    if not isinstance(models, list):
        return
    if not models:
        raise UsageError(f"{server.url} is Ollama, and no model is loaded: run one, then ask again")
    for model in models[:20]:
        if not isinstance(model, dict):
            continue
        sizes = [model.get(name) for name in ("context_length", "size", "size_vram")]
        context, size, vram = (each if isinstance(each, int) else 0 for each in sizes)
        yield f"loaded meta data with 0 key-value pairs and 0 tensors from {_plain(model.get('name'))}"
        yield f"ollama answers: {context} tokens, {size} bytes, {vram} on devices"

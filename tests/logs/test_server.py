"""Running servers: answers written from the engines' sources, on a small server of this machine's own."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from kvcalc.cli.app import main
from kvcalc.errors import FileError, UsageError
from kvcalc.logs.answer import LogAnswer
from kvcalc.logs.read import answer_of
from kvcalc.logs.sources import pieces_of


@contextmanager
def served(answers: dict[str, str]) -> Iterator[str]:
    """A server that has these paths and no others."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            found = answers.get(self.path)
            self.send_response(200 if found is not None else 404)
            self.end_headers()
            self.wfile.write((found or "").encode())

        def log_message(self, format: str, *arguments: object) -> None: ...

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()


def ask(answers: dict[str, str], **more: str) -> LogAnswer:
    with served(answers) as url, pieces_of(url) as pieces:
        return answer_of(pieces, **more)


def test_vllm() -> None:
    """The labels are those of CacheConfig.metrics_info; the figures those of club-3090 issue 612."""
    config = ('vllm:cache_config_info{block_size="16",cache_dtype="fp8",enable_prefix_caching="True",'
              'engine="0",gpu_memory_utilization="0.9",kv_cache_max_concurrency="4.333333333333333",'
              'kv_cache_size_tokens="567978",num_gpu_blocks="299"} 1.0')  # fmt: skip
    model = {"id": "qwen", "root": "/models/Qwen3.6-35B-A3B-NVFP4", "max_model_len": 131072}
    answer = ask({
        "/metrics": f"# HELP vllm:cache_config_info Information\n{config}\n",
        "/version": '{"version": "0.24.0"}', "/v1/models": json.dumps({"data": [model]}),
    }, flags="--block-size 2096")  # fmt: skip
    found = {each.quantity: (each.logged, each.agrees) for each in answer.observations}
    assert (answer.model, answer.version) == ("qwen3.6-35b-a3b", "0.24.0")
    assert found["num_blocks"] == (299, True)
    assert found["tokens"][0] == 567978


def test_sglang() -> None:
    """vllm issue 21348: 367,404 tokens, 8.23 GB each of K and of V."""
    info = {"model_path": "Qwen/Qwen3-235B-A22B-FP8", "tp_size": 4, "mem_fraction_static": 0.93,
            "kv_cache_dtype": "auto", "version": "0.5.9", "max_total_num_tokens": 367404,
            "internal_states": [{"memory_usage": {"weight": 55.1, "kvcache": 16.47}}]}  # fmt: skip
    answer = ask({"/get_server_info": json.dumps(info)})
    assert (answer.model, answer.version) == ("qwen3-235b-a22b", "0.5.9")
    assert [each.agrees for each in answer.observations] == [True, True]
    assert answer.flags["tp_size"] == 4


def test_llama_server() -> None:
    props = {"default_generation_settings": {"n_ctx": 8192, "params": {}}, "total_slots": 4,
             "model_path": "/models/Qwen3-8B-Q4_K_M.gguf", "build_info": "b9849-799fcc04a"}  # fmt: skip
    answer = ask({"/props": json.dumps(props)})
    assert answer.model == "qwen3-8b"
    assert [(each.quantity, each.logged, each.predicted) for each in answer.observations] == [
        ("cells", 8192, 8192)
    ]
    # 36 layers of 8 KV heads of 128 in f16, 4 slots: 4.5 GiB.
    assert answer.request[0].bytes == 4831838208


def test_ollama() -> None:
    model = {"name": "qwen3:8b", "model": "qwen3:8b", "size": 7545000000, "size_vram": 7545000000,
             "context_length": 4096}  # fmt: skip
    answer = ask({"/api/ps": json.dumps({"models": [model]})})
    assert (answer.model, answer.words) == ("qwen3-8b", "Ollama")
    assert answer.memory[0].bytes == 7545000000


def test_what_is_no_server_is_said() -> None:
    with pytest.raises(UsageError, match="no server that is known here"):
        ask({"/": "hello"})
    with pytest.raises(UsageError, match="no model is loaded"):
        ask({"/api/ps": '{"models": []}'})
    with served({}) as url:
        pass
    with pytest.raises(FileError, match="does not answer"), pieces_of(url):
        pass


def test_an_answer_that_does_not_end_is_not_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kvcalc.logs.server.MAX_ANSWER_BYTES", 1000)
    with pytest.raises(FileError, match="more than 1,000 bytes"):
        ask({"/metrics": "x" * 2000})


def test_the_command(capsys: pytest.CaptureFixture[str]) -> None:
    props = {
        "default_generation_settings": {"n_ctx": 4096},
        "total_slots": 1,
        "model_path": "Qwen3-8B-Q8_0.gguf",
    }
    with served({"/props": json.dumps(props)}) as url, pytest.raises(SystemExit) as stopped:
        main(["log", url, "--format", "json"])
    assert stopped.value.code == 0
    assert json.loads(capsys.readouterr().out)["engine"]["name"] == "llama.cpp"

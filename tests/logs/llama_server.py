"""A maintainer's check: a real llama.cpp server on loopback, its log and answers held against kvcalc.

    python -m tests.logs.llama_server --python PYTHON

PYTHON: of an environment that has xllamacpp, gguf and numpy (pip install xllamacpp gguf numpy). A tiny
random model is written there, served, asked over HTTP, and its log is read as it was printed. Last run with
xllamacpp 2026.10.11549 on 2026-11-29: all figures agreed.
"""

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from kvcalc.logs.answer import LogAnswer
from kvcalc.logs.read import answer_of
from kvcalc.logs.sources import pieces_of

LAYERS, HEADS, KV_HEADS, WIDTH, VOCABULARY = 3, 8, 2, 32, 300
_SERVED = """
import sys, time
import numpy as np, gguf, xllamacpp as x

path, layers, heads, kv, width, vocabulary = sys.argv[1], *map(int, sys.argv[2:7])
hidden = heads * width
w = gguf.GGUFWriter(path, "llama")
w.add_name("tiny"); w.add_context_length(4096); w.add_embedding_length(hidden); w.add_block_count(layers)
w.add_feed_forward_length(2 * hidden); w.add_head_count(heads); w.add_head_count_kv(kv)
w.add_layer_norm_rms_eps(1e-5); w.add_rope_dimension_count(width); w.add_vocab_size(vocabulary)
w.add_tokenizer_model("llama"); w.add_file_type(1)
plain = [f"t{i}" for i in range(vocabulary - 259)]
w.add_token_list(["<unk>", "<s>", "</s>", *(f"<0x{i:02X}>" for i in range(256)), *plain])
w.add_token_scores([0.0] * vocabulary)
w.add_token_types([2, 3, 3, *[6] * 256, *[1] * (vocabulary - 259)])
w.add_bos_token_id(1); w.add_eos_token_id(2); w.add_unk_token_id(0)
rng = np.random.default_rng(0)
def t(name, *shape, kind=np.float16):
    w.add_tensor(name, (rng.standard_normal(shape) * 0.02).astype(kind))
t("token_embd.weight", vocabulary, hidden); t("output.weight", vocabulary, hidden)
t("output_norm.weight", hidden, kind=np.float32)
for i in range(layers):
    b = f"blk.{i}."
    t(b + "attn_norm.weight", hidden, kind=np.float32); t(b + "ffn_norm.weight", hidden, kind=np.float32)
    t(b + "attn_q.weight", hidden, hidden); t(b + "attn_output.weight", hidden, hidden)
    t(b + "attn_k.weight", kv * width, hidden); t(b + "attn_v.weight", kv * width, hidden)
    t(b + "ffn_gate.weight", 2 * hidden, hidden); t(b + "ffn_up.weight", 2 * hidden, hidden)
    t(b + "ffn_down.weight", hidden, 2 * hidden)
w.write_header_to_file(); w.write_kv_data_to_file(); w.write_tensors_to_file(); w.close()

params = x.CommonParams()
params.model.path = path
params.n_ctx, params.n_parallel, params.n_ubatch, params.warmup = 2048, 2, 256, False
params.verbosity = 4
server = x.Server(params)
print("LISTENING", server.listening_address, flush=True)
time.sleep(60)
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--python", default=sys.executable)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        model, log = Path(folder) / "tiny.gguf", Path(folder) / "server.log"
        sizes = map(str, (LAYERS, HEADS, KV_HEADS, WIDTH, VOCABULARY))
        with log.open("wb") as written:
            line = [asked.python, "-c", _SERVED, str(model), *sizes]
            process = subprocess.Popen(line, stdout=written, stderr=written)
        try:
            url = _address(log, process)
            with pieces_of(url) as pieces:
                _said("asked", answer_of(pieces, model=str(model)))
            with pieces_of(str(log)) as pieces:
                _said("its log", answer_of(pieces, model=str(model)))
        finally:
            process.terminate()
            process.wait()


def _address(log: Path, process: "subprocess.Popen[bytes]") -> str:
    for _ in range(300):
        for line in log.read_text("utf-8", "replace").splitlines():
            if line.startswith("LISTENING "):
                return line.split()[1]
        if process.poll() is not None:
            raise SystemExit(log.read_text("utf-8", "replace")[-4000:])
        time.sleep(0.2)
    raise SystemExit("the server did not start")


def _said(what: str, answer: LogAnswer) -> None:
    print(f"{what}: {answer.words} {answer.version}, {answer.flags}")
    for each in answer.observations:
        print(
            f"  line {each.line}: {each.quantity} {each.of} {each.logged} {each.predicted} {each.agrees}"
        )
    if answer.disagrees or not answer.observations:
        raise SystemExit(f"{what}: a figure differs")


if __name__ == "__main__":
    main()

"""What llama.cpp prints when it loads a model, alone or inside Ollama and LM Studio.

The messages are those of src/llama-kv-cache.cpp, llama-memory-recurrent.cpp, llama-context.cpp,
llama-model.cpp and llama-model-loader.cpp in llama-cpp-python 0.3.36, and older ones (llama_kv_cache_init,
llama_new_context_with_model, llm_load_print_meta) in public logs; Ollama's are of llm/server.go and its
runner. Two decimals of MiB, of C's printf.
"""

import re

from kvcalc.logs.dialect import Dialect, Message, Take, scalar
from kvcalc.logs.facts import UNITS, Said, Start, printed
from kvcalc.logs.lines import LogLine
from kvcalc.units import MIB

# Long names of llama-server -> themselves; short ones and Ollama's runner's beside.
_LONG = (
    "--ctx-size", "--parallel", "--ubatch-size", "--batch-size", "--cache-type-k", "--cache-type-v",
    "--kv-unified", "--swa-full", "--flash-attn", "--n-gpu-layers", "--n-cpu-moe", "--cpu-moe",
    "--override-tensor", "--tensor-split", "--split-mode", "--main-gpu", "--no-kv-offload", "--draft-max",
)  # fmt: skip
_OPTIONS = {option: option for option in _LONG} | {
    "-c": "--ctx-size", "-np": "--parallel", "-ub": "--ubatch-size", "-b": "--batch-size",
    "-ctk": "--cache-type-k", "-ctv": "--cache-type-v", "-kvu": "--kv-unified", "-fa": "--flash-attn",
    "-ngl": "--n-gpu-layers", "--gpu-layers": "--n-gpu-layers", "-ncmoe": "--n-cpu-moe",
    "-cmoe": "--cpu-moe",
    "-ot": "--override-tensor", "-ts": "--tensor-split", "-sm": "--split-mode", "-mg": "--main-gpu",
    "-nkvo": "--no-kv-offload", "-m": "model", "--model": "model", "--hf-repo": "model", "-hf": "model",
    "--kv-cache-type": "kv_cache_type",
}  # fmt: skip


def put(start: Start, name: str, text: str, line: int, *, sure: bool = True) -> None:
    """One flag, under llama.cpp's long name."""
    if name == "model":
        if start.model is None and text != "True":
            start.model = Said(text, line)
        return
    value = scalar(text)
    if name == "kv_cache_type" and isinstance(value, str):
        start.say("--cache-type-k", value, line, sure=sure)
        start.say("--cache-type-v", value, line, sure=sure)
    elif value is not None:
        start.say(name, value, line, sure=sure)


def _loaded(start: Start, found: "re.Match[str]", line: LogLine) -> None:
    start.dims["file"] = Said(found["path"].rsplit("/", 1)[-1].rsplit("\\", 1)[-1], line.number)


def _key(start: Start, found: "re.Match[str]", line: LogLine) -> None:
    """A key of the file's metadata: arrays are not kept, they are printed in part."""
    value = scalar(found["value"].strip())
    if value is not None and not found["type"].startswith("arr"):
        start.dims.setdefault(found["key"], Said(value, line.number))


def _meta(start: Start, found: "re.Match[str]", line: LogLine) -> None:
    value = scalar(found["value"].strip())
    if value is not None:
        start.dims.setdefault(found["name"].strip(), Said(value, line.number))


def _context(start: Start, found: "re.Match[str]", line: LogLine) -> None:
    name = {"n_ctx": "--ctx-size", "n_seq_max": "--parallel", "n_ubatch": "--ubatch-size",
            "kv_unified": "--kv-unified", "flash_attn": "--flash-attn", "n_rs_seq": "n_rs_seq",
            "n_ctx_seq": "n_ctx_seq", "n_ctx_per_seq": "n_ctx_seq"}[found["name"]]  # fmt: skip
    value = scalar(found["value"])
    # A second context is of a draft, or of a warm-up: the first is the model's.
    if value is not None and (name not in start.flags or not start.of("bytes")):
        start.say(name, value, line.number)


def _cells(start: Start, found: "re.Match[str]", line: LogLine) -> None:
    """Cells of the first cache, in builds before 2025-06; a server's slots, where it says no more."""
    start.say("--ctx-size", int(found[1]), line.number, sure=False)


def _cache(start: Start, found: "re.Match[str]", line: LogLine) -> None:
    """One cache: what it has, then K and V, or R and S, which people leave out who quote the line."""
    layers, cells, seqs = int(found["layers"]), int(found["cells"]), found["seqs"].replace(" ", "")
    of = f"{cells} cells, {layers} layers, {seqs}"
    slots = re.fullmatch(r"(\d+)/(\d+)seqs", seqs)
    if slots is not None:
        # 4/1: four slots in one stream of cells.
        start.say("--parallel", int(slots[1]), line.number, sure=False)
        if int(slots[1]) > 1:
            start.say("--kv-unified", slots[2] == "1", line.number, sure=False)
    if found["back"] is not None:
        start.say("n_rs_seq", int(found["back"]), line.number)
    letters = {"K": "k_bytes", "V": "v_bytes", "R": "r_bytes", "S": "s_bytes"}
    start.figures.append(printed("bytes", found["size"], line.number, unit=MIB, digits=2, of=of))
    for letter, kind, size in re.findall(r"\b([KVRS]) \((\w+)\):\s*([\d.]+) MiB", found["rest"]):
        start.figures.append(printed(letters[letter], size, line.number, unit=MIB, digits=2, of=of))
        flag = {"K": "--cache-type-k", "V": "--cache-type-v"}.get(letter)
        if (flag is not None and flag not in start.flags) or (
            flag is not None and len(start.of("bytes")) == 1
        ):
            start.say(flag, kind, line.number)


def _self_size(start: Start, found: "re.Match[str]", line: LogLine) -> None:
    """The line of builds before 2025-06: all caches of the model together."""
    start.figures.append(printed("bytes", found["size"], line.number, unit=MIB, digits=2, of="all"))
    latent = re.search(r"c\^KV \((\w+)\)", found["rest"])
    if latent is not None:
        start.say("--cache-type-k", latent[1], line.number)
        start.say("--cache-type-v", latent[1], line.number)
    for letter, kind, size in re.findall(r"\b([KV]) \((\w+)\):\s*([\d.]+) MiB", found["rest"]):
        start.figures.append(
            printed(f"{letter.lower()}_bytes", size, line.number, unit=MIB, digits=2, of="all")
        )
        start.say(f"--cache-type-{letter.lower()}", kind, line.number)


def _kv_buffer(start: Start, found: "re.Match[str]", line: LogLine) -> None:
    """The caches of one context on one device; where a log says no more, they are what there is."""
    _buffer("caches")(start, found, line)
    drafts = start.dims.get("draft context")
    of = "draft" if drafts is not None and drafts.line < line.number else "model"
    start.figures.append(printed("buffer", found["size"], line.number, unit=MIB, digits=2, of=of))


def _swa_full(start: Start, found: "re.Match[str]", line: LogLine) -> None:
    start.say("--swa-full", True, line.number)


def _drafts(start: Start, found: "re.Match[str]", line: LogLine) -> None:
    start.dims.setdefault("draft context", Said(True, line.number))


def _buffer(kind: str) -> Take:
    def take(start: Start, found: "re.Match[str]", line: LogLine) -> None:
        name = f"{kind} on {found['device']}"
        figure = printed(name, found["size"], line.number, unit=MIB, digits=2, of=found["device"])
        if name in start.memory and kind == "caches":
            name = f"{name}, line {line.number}"
        start.memory.setdefault(name, figure)

    return take


def _offloaded(start: Start, found: "re.Match[str]", line: LogLine) -> None:
    start.say("--n-gpu-layers", int(found[1]), line.number)
    start.dims.setdefault("layers and the output", Said(int(found[2]), line.number))


def _gpu(start: Start, found: "re.Match[str]", line: LogLine) -> None:
    if start.gpu is None:
        start.gpu = Said(found[1].strip(), line.number)


def _wrapper(name: str) -> Take:
    def take(start: Start, found: "re.Match[str]", line: LogLine) -> None:
        start.wrapper = name

    return take


def _version(start: Start, found: "re.Match[str]", line: LogLine) -> None:
    start.version = Said(found["version"], line.number)


def _slots(start: Start, found: "re.Match[str]", line: LogLine) -> None:
    """What a running llama-server says (server.py): its slots, and the cells of each."""
    start.say("--parallel", int(found["slots"]), line.number)
    start.say("--ctx-size", int(found["slots"]) * int(found["cells"]), line.number)
    start.figures.append(printed("cells", found["cells"], line.number))


def _running(start: Start, found: "re.Match[str]", line: LogLine) -> None:
    """What a running Ollama says (server.py): one model's context, and bytes of all that it holds."""
    start.wrapper = "Ollama"
    start.say("--ctx-size", int(found["context"]), line.number)
    start.figures.append(printed("cells", found["context"], line.number))
    for name, group in (("all that it holds", "size"), ("of it on devices", "vram")):
        start.memory[name] = printed(name, found[group], line.number, of="Ollama")


def _ollama_cache(start: Start, found: "re.Match[str]", line: LogLine) -> None:
    """Its own engine prints the caches of each device, in one decimal of a unit."""
    unit = UNITS[found["unit"]]
    start.figures.append(
        printed("buffer", found["size"], line.number, unit=unit, digits=1, of="model")
    )
    start.wrapper = "Ollama"


def _ollama_model(start: Start, found: "re.Match[str]", line: LogLine) -> None:
    """What its own engine says of a file; it names few."""
    start.wrapper = "Ollama"
    start.dims["arch"] = Said(found["arch"], line.number)
    if found["name"]:
        start.dims["general.name"] = Said(found["name"], line.number)


_M = Message
MESSAGES = (
    _M(
        "loaded meta data with",
        r"loaded meta data with \d+ key-value pairs and \d+ tensors from (?P<path>.+?)(?: \(version|$)",
        _loaded,
        begins=True,
    ),
    _M(
        "llama_model_loader: - kv",
        r"- kv\s+\d+:\s+(?P<key>[\w.]+) (?P<type>\w+(?:\[\w+,\d+\])?)\s+= (?P<value>.*)",
        _key,
    ),
    _M(
        "print_info: ",
        r"print_info: (?P<name>arch|general\.name|n_layer|n_embd|n_head|n_head_kv|n_e"
        r"mbd_k_gqa|n_embd_v_gqa|"
        r"n_vocab|n_swa|n_ctx_train|n_expert|file type|file size|model params|model t"
        r"ype)\s*= (?P<value>.*)",
        _meta,
    ),
    _M(
        "llm_load_print_meta: ",
        r"llm_load_print_meta: (?P<name>arch|general\.name|n_layer|n_embd|n_head|n_head_kv|n_embd_k_gqa|"
        r"n_embd_v_gqa|n_vocab|n_swa|n_ctx_train|n_expert|model ftype|model size|mode"
        r"l params)\s*= (?P<value>.*)",
        _meta,
    ),
    _M(
        "n_ctx",
        r"(?:llama_\w+): (?P<name>n_ctx|n_ctx_seq|n_ctx_per_seq)\s*= (?P<value>\d+)(?!\d)",
        _context,
    ),
    _M("n_seq_max", r"(?:llama_\w+): (?P<name>n_seq_max)\s*= (?P<value>\d+)", _context),
    _M("n_ubatch", r"(?:llama_\w+): (?P<name>n_ubatch)\s*= (?P<value>\d+)", _context),
    _M("n_rs_seq", r"(?:llama_\w+): (?P<name>n_rs_seq)\s*= (?P<value>\d+)", _context),
    _M("kv_unified", r"(?:llama_\w+): (?P<name>kv_unified)\s*= (?P<value>true|false)", _context),
    _M(
        "MiB (",
        r"size\s*=\s*(?P<size>[\d.]+) MiB \(\s*(?P<cells>\d+) cells,\s*(?P<layers>\d+) layers,\s*"
        r"(?P<seqs>\d+(?:/\s*\d+)? seqs)(?:\s+(?P<back>\d+) rs_seq)?\),?"
        r"(?P<rest>(?:.*?\([\w]+\):\s*[\d.]+ MiB){2}.*|\s*(?:[<←#].*)?$)",
        _cache,
        cuts=True,
    ),
    _M(
        "KV self size",
        r"KV self size\s*=\s*(?P<size>[\d.]+) MiB,?"
        r"(?P<rest>.*?(?: V \(\w+\):\s*[\d.]+ MiB|kv\^T: .*)|$)",
        _self_size,
        cuts=True,
    ),
    _M(
        "KV buffer size",
        r"(?P<device>[\w]+) KV buffer size\s*=\s*(?P<size>[\d.]+) MiB",
        _kv_buffer,
        cuts=True,
    ),
    _M(
        "RS buffer size",
        r"(?P<device>[\w]+) RS buffer size\s*=\s*(?P<size>[\d.]+) MiB",
        _buffer("states"),
    ),
    _M(
        "model buffer size",
        r"(?P<device>[\w]+) model buffer size\s*=\s*(?P<size>[\d.]+) MiB",
        _buffer("weights"),
    ),
    _M(
        "compute buffer size",
        r"(?P<device>[\w]+) compute buffer size\s*=\s*(?P<size>[\d.]+) MiB",
        _buffer("compute"),
    ),
    _M(
        "output buffer size",
        r"(?P<device>[\w]+)\s+output buffer size\s*=\s*(?P<size>[\d.]+) MiB",
        _buffer("output"),
    ),
    _M("kv_size = ", r"kv_size = (\d+), ", _cells),
    _M("n_ctx_slot", r"id_slot=0 n_ctx_slot=(\d+)", _cells),
    _M("using full-size SWA cache", r"using full-size SWA cache", _swa_full),
    _M("creating MTP draft context", r"creating MTP draft context", _drafts),
    _M("layers to GPU", r"offloaded (\d+)/(\d+) layers to GPU", _offloaded),
    _M("compute capability", r"Device \d+: ([^,]{3,60}), compute capability", _gpu),
    _M("build: ", r"build: (?P<version>\d+ \(\w+\))", _version),
    _M(
        "llama-server answers",
        r"llama-server answers: (?P<slots>\d+) slots of (?P<cells>\d+) tokens",
        _slots,
    ),
    _M(
        "ollama answers",
        r"ollama answers: (?P<context>\d+) tokens, (?P<size>\d+) bytes, (?P<vram>\d+) on devices",
        _running,
    ),
    _M("LM STUDIO", r"LM STUDIO", _wrapper("LM Studio")),
    _M("ollama", r"ollama(?:/| runner|\.exe| serve|-engine)", _wrapper("Ollama"), proves=False),
    _M(
        "file_type=",
        r'architecture=(?P<arch>\w+) file_type=\S+ name="(?P<name>[^"]*)"',
        _ollama_model,
        begins=True,
    ),
    _M(
        'msg="kv cache" device=',
        r'msg="kv cache" device=(?P<device>\S+) size="(?P<size>[\d.]+) (?P<unit>[KMGT]iB)"',
        _ollama_cache,
    ),
)

DIALECT = Dialect(
    name="llama.cpp",
    words="llama.cpp",
    messages=MESSAGES,
    commands=(
        "ollama run ",
        "llama-server",
        "llama-cli",
        "runner --ollama-engine",
        "runner --model",
        "--ctx-size",
    ),
    options=_OPTIONS,
    put=put,
)

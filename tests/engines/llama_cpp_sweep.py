"""Asks llama.cpp's own library for its compute buffers; writes kvcalc/engines/llama_cpp/compute.txt.

    KVCALC_LLAMA=FOLDER GGML_VK_VISIBLE_DEVICES=0 python -m tests.engines.llama_cpp_sweep

FOLDER holds the shared objects of npm's @node-llama-cpp/linux-x64-vulkan 3.22.1 (llama.cpp release
v0.5.0). Mesa's software device (lavapipe, named in VK_DRIVER_FILES) serves, made to report 64 KiB of
shared memory and storage buffers of 4 GiB, as real cards do: with less the backend leaves products of
experts and large tensors to the CPU. Nothing is allocated: header-only files of true size, Q8_0. Every
model is asked in a process of its own, as the library aborts for some.
"""

import ctypes as c
import json
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from kvcalc.engines.llama_cpp.compute import signature
from kvcalc.file_types import FILE_TYPES, Recipe
from kvcalc.gguf.model import gguf_model
from kvcalc.gguf.quantise import tensor_types
from kvcalc.spec.catalog import load, shipped
from tests.gguf.headers import keys_of, with_tensors, write
from tests.gguf.library import Library

TABLE = Path("kvcalc/engines/llama_cpp/compute.txt")
HEAD = """\
# Floats a token of llama.cpp's compute buffers: on the device at micro-batches of 512 and of 2,048,
# and in RAM, by an architecture's widths (kvcalc.engines.llama_cpp.compute).
# Written by python -m tests.engines.llama_cpp_sweep: llama.cpp v0.5.0 (@node-llama-cpp/linux-x64-vulkan
# 3.22.1, Mesa's software device with 64 KiB of shared memory), header-only files, 2026-11-29.
"""
# (cells, micro-batch): the difference of the first two is the masks'.
POINTS = ((4096, 512), (16384, 512), (16384, 2048))
_LINE = re.compile(r"(Vulkan\S*) compute buffer size = +([\d.]+) MiB")
_MIB = 1 << 20


class _Context(c.Structure):
    """llama_context_params, include/llama.h."""

    _fields_ = [
        *((name, c.c_uint32) for name in (
            "n_ctx", "n_batch", "n_ubatch", "n_seq_max", "n_rs_seq", "n_outputs_max",
            "n_outputs_max_per_seq")),
        ("rest", c.c_byte * 256),
    ]  # fmt: skip


def ask(name: str) -> None:
    """Print the buffers of one model at every point, as JSON."""
    spec = load(name)
    model = gguf_model(spec)
    kinds = tensor_types(model, Recipe(file_type=FILE_TYPES["Q8_0"]))
    tensors = tuple(
        replace(each, source=kind) for each, kind in zip(model.tensors, kinds, strict=True)
    )
    library = Library()
    llama = library.llama
    llama.llama_context_default_params.restype = _Context
    llama.llama_init_from_model.restype = c.c_void_p
    llama.llama_init_from_model.argtypes = [c.c_void_p, _Context]
    with tempfile.TemporaryDirectory() as folder:
        path = write(
            Path(folder) / "model.gguf", with_tensors(model, tensors), keys_of(spec, model)
        )
        params = llama.llama_model_default_params()
        params.no_alloc, params.load_mode = True, 0
        loaded = llama.llama_model_load_from_file(str(path).encode(), params)
        for cells, ubatch in POINTS:
            context = llama.llama_context_default_params()
            context.n_ctx, context.n_batch, context.n_ubatch = cells, ubatch, ubatch
            context.n_seq_max = context.n_outputs_max = 1
            library.lines.clear()
            if loaded and llama.llama_init_from_model(loaded, context):
                found = dict(_LINE.findall("".join(library.lines)))
                print(json.dumps([cells, ubatch, found]), flush=True)


def answers(name: str) -> dict[tuple[int, int], dict[str, Any]]:
    """The same from a process of its own; empty where the library does not load it."""
    command = [sys.executable, "-m", "tests.engines.llama_cpp_sweep", name]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    rows = [json.loads(line) for line in ran.stdout.splitlines() if line.startswith("[")]
    return {(cells, ubatch): found for cells, ubatch, found in rows}


def line_of(name: str) -> tuple[str, str] | None:
    """A line of the table; None where the buffers are not linear in cells and micro-batch."""
    found = answers(name)
    if set(found) != set(POINTS) or any(len(each) != 2 for each in found.values()):
        return None
    device, host = ([round(float(found[point][place]) * _MIB) for point in POINTS]
                    for place in ("Vulkan0", "Vulkan_Host"))  # fmt: skip
    slopes = {round((each[1] - each[0]) / (512 * 12288), 1) for each in (device, host)}
    # No mask where every layer keeps a state; one where all see alike; two with windows.
    if len(slopes) != 1 or not slopes <= {0.0, 2.0, 4.0}:
        return None
    slope = slopes.pop()
    floats = [
        [round((size / ubatch - slope * cells) / 4)
         for size, (cells, ubatch) in zip(each[1:], POINTS[1:], strict=True)]
        for each in (device, host)
    ]  # fmt: skip
    (small, large), (some, most) = floats
    if abs(some - most) > 8:
        return None
    small = large if abs(small - large) <= 8 else small
    key = signature(load(name), gguf_model(load(name)).architecture, int(slope) // 2)
    return key, f"{small} {large} {most}"


def lines() -> Iterator[str]:
    found: dict[str, str] = {}
    for name in shipped():
        made = line_of(name)
        if made is not None:
            found[made[0]] = made[1]
    yield from (f"{key}: {numbers}\n" for key, numbers in sorted(found.items()))


if __name__ == "__main__":
    if len(sys.argv) > 1:
        ask(sys.argv[1])
    else:
        TABLE.write_text(HEAD + "".join(lines()), encoding="utf-8")

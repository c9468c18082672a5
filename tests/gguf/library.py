"""llama.cpp's own library, asked through ctypes: what quantize would make, and what loads.

The library is that of npm's @node-llama-cpp/linux-x64 3.22.1 (llama.cpp release v0.5.0, CPU);
KVCALC_LLAMA names the folder of its shared objects.
"""

import ctypes as c
import os
import re
from pathlib import Path

_LINE = re.compile(r"\[ *\d+/ *\d+\] (\S+) +- \[.*\], type = +(\S+), size = .*?(?:\((\w+)\))?\s*$")
_TOTAL = re.compile(r"quant size += +([\d.]+) MiB \(([\d.]+) BPW\)")


class _Quantize(c.Structure):
    _fields_ = [
        ("nthread", c.c_int32), ("ftype", c.c_int32), ("output_type", c.c_int32),
        ("embedding_type", c.c_int32), ("allow_requantize", c.c_bool), ("quantize_output", c.c_bool),
        ("only_copy", c.c_bool), ("pure", c.c_bool), ("keep_split", c.c_bool), ("dry_run", c.c_bool),
        ("imatrix", c.c_void_p), ("kv_overrides", c.c_void_p), ("tt_overrides", c.c_void_p),
        ("prune_layers", c.c_void_p), ("max_buf_size", c.c_size_t),
    ]  # fmt: skip


class _Imatrix(c.Structure):
    _fields_ = [("name", c.c_char_p), ("data", c.POINTER(c.c_float)), ("size", c.c_size_t)]


class _Model(c.Structure):
    _fields_ = [
        ("devices", c.c_void_p), ("overrides", c.c_void_p), ("n_gpu_layers", c.c_int32),
        ("split_mode", c.c_int32), ("load_mode", c.c_int32), ("lazy_mode", c.c_int32),
        ("main_gpu", c.c_int32), ("tensor_split", c.c_void_p), ("callback", c.c_void_p),
        ("user_data", c.c_void_p), ("kv_overrides", c.c_void_p), ("vocab_only", c.c_bool),
        ("check_tensors", c.c_bool), ("use_extra_bufts", c.c_bool), ("no_host", c.c_bool),
        ("no_alloc", c.c_bool), ("load_mtp", c.c_bool),
    ]  # fmt: skip


class Library:
    """The loaded library; its log is kept in ``lines``."""

    def __init__(self, folder: str | None = None) -> None:
        place = Path(folder or os.environ["KVCALC_LLAMA"]).resolve()
        names = sorted(os.listdir(place))
        found = [
            c.CDLL(str(place / name), mode=c.RTLD_GLOBAL)
            for part in ("libggml-base", "libggml.", "libllama.")
            for name in names
            if name.startswith(part)
        ]
        self.lines: list[str] = []
        self._log = c.CFUNCTYPE(None, c.c_int, c.c_char_p, c.c_void_p)(self._keep)
        self.llama = found[-1]
        found[1].ggml_backend_load_all_from_path(str(place).encode())
        self.llama.llama_log_set(self._log, None)
        self.llama.llama_model_quantize_default_params.restype = _Quantize
        self.llama.llama_model_quantize.argtypes = [c.c_char_p, c.c_char_p, c.c_void_p]
        self.llama.llama_model_default_params.restype = _Model
        self.llama.llama_model_load_from_file.restype = c.c_void_p
        self.llama.llama_model_load_from_file.argtypes = [c.c_char_p, _Model]
        self.llama.llama_model_free.argtypes = [c.c_void_p]

    def _keep(self, level: int, text: bytes, data: object) -> None:
        if self.lines and not self.lines[-1].endswith("\n"):
            self.lines[-1] += text.decode("utf-8", "replace")
        else:
            self.lines.append(text.decode("utf-8", "replace"))

    def quantise(
        self, path: Path, number: int, *, imatrix: bool = False, pure: bool = False,
        output: int | None = None, embedding: int | None = None,
    ) -> tuple[dict[str, str], str]:  # fmt: skip
        """Each tensor's type, and the total as printed (MiB, bits per weight), by a dry run."""
        params = self.llama.llama_model_quantize_default_params()
        params.ftype, params.dry_run, params.pure, params.nthread = number, True, pure, 1
        if output is not None:
            params.output_type = output
        if embedding is not None:
            params.embedding_type = embedding
        matrix = (_Imatrix * 2)()
        one = (c.c_float * 1)(1.0)
        matrix[0] = _Imatrix(b"none", one, 1)
        if imatrix:
            params.imatrix = c.cast(matrix, c.c_void_p)
        self.lines.clear()
        if self.llama.llama_model_quantize(str(path).encode(), b"unused", c.byref(params)):
            raise RuntimeError("".join(self.lines[-3:]))
        types, total = {}, ""
        for line in self.lines:
            match = _LINE.search(line)
            if match:
                types[match[1]] = match[3] or match[2]
            match = _TOTAL.search(line)
            if match:
                total = f"{match[1]} {match[2]}"
        return types, total

    def load(self, path: Path, mtp: bool = False) -> str:
        """Why the model does not load; empty where it does (every tensor there, of its shape)."""
        params = self.llama.llama_model_default_params()
        params.no_alloc, params.load_mode, params.load_mtp = True, 0, mtp
        self.lines.clear()
        model = self.llama.llama_model_load_from_file(str(path).encode(), params)
        if model:
            self.llama.llama_model_free(model)
            return ""
        wrong = [line.strip() for line in self.lines if "error" in line or "fail" in line]
        return " | ".join(wrong[:2]) or "".join(self.lines[-3:])

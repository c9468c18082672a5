"""What lies where: layers dealt to devices, tensors moved by pattern, caches beside their layers.

Source: llama.cpp v0.5.0, src/llama-model.cpp (llama_model_base::load_tensors), common/arg.cpp
(--tensor-split, --override-tensor, --cpu-moe, --n-cpu-moe), src/llama-kv-cache.cpp and
src/llama-memory-recurrent.cpp (a layer's cache lies with the layer).
"""

import re
import struct
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import lru_cache

from kvcalc.engines.llama_cpp.file import EXPERTS, FileTensor, ModelFile
from kvcalc.engines.llama_cpp.placing import Placing
from kvcalc.errors import UsageError
from kvcalc.frozen import frozen

# Where something lies: the number of a device, or the host's memory.
Place = int | None
HOST: Place = None
# Tensors start on multiples of this in a device's buffer (CUDA's 128; Vulkan's is less).
_ALIGNED = 128
_EXPERT_LAYER = re.compile(rf"blk\.(\d+){EXPERTS.pattern}")
_BUFFER = re.compile(r"(CPU|CPU_REPACK|CUDA|ROCm|HIP|Vulkan|SYCL|MTL|Metal|MUSA|CANN|OpenCL|GPU)"
                     r"(?:_Host|(\d+)?(?:_Split|_Mapped)?)?", re.IGNORECASE)  # fmt: skip


@frozen
class Placement:
    """Where layers and tensors lie. layers: of each layer, the output as the last.

    tensors: with their places; copies (a tied table on the output's device) are tensors of their own.
    logits_bytes: of the token table where it is the output as well and lies in RAM: each token reads it.
    """

    layers: tuple[Place, ...]
    tensors: tuple[tuple[FileTensor, Place], ...]
    offload_cache: bool
    num_devices: int
    logits_bytes: int

    def model_bytes(self, place: Place, cuda: bool = False) -> int:
        """The model buffer of a device, or the tensors in RAM (a mapping of the file spans more).

        cuda: whether the device's backend is CUDA (or HIP), which pads rows.
        """
        return sum(
            _room(tensor.bytes + tensor.padding * cuda)
            for tensor, at in self.tensors
            if at == place
        )

    def cache_place(self, layer: int) -> Place:
        return self.layers[layer] if self.offload_cache else HOST

    @property
    def output(self) -> Place:
        return self.layers[-1]

    @property
    def num_offloaded(self) -> int:
        """Layers on devices, the output counted."""
        return sum(place is not HOST for place in self.layers)

    @property
    def read_bytes(self) -> int:
        """Weights in RAM that one token reads."""
        return self.logits_bytes + sum(
            tensor.read_bytes for tensor, at in self.tensors if at is HOST
        )

    def devices_of(self) -> set[Place]:
        return {place for place in self.layers if place is not HOST}


def _room(num_bytes: int) -> int:
    return -(-num_bytes // _ALIGNED) * _ALIGNED


def place(file: ModelFile, free: Sequence[int], placing: Placing) -> Placement:
    """Deal a model out. free: what each device has to give, which decides where no shares are said.

    Raises UsageError for shares, patterns and buffers that say nothing.
    """
    chosen = _devices(len(free), placing)
    layers = _deal(file.num_layers, [free[index] for index in chosen], placing, chosen)
    overrides = _overrides(file, placing, len(free))
    placed: list[tuple[FileTensor, Place]] = []
    for tensor in file.tensors:
        for at in _places(tensor, layers):
            moved = next((to for moves, to in overrides if moves(tensor.name)), at)
            placed.append((tensor, moved))
    again = file.table_bytes if file.tied else 0
    if again and layers[-1] is not HOST:
        pad = next(each.padding for each in file.tensors if each.name.endswith("token_embd.weight"))
        copy = FileTensor("output.weight", again, "output", padding=pad)
        placed.append((copy, layers[-1]))
        again = 0
    return Placement(layers, tuple(placed), placing.offload_cache, len(free), again)


def _devices(count: int, placing: Placing) -> list[int]:
    if placing.one is None:
        return list(range(count))
    if placing.one >= count:
        raise UsageError(f"--main-gpu {placing.one}: there are {count} devices, numbered from 0")
    return [placing.one]


def _deal(
    num_layers: int, free: Sequence[int], placing: Placing, chosen: Sequence[int]
) -> tuple[Place, ...]:
    """The place of each layer and of the output: the last layers first, by the shares of the devices."""
    asked = num_layers + 1 if placing.num_gpu_layers is None else placing.num_gpu_layers
    offloaded = min(asked, num_layers + 1) if chosen else 0
    first = max(num_layers + 1 - asked, 0)
    ends = _ends(placing.shares if placing.one is None else (), free)
    found: list[Place] = []
    for layer in range(num_layers + 1):
        if layer < first or layer - first >= offloaded:
            found.append(HOST)
            continue
        at = _single((layer - first) / offloaded)
        found.append(chosen[next(i for i, end in enumerate(ends) if end > at)])
    return tuple(found)


def _ends(shares: Sequence[float], free: Sequence[int]) -> list[float]:
    """Where each device's part of the layers ends, in the loader's single precision: the layer at a
    tie goes where it rounds to."""
    if len(shares) > len(free):
        raise UsageError(
            f"--tensor-split has {len(shares)} shares for {_count(len(free), 'device')}"
        )
    if shares and not any(shares):
        raise UsageError("--tensor-split: every share is 0, so no device has a layer; leave it out")
    if any(share < 0 for share in shares):
        raise UsageError("--tensor-split: a share cannot be negative")
    values = [*shares, *[0.0] * (len(free) - len(shares))] if shares else [float(n) for n in free]
    if not any(values):
        values = [1.0] * len(values)
    total, ends = 0.0, []
    for value in values:
        total = _single(total + _single(value))
        ends.append(total)
    return [_single(end / total) for end in ends]


def _single(value: float) -> float:
    """Rounded to single precision."""
    found: float = struct.unpack("f", struct.pack("f", value))[0]
    return found


def _places(tensor: FileTensor, layers: tuple[Place, ...]) -> Iterable[Place]:
    match tensor.part:
        case "input":
            return (HOST,)
        case "output":
            return (layers[-1],)
        case "every":
            return dict.fromkeys(layers[:-1])
        case "layer":
            return (layers[tensor.layer or 0],)


# ---------------------------------------------------------------- tensors moved by pattern


# Whether a tensor is moved, by its name.
_Moves = Callable[[str], object]


def _overrides(file: ModelFile, placing: Placing, count: int) -> tuple[tuple[_Moves, Place], ...]:
    found: list[tuple[_Moves, Place]] = [
        (_pattern(text).search, _buffer(buffer, count)) for text, buffer in placing.overrides
    ]
    for (text, _), (moves, _) in zip(placing.overrides, found, strict=True):
        if not any(moves(tensor.name) for tensor in file.tensors):
            raise UsageError(
                f"--override-tensor {text}: no tensor of {file.architecture} is called so; "
                f"they are {', '.join(_names(file))}"
            )
    if placing.num_cpu_moe != 0:
        if not any(EXPERTS.search(tensor.name) for tensor in file.tensors):
            raise UsageError("--cpu-moe, --n-cpu-moe: the model has no experts: leave them out")
        number = placing.num_cpu_moe
        if number is None:
            found.append((EXPERTS.search, HOST))
        else:
            first = min(number, file.num_layers)
            found.append((lambda name: _expert_layer(name) in range(first), HOST))
    return tuple(found)


@lru_cache(1 << 14)
def _expert_layer(name: str) -> int | None:
    """The layer whose experts a tensor is of: it is asked for by every placement that is tried."""
    match = _EXPERT_LAYER.search(name)
    return None if match is None else int(match[1])


def _pattern(text: str) -> re.Pattern[str]:
    try:
        return re.compile(text)
    except re.error as error:
        raise UsageError(f"--override-tensor {text}: no regular expression: {error}") from None


def _buffer(name: str, count: int) -> Place:
    """The place of a buffer, as llama.cpp calls them: CPU, CUDA0, Vulkan1."""
    match = _BUFFER.fullmatch(name)
    if match is None:
        known = ", ".join(["CPU", *(f"CUDA{i}" for i in range(count))])
        raise UsageError(f"--override-tensor: no buffer is called {name}; there are {known}")
    if match[1].upper().startswith("CPU") or name.lower().endswith("_host"):
        return HOST
    number = int(match[2] or 0)
    if number >= count:
        raise UsageError(
            f"--override-tensor: {name} is device {number}, and there are {_count(count, 'device')}"
        )
    return number


def _names(file: ModelFile) -> Iterator[str]:
    """What tensors are called, the layer's number left out."""
    stems = dict.fromkeys(re.sub(r"blk\.\d+\.", "blk.N.", each.name) for each in file.tensors)
    yield from list(stems)[:12]
    if len(stems) > 12:
        yield "..."


def _count(number: int, word: str) -> str:
    return f"{number} {word}" if number == 1 else f"{number} {word}s"

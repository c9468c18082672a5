"""What lies where: layers dealt to devices, tensors moved by pattern, caches beside their layers.

Source: llama.cpp v0.5.0, src/llama-model.cpp (llama_model_base::load_tensors), common/arg.cpp
(--tensor-split, --override-tensor, --cpu-moe, --n-cpu-moe), src/llama-kv-cache.cpp and
src/llama-memory-recurrent.cpp (a layer's cache lies with the layer).
"""

import re
import struct
from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property

from kvcalc.engines.llama_cpp.file import EXPERTS, FileTensor, ModelFile, Part
from kvcalc.engines.llama_cpp.placing import Placing
from kvcalc.errors import UsageError
from kvcalc.frozen import frozen, remembered

# Where something lies: the number of a device, or the host's memory.
Place = int | None
HOST: Place = None
# Tensors start on multiples of this in a device's buffer (CUDA's 128; Vulkan's is less).
_ALIGNED = 128
_EXPERTS_OF = re.compile(rf"blk\.(\d+){EXPERTS.pattern}")
_BUFFER = re.compile(r"(CPU|CPU_REPACK|CUDA|ROCm|HIP|Vulkan|SYCL|MTL|Metal|MUSA|CANN|OpenCL|GPU)"
                     r"(?:_Host|(\d+)?(?:_Split|_Mapped)?)?", re.IGNORECASE)  # fmt: skip


@frozen
class Bundle:
    """Tensors of a file that lie together wherever they lie: a search asks for hundreds of placements.

    experts_of: the layer whose experts they are; None for what is none. pattern: which of the patterns
    that move tensors moves them.
    """

    part: Part
    layer: int | None
    experts_of: int | None
    pattern: int | None
    tensors: tuple[FileTensor, ...]

    def bytes(self, cuda: bool) -> int:
        """In a buffer. cuda: whether its backend is CUDA (or HIP), which pads rows."""
        return self._padded if cuda else self._plain

    @cached_property
    def _plain(self) -> int:
        return sum(_room(tensor.bytes) for tensor in self.tensors)

    @cached_property
    def _padded(self) -> int:
        return sum(_room(tensor.bytes + tensor.padding) for tensor in self.tensors)

    @cached_property
    def read_bytes(self) -> int:
        """What one token reads of them."""
        return sum(tensor.read_bytes for tensor in self.tensors)

    @cached_property
    def largest(self) -> tuple[FileTensor, ...]:
        """The two with the most bytes, the first of equal ones first."""
        return tuple(sorted(self.tensors, key=lambda each: -each.bytes)[:2])


@frozen
class Placement:
    """Where layers and tensors lie. layers: of each layer, the output as the last.

    bundles: with their places; copies (a tied table on the output's device) are bundles of their own.
    logits_bytes: of the token table where it is the output as well and lies in RAM: each token reads it.
    """

    layers: tuple[Place, ...]
    bundles: tuple[tuple[Bundle, Place], ...]
    offload_cache: bool
    num_devices: int
    logits_bytes: int

    def model_bytes(self, place: Place, cuda: bool = False) -> int:
        """The model buffer of a device, or the tensors in RAM (a mapping of the file spans more).

        cuda: whether the device's backend is CUDA (or HIP), which pads rows.
        """
        return sum(bundle.bytes(cuda) for bundle, at in self.bundles if at == place)

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
            bundle.read_bytes for bundle, at in self.bundles if at is HOST
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
    moves = [(_pattern(text), _buffer(name, len(free))) for text, name in placing.overrides]
    bundles = _bundles(file, placing.overrides)
    _check_experts(file, placing)
    placed: list[tuple[Bundle, Place]] = []
    for bundle in bundles:
        for at in _places(bundle, layers):
            if bundle.pattern is not None:
                at = moves[bundle.pattern][1]
            elif bundle.experts_of is not None and placing.in_ram(bundle.experts_of):
                at = HOST
            placed.append((bundle, at))
    again = file.table_bytes if file.tied else 0
    if again and layers[-1] is not HOST:
        pad = next(each.padding for each in file.tensors if each.name.endswith("token_embd.weight"))
        copy = FileTensor("output.weight", again, "output", padding=pad)
        placed.append((Bundle("output", None, None, None, (copy,)), layers[-1]))
        again = 0
    return Placement(layers, tuple(placed), placing.offload_cache, len(free), again)


def _devices(count: int, placing: Placing) -> list[int]:
    if placing.one is None:
        return list(range(count))
    if not count:
        raise UsageError("--split-mode none is of one device, and none is named: leave it out")
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


def _places(bundle: Bundle, layers: tuple[Place, ...]) -> Iterable[Place]:
    match bundle.part:
        case "input":
            return (HOST,)
        case "output":
            return (layers[-1],)
        case "every":
            return dict.fromkeys(layers[:-1])
        case "layer":
            return (layers[bundle.layer or 0],)


# ---------------------------------------------------------------- tensors moved by pattern


def _bundles(file: ModelFile, overrides: tuple[tuple[str, str], ...]) -> tuple[Bundle, ...]:
    made = _made(file)
    patterns = tuple(text for text, _ in overrides)
    if patterns not in made:
        made[patterns] = tuple(_bundled(file, patterns))
    return made[patterns]


@remembered
def _made(file: ModelFile) -> dict[tuple[str, ...], tuple[Bundle, ...]]:
    """What was asked for so far."""
    return {}


def _bundled(file: ModelFile, texts: Sequence[str]) -> Iterator[Bundle]:
    """Raises UsageError for a pattern that no tensor's name has."""
    patterns, matched = [_pattern(text) for text in texts], set[int]()
    found: dict[tuple[Part, int | None, int | None, int | None], list[FileTensor]] = {}
    for tensor in file.tensors:
        experts = _EXPERTS_OF.search(tensor.name)
        moves = [i for i, pattern in enumerate(patterns) if pattern.search(tensor.name)]
        matched.update(moves)
        key = (
            tensor.part,
            tensor.layer,
            int(experts[1]) if experts else None,
            next(iter(moves), None),
        )
        found.setdefault(key, []).append(tensor)
    for i, text in enumerate(texts):
        if i not in matched:
            raise UsageError(
                f"--override-tensor {text}: no tensor of {file.architecture} is called so; "
                f"they are {', '.join(_names(file))}"
            )
    for key, tensors in found.items():
        yield Bundle(*key, tuple(tensors))


def _check_experts(file: ModelFile, placing: Placing) -> None:
    if placing.num_cpu_moe != 0 and not any(EXPERTS.search(each.name) for each in file.tensors):
        raise UsageError("--cpu-moe, --n-cpu-moe: the model has no experts: leave them out")


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

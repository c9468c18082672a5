"""Where a measurement's bytes come from: PyTorch's caching allocator on a GPU, or a tracked CPU.

The caching allocator hands out blocks of whole multiples of 512 bytes (c10/cuda/
CUDACachingAllocator.cpp, kMinBlockSize). Above 1 MiB it does not split a block whose rest would be
1 MiB or less (kSmallSize), so a block can be larger than its rounded request by up to that.
``requested`` is what tensors asked for, ``allocated`` the sum of their blocks, ``reserved`` what the
allocator took from the driver, which no formula speaks about.

``TrackedCpu`` is a device whose allocator is known: it counts the storages that operations make and
drop, rounded to 512 bytes. Tests measure on it, and a trace on the meta device says with it, without
any memory, what will live at the peak.
"""

import gc
import weakref
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from kvcalc.errors import NotFoundError
from kvcalc.frozen import frozen

BLOCK_BYTES = 512
UNSPLIT_BYTES = 1 << 20


def rounded(num_bytes: int) -> int:
    """The block for a request: a whole multiple of 512 bytes."""
    return -(-num_bytes // BLOCK_BYTES) * BLOCK_BYTES


def explained(requested: int, block: int) -> str:
    """Why a tensor's block has the size it has; empty when no rule gives that size."""
    if block == requested:
        return f"{requested} bytes, whole blocks of {BLOCK_BYTES}"
    if block == rounded(requested):
        return f"{requested} bytes, rounded to {block}: blocks are multiples of {BLOCK_BYTES}"
    if requested > UNSPLIT_BYTES and 0 < block - rounded(requested) <= UNSPLIT_BYTES:
        return f"{requested} bytes in a block of {block}: a rest of up to 1 MiB is not split off"
    return ""


@frozen
class Bytes:
    """What the allocator says at one moment, and the most it came to since ``reset_peak``."""

    requested: int
    allocated: int
    reserved: int
    peak_requested: int
    peak_allocated: int


class Allocator(Protocol):
    """A device and its allocator's books."""

    @property
    def device(self) -> torch.device: ...

    @property
    def name(self) -> str:
        """The device as a report names it."""

    def now(self) -> Bytes: ...

    def reset_peak(self) -> None: ...

    def free_bytes(self) -> int:
        """What can still be allocated."""

    def block(self, tensor: Tensor) -> int:
        """Bytes of the block that holds a tensor's storage."""

    def watching(self) -> Any:
        """A context in which allocations are counted."""

    def release(self) -> None:
        """Forget what an earlier measurement left behind."""


class CudaAllocator:
    """PyTorch's caching allocator on a CUDA device."""

    def __init__(self, index: int | None = None) -> None:
        if not torch.cuda.is_available():
            raise NotFoundError(
                f"--device cuda: torch {torch.__version__} finds no CUDA device here; "
                "without --device the models run on the CPU"
            )
        self.index = torch.cuda.current_device() if index is None else index
        self.device = torch.device("cuda", self.index)

    @property
    def name(self) -> str:
        return torch.cuda.get_device_name(self.index)

    def now(self) -> Bytes:
        torch.cuda.synchronize(self.index)
        stats = torch.cuda.memory_stats(self.index)
        return Bytes(*(int(stats[key]) for key in (
            "requested_bytes.all.current", "allocated_bytes.all.current",
            "reserved_bytes.all.current", "requested_bytes.all.peak", "allocated_bytes.all.peak",
        )))  # fmt: skip

    def reset_peak(self) -> None:
        torch.cuda.reset_peak_memory_stats(self.index)

    def free_bytes(self) -> int:
        free, _ = torch.cuda.mem_get_info(self.index)
        bytes_now = self.now()
        return int(free) + bytes_now.reserved - bytes_now.allocated

    def block(self, tensor: Tensor) -> int:
        pointer = tensor.untyped_storage().data_ptr()
        segments = torch.cuda.memory_snapshot()  # type: ignore[no-untyped-call]
        for segment in segments:
            address = segment["address"]
            if not address <= pointer < address + segment["total_size"]:
                continue
            for block in segment["blocks"]:
                if address == pointer and block["state"] == "active_allocated":
                    return int(block["size"])
                address += block["size"]
        return 0

    @contextmanager
    def watching(self) -> Iterator[None]:
        yield

    def release(self) -> None:
        gc.collect()
        torch.cuda.empty_cache()
        self.reset_peak()


class _Watch(TorchDispatchMode):  # type: ignore[no-untyped-call]
    def __init__(self, books: "TrackedCpu") -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.books = books

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        for leaf in tree_leaves(result):
            if isinstance(leaf, Tensor):
                self.books.take(leaf, str(func))
        return result


class TrackedCpu:
    """A CPU, or the meta device, whose storages are counted as a caching allocator would.

    capacity: bytes after which it is out of memory; None for no end.
    live, at_peak: bytes by the operation that made them, now and at the peak.
    """

    def __init__(self, capacity: int | None = None, device: str = "cpu") -> None:
        self.device = torch.device(device)
        self.capacity = capacity
        self.live: Counter[str] = Counter()
        self.requested = self.allocated = self.reserved = 0
        self.peak_requested = self.peak_allocated = 0
        self.at_peak: Counter[str] = Counter()
        self._known: weakref.WeakSet[Any] = weakref.WeakSet()

    @property
    def name(self) -> str:
        return f"{self.device.type}, storages tracked"

    def take(self, tensor: Tensor, operation: str) -> None:
        """Count a storage when it is first seen, until it is dropped."""
        if tensor.device.type != self.device.type:
            return
        storage = tensor.untyped_storage()
        if storage in self._known:
            return
        num_bytes = storage.nbytes()
        if self.capacity is not None and self.allocated + rounded(num_bytes) > self.capacity:
            raise torch.OutOfMemoryError(f"tried to allocate {num_bytes} bytes")
        self._known.add(storage)
        kind = str(tensor.dtype).removeprefix("torch.")
        label = f"{operation.removeprefix('aten.').partition('.')[0]} {list(tensor.shape)} {kind}"
        weakref.finalize(storage, self._drop, label, num_bytes)
        self.live[label] += num_bytes
        self.requested += num_bytes
        self.allocated += rounded(num_bytes)
        self.reserved = max(self.reserved, self.allocated)
        self.peak_allocated = max(self.peak_allocated, self.allocated)
        if self.requested > self.peak_requested:
            self.peak_requested = self.requested
            self.at_peak = self.live.copy()

    def _drop(self, label: str, num_bytes: int) -> None:
        self.live[label] -= num_bytes
        if not self.live[label]:
            del self.live[label]
        self.requested -= num_bytes
        self.allocated -= rounded(num_bytes)

    def now(self) -> Bytes:
        gc.collect()
        return Bytes(self.requested, self.allocated, self.reserved, self.peak_requested,
                     self.peak_allocated)  # fmt: skip

    def reset_peak(self) -> None:
        self.peak_requested, self.peak_allocated = self.requested, self.allocated
        self.at_peak = self.live.copy()

    def free_bytes(self) -> int:
        return (1 << 62) if self.capacity is None else self.capacity - self.allocated

    def block(self, tensor: Tensor) -> int:
        return rounded(tensor.untyped_storage().nbytes())

    def watching(self) -> Any:
        return _Watch(self)

    def release(self) -> None:
        gc.collect()
        self.reserved = self.allocated
        self.reset_peak()

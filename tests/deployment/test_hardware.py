"""The catalogue: enough devices, each with a source; figures as they were printed."""

import pytest

from kvcalc.deployment.hardware import catalogue, find, of_size
from kvcalc.errors import NotFoundError, UsageError


def test_forty_accelerators_with_their_sources() -> None:
    names = [name for device in catalogue() for name in (device.name, *device.aliases)]
    assert len(catalogue()) >= 40
    assert len(names) == len(set(names))
    assert all(device.source for device in catalogue())
    assert sum(device.measured for device in catalogue()) >= 20


def test_a_measured_device_carries_the_range_of_its_last_digit() -> None:
    """79.19 GiB, as vLLM printed it: 85,029,615,042 bytes, half of 0.01 GiB either way."""
    device = find("H100")
    assert device.bytes == 85_029_615_042
    assert (device.bytes - device.least, device.most - device.bytes) == (5_368_709, 5_368_709)
    assert device.measured


def test_a_nominal_device_is_read_in_decimal() -> None:
    device = find("nvidia H100 NVL")
    assert (device.bytes, device.measured) == (94_000_000_000, False)


def test_exact_mebibytes() -> None:
    """15,816 MiB CUDA-visible: https://github.com/Luce-Org/lucebox/issues/407."""
    assert find("rtx 5060 ti 16gb").bytes == 15816 << 20


def test_unknown_names_get_a_suggestion() -> None:
    with pytest.raises(NotFoundError, match=r"h100"):
        find("h101")
    with pytest.raises(UsageError, match="--gpu-memory"):
        of_size("80G")


def test_compute_capabilities() -> None:
    """9.0, 8.9, 12.1: https://developer.nvidia.com/cuda-gpus; other vendors have none."""
    assert [find(name).sm for name in ("h200", "l4", "gb10", "mi300x")] == [90, 89, 121, 0]
    assert of_size("80GiB").sm is None
    assert all(device.sm for device in catalogue() if device.vendor == "NVIDIA")


@pytest.mark.parametrize(
    ("text", "name"),
    [("4090", "rtx-4090"), ("rtx4090", "rtx-4090"), ("RTX_4060Ti", "rtx-4060-ti-16gb"),
     ("NVIDIA GeForce RTX 3090", "rtx-3090"), ("a100 80gb", "a100-80gb"), ("a10", "a10")],
)  # fmt: skip
def test_a_name_is_known_by_its_words(text: str, name: str) -> None:
    assert find(text).name == name


def test_words_of_several_devices_are_refused_with_their_names() -> None:
    """An A100 has 40 or 80 GB; taking one of them would be a guess."""
    with pytest.raises(UsageError, match="may be a100-80gb, a100-pcie-80gb, a100-40gb: say which"):
        find("A100")

"""What plots draw: bends where windows fill, curves of the cache, stacks that add up."""

from kvcalc.deployment.curves import Curve, bends, picture, sample
from kvcalc.memory.grid import Variant
from kvcalc.spec.catalog import load


def curves(*names: str, context: int = 8192, batch: int = 1) -> tuple[Curve, ...]:
    variants = [Variant(load(name)) for name in names]
    return picture(variants, contexts=[context], batch=batch, kv_dtypes=["bf16"]).curves


def test_a_curve_bends_where_the_window_is_full() -> None:
    # sliding_window of the two configs.
    gemma, gpt_oss = curves("gemma-3-27b", "gpt-oss-120b")
    assert bends(gemma.function) == (1024,)
    assert bends(gpt_oss.function) == (128,)


def test_models_without_windows_do_not_bend() -> None:
    llama, mamba = curves("llama-3-8b", "mamba-2.8b")
    assert bends(llama.function) == ()
    assert bends(mamba.function) == ()


def test_a_curve_is_the_cache() -> None:
    # 131,072 bytes a token, as measured on transformers' own cache.
    (llama,) = curves("llama-3-8b")
    assert llama.cache_bytes(8192) == 1073741824
    assert llama.cache_bytes(8192, batch=3) == 3221225472


def test_an_encoder_of_images_has_no_tokens_unless_asked() -> None:
    # Llama 3.2 11B: 32 text layers of 4,096 bytes a token; 8 more look at images, and there are none.
    (vision,) = curves("llama-3.2-11b-vision")
    assert vision.cache_bytes(8192) == 1_073_741_824


def test_every_bend_is_sampled() -> None:
    gemma, v4 = curves("gemma-3-27b", "deepseek-v4-flash")
    points = sample([gemma.function, v4.function], 100, 5000)
    assert {100, 127, 128, 1024, 4096, 5000} <= set(points)
    assert points[0] == 100
    assert points[-1] == 5000


def test_a_stack_is_weights_and_cache() -> None:
    (llama,) = curves("llama-3-8b")
    stack = dict(llama.stack(8192))
    # The model card's 8,030,261,248 parameters in bf16, and the cache.
    assert sum(stack.values()) == 16060522496 + 1073741824
    assert stack["cache"] == 1073741824
    assert "experts" not in stack


def test_the_encoder_follows_the_context_unless_told() -> None:
    # t5-base: 12 layers keep 2 * 768 elements a position, of themselves and of the encoder:
    # 36,864 bytes a position of either.
    variants = [Variant(load("t5-base"))]
    (follows,) = picture(variants, contexts=[512], batch=1, kv_dtypes=["bf16"]).curves
    (told,) = picture(
        variants, contexts=[512], batch=1, kv_dtypes=["bf16"], encoder_tokens=100
    ).curves
    assert follows.cache_bytes(512) == 37_748_736
    assert told.cache_bytes(512) == 22_560_768


def test_devices_reach_above_the_largest_cache() -> None:
    variants = [Variant(load("llama-3-70b"))]
    shown = picture(variants, contexts=[131072], batch=1, kv_dtypes=["bf16"]).devices
    # 40 GiB at 128k tokens: cards of 24, 48, 80, 141 GB and more are near it.
    assert [device.name for device in shown] == [
        "rtx-4090", "l40s", "h100-80gb", "h200", "b300",
    ]  # fmt: skip
    small = picture([Variant(load("mamba-2.8b"))], contexts=[8192], batch=1, kv_dtypes=["bf16"])
    assert [device.name for device in small.devices] == ["rtx-4090"]

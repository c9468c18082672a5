"""Every context and batch of several models as a pandas data frame, and a plot of it.

Usage: python sweep.py [FILE.png]
"""

import sys

import matplotlib
import pandas

import kvcalc

matplotlib.use("Agg")

points = kvcalc.grid(
    ["llama-3.1-8b", "gemma-3-12b", "qwen3-8b", "deepseek-v2-lite"],
    contexts=["1k", "8k", "32k", "128k"],
    batches=[1, 32],
)
frame = pandas.DataFrame(points)
frame["cache_gib"] = frame["cache_bytes"] / 2**30  # a quotient for the eye; the bytes are exact

table = frame[frame["batch_size"] == 1].pivot(
    index="context_tokens", columns="model", values="cache_gib"
)
print(table.round(2).to_string())

# Where the cache outgrows the weights, which is when attention starts to decide what a GPU holds.
frame["cache_is_more"] = frame["cache_bytes"] > frame["weight_bytes"]
print()
print(frame[frame["cache_is_more"]].groupby("model")["context_tokens"].min().to_string())

if len(sys.argv) > 1:
    axes = table.plot(logx=True, logy=True, marker="o", ylabel="GiB of cache, one request")
    axes.figure.savefig(sys.argv[1])

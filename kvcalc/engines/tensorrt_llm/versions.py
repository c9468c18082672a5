"""The releases of TensorRT-LLM: whose rules hold where none is named, and the newest whose were read.

1.2 differs from 1.1 in how blocks are rounded (pool.py) and takes the cache's format of the checkpoint as
1.1 does (rank.py, declared).
"""

# The oldest whose logs the rules of 1.1 make: llama-2-7b's, 0.8 (NVIDIA/TensorRT-LLM's issue 1400).
OLDEST = "0.8"
VERSION = "1.1"
NEWEST = "1.2.1"

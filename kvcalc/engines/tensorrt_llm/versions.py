"""The releases of TensorRT-LLM: whose rules hold where none is named, and the newest whose were read.

1.2 differs from 1.1 in how blocks are rounded (pool.py) and takes the cache's format of the checkpoint as
1.1 does (rank.py, declared).
"""

VERSION = "1.1"
NEWEST = "1.2.1"

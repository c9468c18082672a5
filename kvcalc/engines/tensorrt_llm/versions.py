"""The release of TensorRT-LLM whose rules hold where none is named."""

VERSION = "1.1"

"""The release of llama.cpp that the rules were read from: the source inside llama-cpp-python 0.3.36."""

VERSION = "v0.5.0"

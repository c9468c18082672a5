"""The build of llama.cpp that the rules were read from."""

VERSION = "llama-cpp-python 0.3.36"

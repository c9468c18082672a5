"""LM Studio: llama.cpp with defaults of its own (kvcalc/engines/llama_cpp/runners.py)."""

from kvcalc.engines.llama_cpp import ENGINE as LLAMA_CPP
from kvcalc.frozen import changed

ENGINE = changed(LLAMA_CPP, capacity=None, runs="llama.cpp", name="lm-studio", words="LM Studio")

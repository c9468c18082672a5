"""LM Studio: llama.cpp with defaults of its own (kvcalc/engines/llama_cpp/runners.py)."""

from dataclasses import replace

from kvcalc.engines.llama_cpp import ENGINE as LLAMA_CPP

ENGINE = replace(LLAMA_CPP, capacity=None, name="lm-studio", words="LM Studio")

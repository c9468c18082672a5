"""GGUF files as llama.cpp makes them: which tensors a model becomes, and which type each one gets."""

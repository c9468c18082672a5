"""Which of our models runs on which of our GPUs, and how many requests at once: a markdown table."""

import kvcalc

MODELS = ["qwen3-32b", "gpt-oss-120b", "llama-3.1-70b"]
GPUS = {"l40s": 4, "h100-80gb": 2, "h200": 1, "mi300x": 1}
CONTEXT = "32k"

print(f"requests of {CONTEXT} tokens at once under vLLM; the least that the evidence promises\n")
print("| model |", " | ".join(f"{number} x {gpu}" for gpu, number in GPUS.items()), "|")
print("|---" * (len(GPUS) + 1) + "|")
for model in MODELS:
    cells = []
    for gpu, number in GPUS.items():
        try:
            fit = kvcalc.fit(model, gpu, context_tokens=CONTEXT, tensor=number)
        except kvcalc.UnsupportedError as error:  # the engine does not run it so: say why
            cells.append(str(error))
            continue
        cells.append(str(fit.largest_batch_least) if fit.verdict != "does not fit" else "-")
    print(f"| {model} |", " | ".join(cells), "|")

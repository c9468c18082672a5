"""A user's script: run with the installed wheel, and held to mypy --strict."""

import kvcalc

spec: kvcalc.ModelSpec = kvcalc.load("llama-3-8b")
answer: kvcalc.Estimate = kvcalc.estimate(spec, context_tokens=8192, kv_dtype="bf16")
assert answer.cache.bytes == 1_073_741_824
assert answer.parameters.total == 8_030_261_248
for group in answer.cache.groups:
    for tensor in group.tensors:
        assert (tensor.shape, tensor.dtype) == ((1, 8, 8192, 128), "bf16")

formats = kvcalc.CacheDtypes.parse("fp8")
assert kvcalc.cache_function(spec, formats).most(131072) == 8_589_934_592
latent, notes = kvcalc.with_attention(spec, "mla")
models = [kvcalc.Variant(spec=spec), kvcalc.Variant(spec=latent, attention="mla", notes=notes)]
rows = kvcalc.grid(models, contexts=[8192], batches=[1], kv_dtypes=["bf16"])
assert [row.cache_bytes for row in rows] == [1_073_741_824, 301_989_888]

assert kvcalc.load_spec_text(kvcalc.dump(spec), "spec.yaml") == spec
assert "2 * n_kv * d_h" in kvcalc.explain(spec, context_tokens=8192)
assert "llama-3-8b" in kvcalc.shipped()
config = {
    "model_type": "llama", "architectures": ["LlamaForCausalLM"], "hidden_size": 4096,
    "intermediate_size": 14336, "num_hidden_layers": 32, "num_attention_heads": 32,
    "num_key_value_heads": 8, "vocab_size": 128256, "tie_word_embeddings": False,
}  # fmt: skip
imported: kvcalc.Imported = kvcalc.spec_from_config(config, "mine", "config.json")
assert kvcalc.estimate(imported.spec).parameters.total == 8_030_261_248

problems: tuple[kvcalc.Problem, ...] = ()
try:
    kvcalc.load_spec_text("name: mine\nhidden_sizes: 64\n", "spec.yaml")
except kvcalc.SpecError as error:
    problems = error.problems
assert ("hidden_sizes", 2) in [(problem.field, problem.line) for problem in problems]
message = ""
try:
    kvcalc.load("llama-3-8bb")
except kvcalc.KvcalcError as error:
    message = error.message
assert "did you mean llama-3-8b" in message

# Which tests .ci/run and .ci/quick run where they do not run all of them.

# What a release of Python or of a dependency may change: the command line, YAML, what is drawn and read
# back, the package. The rest is arithmetic in integers, which one Python holds.
touchy="tests/cli tests/spec tests/report tests/checks tests/examples tests/test_library.py
  tests/test_one_answer.py tests/test_package.py tests/test_readme.py tests/test_frozen.py tests/test_counts.py"

# Everything but the tables that are replayed for converters, engines, logs, files and towers, and the site.
most="$touchy tests/test_*.py tests/attention tests/recurrent tests/ffn tests/stack tests/towers tests/memory
  tests/media tests/deployment tests/tiers tests/convert/test_real_configs.py tests/engines/test_registry.py"

# Without PyTorch, transformers and random inputs; nothing that takes a second.
light="not slow and not torch and not hf and not hypothesis and not sweep"

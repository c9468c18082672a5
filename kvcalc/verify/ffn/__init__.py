"""Reference feed-forward modules, one file per mechanism of kvcalc/ffn."""

"""Reference attention modules, one file per mechanism of kvcalc/attention."""

"""Reference recurrent modules, one file per mechanism of kvcalc/recurrent."""

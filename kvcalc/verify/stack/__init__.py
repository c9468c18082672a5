"""Reference modules of what some families add around the mixers, one file per kind."""

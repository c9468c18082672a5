"""One file per family: functions from a Config to a ModelSpec, named by kvcalc/convert/model_types.py."""

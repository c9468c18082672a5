"""From YAML to frozen dataclasses: the spec's model, its loader, schema and catalogue."""

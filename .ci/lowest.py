"""Print the package's dependencies, each pinned to the lowest version that pyproject.toml allows."""

import re
import tomllib

with open("pyproject.toml", "rb") as file:
    dependencies = tomllib.load(file)["project"]["dependencies"]
for dependency in dependencies:
    name, version = re.fullmatch(r"([\w-]+)>=([\d.]+)(?:,.*)?", dependency).groups()
    print(f"{name}=={version}")

"""Print the requirements of extras, one per line: ``python docker/requirements.py pyproject.toml pipeline aws``.

pip cannot name a project's dependencies without building the project. An image installs them in a layer that changes
only with the pins, and copies the code afterwards.
"""

import re
import sys
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any


def requirements_of(project: Mapping[str, Any], extras: Sequence[str]) -> list[str]:
    """Dependencies of ``project`` (the table of ``pyproject.toml``) with ``extras``; extras of itself are followed.

    Raises:
        SystemExit: there is no such extra.
    """
    found = list(project["dependencies"])
    waiting, seen = list(extras), set()
    while waiting:
        name = waiting.pop()
        if name in seen:
            continue
        seen.add(name)
        if name not in project["optional-dependencies"]:
            raise SystemExit(
                f"pyproject.toml has no extra {name!r}; it has {', '.join(project['optional-dependencies'])}"
            )
        for requirement in project["optional-dependencies"][name]:
            own = re.fullmatch(rf"{re.escape(project['name'])}\[([^]]+)\]", requirement)
            if own:
                waiting += [part.strip() for part in own[1].split(",")]
            else:
                found.append(requirement)
    return sorted(set(found))


if __name__ == "__main__":
    file, *wanted = sys.argv[1:]
    print("\n".join(requirements_of(tomllib.loads(Path(file).read_text())["project"], wanted)))

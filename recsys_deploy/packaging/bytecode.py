"""Bytecode of a package's Python files: without it, a cold start compiles every imported module.

The files are compiled by an interpreter of the function's Python version, because bytecode is specific to it. Python
does not check it against the source (PEP 552, unchecked hash), so it does not depend on modification times.
"""

import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from recsys_deploy.packaging.functions import PackagingError

TASK_ROOT = "/var/task"
"""Folder of a function's files on Lambda, shown in tracebacks."""

COMPILE_WITHIN_S = 600


def find_interpreter(python: str) -> str | None:
    """An interpreter of this minor version: the running one, or ``python3.13`` of the path; ``None``: there is none."""
    if python == f"{sys.version_info.major}.{sys.version_info.minor}":
        return sys.executable
    found = shutil.which(f"python{python}")
    if found is None:
        return None
    # A version manager's shim exists for versions that are not active, and fails.
    tried = subprocess.run([found, "-I", "-c", ""], capture_output=True, check=False, timeout=30)
    return found if tried.returncode == 0 else None


def bytecode(files: Mapping[str, bytes], interpreter: str, folder: Path) -> dict[str, bytes]:
    """``__pycache__`` files for every Python file in ``files``; the same files give the same bytes.

    Args:
        files: path in the package -> content.
        interpreter: of the function's Python version.
        folder: an empty folder to work in.

    Raises:
        PackagingError: the interpreter failed.
    """
    for name, content in files.items():
        if name.endswith(".py"):
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes(content)
    command = [interpreter, "-s", "-m", "compileall", "-q", "--invalidation-mode", "unchecked-hash"]
    command += ["-s", str(folder), "-p", TASK_ROOT, str(folder)]
    # Sets of constants are written in an order that depends on the seed.
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    environment = {**kept, "PYTHONHASHSEED": "0"}
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, timeout=COMPILE_WITHIN_S, env=environment
    )
    compiled = {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*.pyc")}
    # Some libraries contain templates and files for other versions, which cannot be compiled and are never imported.
    if not compiled:
        raise PackagingError(f"{interpreter} compiled nothing: {(done.stdout + done.stderr)[-300:]}")
    return compiled

"""The ``recsys`` command as tests run it: as a process of its own, or within the test's process.

A process computes for two seconds before it begins; what a test proves of the command's words and files it proves as
well without one.
"""

import io
import os
import subprocess
import sys
import warnings
from collections.abc import Mapping
from contextlib import chdir, redirect_stderr, redirect_stdout
from pathlib import Path
from unittest import mock

from recsys_deploy import cli

Done = subprocess.CompletedProcess[str]


def in_a_process(*arguments: str, environment: Mapping[str, str] | None = None, folder: Path | None = None) -> Done:
    """Run ``recsys`` as a person does, in ``folder``, with no setting but those in ``environment``."""
    return subprocess.run(
        [sys.executable, "-m", "recsys_deploy.cli", *arguments],
        env=_environment(environment), cwd=folder, capture_output=True, text=True, timeout=300,
    )  # fmt: skip


def right_here(*arguments: str, environment: Mapping[str, str] | None = None, folder: Path | None = None) -> Done:
    """The same through the same entry point, without a process; what would print a traceback is raised."""
    out, err = io.StringIO(), io.StringIO()
    code: int | str | None = 0
    with (
        mock.patch.dict(os.environ, _environment(environment), clear=True),
        mock.patch.object(sys, "argv", ["recsys", *arguments]),
        chdir(folder or Path.cwd()),
        warnings.catch_warnings(),
        redirect_stdout(out),
        redirect_stderr(err),
    ):
        try:
            cli.main()
        except SystemExit as end:
            code = end.code
    return subprocess.CompletedProcess(arguments, int(code or 0), out.getvalue(), err.getvalue())


def _environment(given: Mapping[str, str] | None) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("RECSYS_")}
    return {**kept, **(given or {})}

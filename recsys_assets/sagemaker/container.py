"""The entry point of the training image: runs the program named by ``SAGEMAKER_PROGRAM``.

    python -m recsys_assets.sagemaker.container [train] [options of the program]

Training and processing jobs name their program in the request. A tuning job cannot, so its trials use the variable.
"""

import importlib
import os
import sys
from collections.abc import Mapping
from typing import Final

VARIABLE: Final = "SAGEMAKER_PROGRAM"
PROGRAMS: Final[Mapping[str, str]] = {
    "train": "recsys_assets.training.train",
    "trial": "recsys_assets.tuning.trial",
}


def main() -> int:
    """Run the program; returns its exit code."""
    name = os.environ.get(VARIABLE) or "train"
    if name not in PROGRAMS:
        print(f"{VARIABLE} is {name!r}; expected one of {', '.join(PROGRAMS)}", file=sys.stderr)
        return 2
    program = importlib.import_module(PROGRAMS[name])
    return int(program.main(sys.argv[1:]))


if __name__ == "__main__":
    sys.exit(main())

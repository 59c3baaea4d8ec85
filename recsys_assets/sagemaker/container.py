"""The training image's entry point: which of our programs a container runs.

    python -m recsys_assets.sagemaker.container [train] [options of the program]

Put the choice of program here. Keep the programs out. Training and processing jobs name their program in the request;
a tuning job cannot, so its trials choose it by the variable ``SAGEMAKER_PROGRAM``.
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
    """Run the program chosen; returns its exit code."""
    name = os.environ.get(VARIABLE) or "train"
    if name not in PROGRAMS:
        print(f"{VARIABLE} is {name!r}; expected one of {', '.join(PROGRAMS)}", file=sys.stderr)
        return 2
    program = importlib.import_module(PROGRAMS[name])
    return int(program.main(sys.argv[1:]))


if __name__ == "__main__":
    sys.exit(main())

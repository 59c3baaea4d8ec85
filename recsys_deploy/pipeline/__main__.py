"""``python -m recsys_deploy.pipeline --run-name NAME``: the command as images start it.

Put nothing here but the start.
"""

import sys

from recsys_deploy.cli import main

if __name__ == "__main__":
    sys.argv[1:1] = ["pipeline"]
    main()

"""``python -m recsys_deploy.run --name NAME``: how container images start ``recsys run``."""

import sys

from recsys_deploy.cli import main

if __name__ == "__main__":
    sys.argv[1:1] = ["run"]
    main()

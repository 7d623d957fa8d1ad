"""`python -m fimcheck.verify` is `fimcheck verify`."""

import sys

from fimcheck.verify.cli import main

if __name__ == "__main__":  # worker processes import this file too
    sys.argv.insert(1, "verify")
    main()

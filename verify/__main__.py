"""`python -m verify` is `fimcheck verify`."""

import sys

from verify.cli import main

sys.argv.insert(1, "verify")
main()

"""`python -m infra.local`: the local world from the command line."""

import sys

from infra.local.commands import main

sys.exit(main(sys.argv[1:]))

"""The file that Run Command runs on any machine, as root: `python3 /opt/regrow/node/services.py ACTION`.

It only makes its own folder importable as a package, wherever that folder lies, and hands over.
"""

import runpy
import sys
from pathlib import Path

if __name__ == "__main__":
    here = Path(__file__).resolve().parent
    sys.path[0] = str(here.parent)
    runpy.run_module(f"{here.name}.restarting", run_name="__main__", alter_sys=True)

"""One peer of several experiments, one after another in one process: ``ID FOLDER FILE...``"""

from __future__ import annotations

import sys
from pathlib import Path

import peer.__main__
from peer.console import run_app

identity, folder, *files = sys.argv[1:]
for file in files:
    run = Path(folder) / Path(file).stem
    words = ["--id", identity, "--topology", file, "--run-dir", str(run)]
    try:
        run_app(peer.__main__.app, words)
    except SystemExit as ended:
        print(f"{file}: ended with {ended.code}", flush=True)

"""Serve a folder of repositories until Ctrl-C: ``python -m tests.standin_hub ROOT``."""

from __future__ import annotations

import argparse
import threading
from pathlib import Path

from tests.standin_hub import Faults, StandinHub

SNIPPET = """Add this to peace.toml:

[[source]]
kind = "huggingface"
endpoint = "{endpoint}"
requests_per_5_minutes = 1000000

Names such as hf://org/name are looked up at HF_ENDPOINT={endpoint}
"""


def main() -> None:
    """Read the command line and serve."""
    parser = argparse.ArgumentParser(prog="python -m tests.standin_hub", description=__doc__)
    parser.add_argument("root", type=Path, help="the folder of repositories; made where there is none")
    parser.add_argument("--port", type=int, default=8001)
    parser.add_argument("--faults", type=float, default=0, metavar="RATE", help="share of requests that fail")
    parser.add_argument("--seed", type=int, default=0, help="seed of the faults")
    parser.add_argument(
        "--import", type=Path, dest="folder", metavar="FOLDER", help="push its model folders first"
    )
    parser.add_argument("--owner", default="local", help="whose models the imported ones are")
    arguments = parser.parse_args()
    with StandinHub(arguments.root, arguments.port) as hub:
        if arguments.folder:
            pushed = hub.import_folder(arguments.folder, arguments.owner)
            print(f"{len(pushed)} new or changed models of {arguments.folder}")
        if arguments.faults:
            hub.faults = Faults(arguments.seed, arguments.faults)
        print(
            f"{len(hub.repos)} models at {hub.endpoint}; Ctrl-C stops.\n{SNIPPET.format(endpoint=hub.endpoint)}"
        )
        try:
            threading.Event().wait()
        except KeyboardInterrupt:
            print("stopped")


if __name__ == "__main__":
    main()

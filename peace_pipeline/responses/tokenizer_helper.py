"""The helper process of ``tokenizing``: forks a confined process for each tokenizer.json, which reads sentences by it.

Such a process reads the file, which it is handed open, before it confines itself, and opens nothing afterwards. What a
stranger's regular expressions and rules of replacement can cost is bounded by its memory and time.
"""

from __future__ import annotations

import json
import mmap
import os
import resource
from multiprocessing.connection import Connection
from pathlib import Path

from tokenizers import Tokenizer

from peace_pipeline.confinement import allow, confine, serve

MAX_SECONDS = 10
"""Of computing, for a tokenizer and all sentences."""
MAX_MEMORY, COPIES = 1 << 30, 20
"""Bytes that a process may have beside so many copies of its tokenizer's file."""


def main() -> None:
    """Fork a process for each tokenizer until the other end of standard input is closed."""
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    serve(_handle)


def _handle(_: bytes, descriptors: list[int]) -> None:
    link, own = descriptors
    connection = Connection(link)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)  # where the library tells of its panics
    with mmap.mmap(own, 0, prot=mmap.PROT_READ) as file:
        described = file[:]
    os.close(own)
    used = int(Path("/proc/self/statm").read_text().split()[0]) * mmap.PAGESIZE
    confine(resource.RLIMIT_AS, used + MAX_MEMORY + COPIES * len(described))
    allow(MAX_SECONDS)
    request = json.loads(connection.recv_bytes())
    tokenizer = Tokenizer.from_buffer(described)
    tokenizer.no_padding()
    tokenizer.enable_truncation(request["length"])
    found = [tokenizer.encode(sentence).ids[: request["length"]] for sentence in request["sentences"]]
    connection.send_bytes(json.dumps(found).encode())


if __name__ == "__main__":
    main()

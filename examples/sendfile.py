#!/usr/bin/env python3
"""Sends a file over a reliable and encrypted flow; the receiver answers with its hash.

$ irmd &
$ irm i b t local n local l local
$ irm n r files l local
$ irm b prog ./sendfile.py n files
$ ./sendfile.py -l copy &
$ ./sendfile.py original
"""

import argparse
import hashlib
import os

from ouroboros.dev import *

PART = 100_000


def send(path):
    qos = QoSSpec.data()  # nothing lost, in order, with a checksum
    qos.cypher_s = 256
    digest = hashlib.sha256()
    with flow_alloc("files", qos) as f, open(path, "rb") as file:
        f.writeline(str(os.path.getsize(path)))
        while part := file.read(PART):
            digest.update(part)
            f.write(part)
        arrived = f.readline() == digest.hexdigest()
    print("arrived" if arrived else "the file changed while it was sent")


def receive(path):
    digest = hashlib.sha256()
    with flow_accept() as f, open(path, "wb") as file:
        size = int(f.readline())
        while file.tell() < size:
            part = f.read()
            digest.update(part)
            file.write(part)
        f.writeline(digest.hexdigest())
        print(f"{size} bytes, encrypted with {f.get_qos().cypher_s} bits")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Sends and receives a file")
    parser.add_argument("-l", "--listen", help="receive", action="store_true")
    parser.add_argument("path", help="the file to send, or to write to")
    args = parser.parse_args()
    receive(args.path) if args.listen is True else send(args.path)

#!/usr/bin/env python3
"""A clone of oecho, as in the documentation: the client says hello, the server prints it.

$ irmd &
$ irm i b t local n local l local
$ irm n r oecho l local
$ irm b prog ./oecho.py n oecho
$ ./oecho.py -l &
$ ./oecho.py
"""

import argparse

from ouroboros.dev import *


def client():
    with flow_alloc("oecho") as f:
        f.writeline("Hello, PyOuroboros!")


def server():
    print("Starting the server.")
    while True:
        with flow_accept() as f:
            print("New flow.")
            line = f.readline()
            print("Message from client is " + line)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="A simple echo client/server")
    parser.add_argument("-l", "--listen", help="run as a server", action="store_true")
    args = parser.parse_args()
    server() if args.listen is True else client()

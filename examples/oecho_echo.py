#!/usr/bin/env python3
"""oecho.py with the echo: the server sends the message back and the client prints it.

Set up as in oecho.py, with this program bound to the name: irm b prog ./oecho_echo.py n oecho
"""

import argparse

from ouroboros.dev import *


def client():
    with flow_alloc("oecho") as f:
        f.writeline("Hello, PyOuroboros!")
        print("Server replied with " + f.readline())


def server():
    print("Starting the server.")
    while True:
        with flow_accept() as f:
            print("New flow.")
            line = f.readline()
            print("Message from client is " + line)
            f.writeline(line)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="A simple echo client/server")
    parser.add_argument("-l", "--listen", help="run as a server", action="store_true")
    args = parser.parse_args()
    server() if args.listen is True else client()

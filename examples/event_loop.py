#!/usr/bin/env python3
"""Several flows at once: the event loop in its three forms.

It needs no set-up: it starts a node of its own and is client and server in one process.
"""

import threading

import ouroboros
from ouroboros.event import *

FLOWS = 3


def connect(name):
    """Allocates a flow to a name that this very process serves; both ends."""
    accepted = []
    thread = threading.Thread(target=lambda: accepted.append(flow_accept()))
    thread.start()
    client = flow_alloc(name)
    thread.join()
    return client, accepted[0]


def with_while(fset):
    """Ends when next() returns something false."""
    fq = FEventQueue()
    fset.wait(fq, timeo=1.0)  # Wait for 1 second or until event
    while event := fq.next():
        f, t = event
        if t == FEventType.FlowPkt:
            yield f.readline()


def with_exception(fset):
    """Ends when there is nothing to unpack."""
    fq = FEventQueue()
    fset.wait(fq, timeo=1.0)
    while True:
        try:
            f, t = fq.next()
        except FlowEventError:
            return
        if t == FEventType.FlowPkt:
            yield f.readline()


def with_for(fset):
    """Ends by itself."""
    fq = FEventQueue()
    fset.wait(fq, timeo=1.0)
    for f, t in fq:
        if t == FEventType.FlowPkt:
            yield f.readline()


def main():
    with ouroboros.Node() as node:
        node.serve_name("events")
        pairs = [connect("events") for _ in range(FLOWS)]
        with FlowSet([server for _, server in pairs]) as fset:
            for form in (with_while, with_exception, with_for):
                for number, (client, _) in enumerate(pairs):
                    client.writeline(f"{form.__name__}: hello from flow {number}")
                received = []
                while len(received) < FLOWS:
                    received += form(fset)
                print(*sorted(received), sep="\n")
        for pair in pairs:
            for flow in pair:
                flow.dealloc()


if __name__ == "__main__":
    main()

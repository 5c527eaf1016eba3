"""Ctrl-C and signal handlers in every call that waits (api.md B9.21, PEP 475)."""

import time
import uuid

import pytest
from conftest import PATIENCE

from ouroboros.dev import flow_accept

SET_UP = """
import sys, threading
from ouroboros.event import *
from ouroboros import errors
name = sys.argv[1]

def connect():
    box = []
    thread = threading.Thread(target=lambda: box.append(flow_accept(30)))
    thread.start()
    client = flow_alloc(name)
    thread.join()
    return client, box[0]

def full():
    client, server = connect()
    client.setblocking(False)
    try:
        while True:
            client.write(b"x" * 1000)
    except BlockingIOError:
        client.setblocking(True)
    return client, server
"""

SERVE = """
import os
from ouroboros import _native
_native.announce()
_native.Irm(os.environ["OUROBOROS_RUNTIME_DIR"]).bind_process(os.getpid(), name)
"""

LISTEN = """
from ouroboros.dev import listen
listener = listen()
"""

AIO = (
    SERVE
    + """
import asyncio
from ouroboros import aio
async def main(call):
    f, g = await asyncio.gather(aio.open_flow(name), aio.accept_flow())
    async with f, g:
        await call(f, g)
"""
)

CALLS = {
    "alloc": ("", "flow_alloc(name)"),
    "alloc with a time limit": ("", "flow_alloc(name, timeo=1000)"),
    "accept": (SERVE, "flow_accept()"),
    "accept with a time limit": (SERVE, "flow_accept(1000)"),
    "read": (SERVE + "flows = connect()", "flows[0].read()"),
    "read with a count": (SERVE + "flows = connect()", "flows[0].read(10)"),
    "readline": (SERVE + "flows = connect()", "flows[0].readline()"),
    "read_into": (SERVE + "flows = connect()", "flows[0].read_into(bytearray(9))"),
    "read with a time limit": (
        SERVE + "flows = connect(); flows[0].settimeout(1000)",
        "flows[0].read()",
    ),
    "write": (SERVE + "flows = full()", "flows[0].write(b'x' * 1000)"),
    "writeline": (SERVE + "flows = full()", "flows[0].writeline('x' * 1000)"),
    "read_many": (SERVE + "flows = connect()", "flows[0].read_many(9)"),
    "read_many with a time limit": (SERVE + "flows = connect()", "flows[0].read_many(9, 1000)"),
    "recv_view": (SERVE + "flows = connect()", "flows[0].recv_view()"),
    "recv_bytes": (SERVE + "flows = connect()", "flows[0].recv_bytes()"),
    "recv_bytes_into": (SERVE + "flows = connect()", "flows[0].recv_bytes_into(bytearray(9))"),
    "poll": (SERVE + "flows = connect()", "flows[0].poll(None)"),
    "iteration": (SERVE + "flows = connect()", "list(flows[0])"),
    "write_many": (SERVE + "flows = full()", "flows[0].write_many([b'x' * 1000] * 9)"),
    "send_bytes": (SERVE + "flows = full()", "flows[0].send_bytes(b'x' * 1000)"),
    "listener": (SERVE + LISTEN, "listener.accept()"),
    "listener with a time limit": (SERVE + LISTEN, "listener.accept(1000)"),
    "iteration of a listener": (SERVE + LISTEN, "next(iter(listener))"),
    "aio read": (AIO + "async def call(f, g): await f.read()", "asyncio.run(main(call))"),
    "aio accept": (
        AIO + "async def call(f, g): await aio.accept_flow()",
        "asyncio.run(main(call))",
    ),
    "aio serve_forever": (
        AIO + "async def call(f, g): await (await aio.start_server(print)).serve_forever()",
        "asyncio.run(main(call))",
    ),
    "wait": (
        SERVE + "flows = connect(); fset = FlowSet([flows[1]]); fq = FEventQueue()",
        "fset.wait(fq)",
    ),
    "select": (SERVE + "flows = connect(); fset = FlowSet([flows[1]])", "fset.select(1000)"),
}

TRY = """
print("ready")
try:
    {call}
except KeyboardInterrupt:
    print("interrupted")
else:
    print("returned")
import os
os._exit(0)
"""


@pytest.mark.parametrize("call", CALLS)
def test_ctrl_c_ends(node, child, call):
    name = f"signal-{uuid.uuid4().hex}"
    node.register(name)
    if call.startswith("alloc"):
        # This process could accept, but does not.
        node.bind(name)
    before, statement = CALLS[call]
    # Within 50 ms; a machine that is busy with something else gets more chances.
    for chances in reversed(range(5)):
        program = child(SET_UP + before + TRY.format(call=statement), name)
        program.expect("ready")
        program.await_sleep()
        start = time.monotonic()
        program.interrupt()
        program.expect("interrupted")
        elapsed = time.monotonic() - start
        assert program.process.wait(PATIENCE) == 0
        if elapsed <= 0.05:
            break
        assert chances, f"the call ended {elapsed:.3f} s after Ctrl-C"


def test_21_calls_go_on_after_a_handler(name, child):
    program = child(
        """
        import signal, sys
        from ouroboros.dev import *
        flow = flow_alloc(sys.argv[1])
        def handler(number, frame):
            print("handled")
        signal.signal(signal.SIGINT, handler)
        print("ready")
        print(flow.readline())
        flow.dealloc()
    """,
        name,
    )
    with flow_accept(PATIENCE) as flow:
        program.expect("ready")
        for _ in range(3):
            program.await_sleep()
            program.interrupt()
            program.expect("handled")
        flow.writeline("the message")
        program.expect("the message")
        program.finish()


def test_the_time_limit_counts_from_the_start(name, child):
    program = child(
        """
        import signal, sys
        from ouroboros.dev import *
        flow = flow_alloc(sys.argv[1])
        flow.set_rcv_timeout(0.3)
        calls = 0
        def handler(number, frame):
            global calls
            calls += 1
        signal.signal(signal.SIGALRM, handler)
        signal.setitimer(signal.ITIMER_REAL, 0.02, 0.02)
        try:
            flow.read()
        except TimeoutError:
            # At the end of Python the signal would have no handler.
            signal.setitimer(signal.ITIMER_REAL, 0)
            print("timeout", calls > 3)
        flow.dealloc()
    """,
        name,
    )
    with flow_accept(PATIENCE):
        program.expect("timeout True")
        program.finish()

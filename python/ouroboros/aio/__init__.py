"""Flows for asyncio: await reads, writes, allocations; servers, protocols. Also under uvloop.

>>> import asyncio
>>> from ouroboros import aio
>>> async def main():
...     async with await aio.open_flow("oecho") as flow:
...         await flow.writeline("Hello")
...         print(await flow.readline())
>>> asyncio.run(main())                                 # doctest: +SKIP

Everything may be cancelled, and so be put under a time limit with asyncio.timeout() or wait_for():
a cancelled read takes no packet, a cancelled write writes none, and the flow that a cancelled
accept would have got goes to the next accept.

All flows of an event loop share two descriptors, and there is no thread behind them. Only a QoS
that needs one (signs of life, reliability over a network) brings the thread of the library.
"""

from ._flow import Flow, accept_flow, join_flow, open_flow
from ._protocol import FlowTransport, Protocol, create_flow
from ._server import Server, create_server, start_server

__all__ = [
    "Flow",
    "FlowTransport",
    "Protocol",
    "Server",
    "accept_flow",
    "create_flow",
    "create_server",
    "join_flow",
    "open_flow",
    "start_server",
]

for _name in __all__:
    # Where readers of a repr, a traceback or the reference find them.
    globals()[_name].__module__ = __name__
del _name

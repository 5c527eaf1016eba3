"""Ouroboros: allocate flows to names, read and write messages.

ouroboros.dev
    Flows: flow_alloc, flow_accept, flow_join, Flow.
ouroboros.event
    Waiting for many flows: FlowSet, FEventQueue.
ouroboros.qos
    Quality of service: QoSSpec.
ouroboros.aio
    Flows for asyncio: open_flow, accept_flow, start_server, protocols.
ouroboros.irm, ouroboros.cli
    Management: IPCPs, layers, names, bindings; by process ids, or by names as the command irm.
ouroboros.names
    Names for the length of a with-statement: registered, bound.
ouroboros.listener
    Accepting flow after flow: listen, Listener.
ouroboros.errors
    All exceptions.
ouroboros.Node, ouroboros.daemon
    A private daemon for the length of a with-statement.
ouroboros.testbed
    Test networks: nodes and links on one machine.

Log messages go to the logger 'ouroboros'.
"""

import logging as _logging

from .errors import OuroborosError
from .node import Node

__all__ = ["Node", "OuroborosError", "__version__"]

#: Version of this package. Its first two numbers are those of the interface it offers.
__version__ = "0.23.100"

_logging.getLogger(__name__).addHandler(_logging.NullHandler())

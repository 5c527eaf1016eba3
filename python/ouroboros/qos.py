"""Quality of service of flows."""

from __future__ import annotations

import operator
from typing import Final, SupportsIndex

__all__ = ["BILLION", "DEFAULT_PEER_TIMEOUT", "MILLION", "UINT32_MAX", "QoSSpec"]

MILLION: Final = 1_000_000
BILLION: Final = 1_000_000_000
UINT32_MAX: Final = 0xFFFF_FFFF
UINT64_MAX: Final = 0xFFFF_FFFF_FFFF_FFFF
#: Silence after which a peer is declared dead, ms.
DEFAULT_PEER_TIMEOUT: Final = 120_000

_LIMITS = {
    "delay": UINT32_MAX,
    "bandwidth": UINT64_MAX,
    "availability": 255,
    "loss": UINT32_MAX,
    "ber": UINT32_MAX,
    "in_order": 255,
    "max_gap": UINT32_MAX,
    "timeout": UINT32_MAX,
    "cypher_s": 256,
}

_UNITS = {
    "delay": "milliseconds",
    "bandwidth": "bit/s",
    "loss": "ppm",
    "ber": "errors per billion bits",
    "max_gap": "milliseconds",
    "timeout": "milliseconds",
    "cypher_s": "bits",
}

#: The fields in the order of the extension module.
_Fields = tuple[int, int, int, int, int, int, int, int, int]


class QoSSpec:
    """What a flow must offer.

    delay
        Longest one-way delay, ms. Default: do not care.
    bandwidth
        Least bandwidth, bit/s. Default 0.
    availability
        Class of nines. Default 0.
    loss
        Packet loss, ppm; 0 turns retransmission on. Default: do not care.
    ber
        Bit errors per billion bits; 0 turns the checksum on. Default: do not care.
    in_order
        Not 0: ordered delivery and flow control (FRCP). Default 0.
    max_gap
        Longest interruption, ms. Default: do not care.
    timeout
        Silence after which the peer is declared dead, ms; 0 = never. Default 120000.
    cypher_s
        Requested encryption strength, bits, at most 256; 0 = none asked. Keyword only.
    kex
        Name of a key exchange that the flow must have at least, such as "X25519" or, against
        quantum computers, "X25519MLKEM768"; "" = as cypher_s and the configuration of the name say.
        An error if one of the ends does not have it. Keyword only, used with alloc() only.

    A value out of range raises ValueError.
    """

    __slots__ = (
        "_availability",
        "_bandwidth",
        "_ber",
        "_cypher_s",
        "_delay",
        "_in_order",
        "_kex",
        "_loss",
        "_max_gap",
        "_timeout",
    )

    def __init__(
        self,
        delay: int = MILLION,
        bandwidth: int = 0,
        availability: int = 0,
        loss: int = MILLION,
        ber: int = BILLION,
        in_order: int = 0,
        max_gap: int = MILLION,
        timeout: int = DEFAULT_PEER_TIMEOUT,
        *,
        cypher_s: int = 0,
        kex: str = "",
    ) -> None:
        self.delay = delay
        self.bandwidth = bandwidth
        self.availability = availability
        self.loss = loss
        self.ber = ber
        self.in_order = in_order
        self.max_gap = max_gap
        self.timeout = timeout
        self.cypher_s = cypher_s
        self.kex = kex

    @staticmethod
    def _checked(field: str, value: SupportsIndex) -> int:
        try:
            # Not a bool, which is an int that prints otherwise.
            number = int(operator.index(value))
        except TypeError:
            unit = f" ({_UNITS[field]})" if field in _UNITS else ""
            raise TypeError(
                f"QoSSpec.{field} must be an integer{unit}, not {type(value).__name__}"
            ) from None
        if not 0 <= number <= _LIMITS[field]:
            raise ValueError(f"QoSSpec.{field} must be 0 to {_LIMITS[field]}, it is {number}")
        return number

    @property
    def delay(self) -> int:
        """Longest one-way delay, ms."""
        return self._delay

    @delay.setter
    def delay(self, value: int) -> None:
        self._delay = self._checked("delay", value)

    @property
    def bandwidth(self) -> int:
        """Least bandwidth, bit/s."""
        return self._bandwidth

    @bandwidth.setter
    def bandwidth(self, value: int) -> None:
        self._bandwidth = self._checked("bandwidth", value)

    @property
    def availability(self) -> int:
        """Class of nines."""
        return self._availability

    @availability.setter
    def availability(self, value: int) -> None:
        self._availability = self._checked("availability", value)

    @property
    def loss(self) -> int:
        """Packet loss, ppm; 0 = retransmission."""
        return self._loss

    @loss.setter
    def loss(self, value: int) -> None:
        self._loss = self._checked("loss", value)

    @property
    def ber(self) -> int:
        """Bit errors per billion bits; 0 = checksum."""
        return self._ber

    @ber.setter
    def ber(self, value: int) -> None:
        self._ber = self._checked("ber", value)

    @property
    def in_order(self) -> int:
        """Not 0: ordered delivery and flow control."""
        return self._in_order

    @in_order.setter
    def in_order(self, value: int) -> None:
        self._in_order = self._checked("in_order", value)

    @property
    def max_gap(self) -> int:
        """Longest interruption, ms."""
        return self._max_gap

    @max_gap.setter
    def max_gap(self, value: int) -> None:
        self._max_gap = self._checked("max_gap", value)

    @property
    def timeout(self) -> int:
        """Silence after which the peer is declared dead, ms; 0 = never."""
        return self._timeout

    @timeout.setter
    def timeout(self, value: int) -> None:
        self._timeout = self._checked("timeout", value)

    @property
    def cypher_s(self) -> int:
        """Encryption strength, bits; 0 = none."""
        return self._cypher_s

    @cypher_s.setter
    def cypher_s(self, value: int) -> None:
        self._cypher_s = self._checked("cypher_s", value)

    @property
    def kex(self) -> str:
        """Key exchange asked for; "" = none."""
        return self._kex

    @kex.setter
    def kex(self, value: str) -> None:
        if not isinstance(value, str):
            raise TypeError(f"QoSSpec.kex must be a string, not {type(value).__name__}")
        self._kex = value

    @classmethod
    def raw(cls) -> QoSSpec:
        """Nothing but moving packets: the QoS of a flow that asked for none."""
        return cls(UINT32_MAX, 0, 0, 1, 1, 0, UINT32_MAX)

    @classmethod
    def raw_no_errors(cls) -> QoSSpec:
        """Raw, with a checksum on each packet."""
        return cls(UINT32_MAX, 0, 0, 1, 0, 0, UINT32_MAX)

    @classmethod
    def best_effort(cls) -> QoSSpec:
        """Ordered and flow controlled; packets may get lost."""
        return cls(UINT32_MAX, 0, 0, 1, 0, 1, UINT32_MAX)

    @classmethod
    def video(cls) -> QoSSpec:
        """Video."""
        return cls(100, UINT64_MAX, 3, 1, 0, 1, 100)

    @classmethod
    def voice(cls) -> QoSSpec:
        """Voice."""
        return cls(50, 100_000, 5, 1, 0, 1, 50)

    @classmethod
    def data(cls) -> QoSSpec:
        """Reliable: ordered, retransmitted, checked."""
        return cls(1000, 0, 0, 0, 0, 1, 2000)

    def _fields(self) -> _Fields:
        return (
            self._delay,
            self._bandwidth,
            self._availability,
            self._loss,
            self._ber,
            self._in_order,
            self._max_gap,
            self._timeout,
            self._cypher_s,
        )

    def _request(self) -> _Fields:
        """The fields to ask for: no loss needs retransmission, and that needs order."""
        if self._loss == 0 and self._in_order == 0:
            return (*self._fields()[:5], 1, *self._fields()[6:])
        return self._fields()

    @classmethod
    def _from_fields(cls, fields: _Fields) -> QoSSpec:
        return cls(*fields[:8], cypher_s=fields[8])

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, QoSSpec):
            return NotImplemented
        return (self._fields(), self._kex) == (other._fields(), other._kex)

    # The fields can be changed.
    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        fields = ", ".join(f"{name}={value}" for name, value in zip(_LIMITS, self._fields()))
        kex = f", kex={self._kex!r}" if self._kex else ""
        return f"QoSSpec({fields}{kex})"

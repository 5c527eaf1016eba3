"""A link between two nodes of a test network."""

from __future__ import annotations

import random
from typing import Any, NamedTuple, Optional

from ..errors import EIRMD, NodeError
from ._relay import Relay

_WAYS = ("ab", "ba")


class LinkStats(NamedTuple):
    """What has become of the frames of a link, since its start."""

    #: Frames, and bytes, that came in.
    received: int
    received_bytes: int
    #: Frames, and bytes, that went out.
    passed: int
    passed_bytes: int
    #: Frames lost by chance.
    lost: int
    #: Frames lost because the link was cut.
    cut: int
    #: Frames that found the queue before the rate full.
    overflow: int
    #: Frames that the interface behind the link did not take.
    unsent: int
    #: Copies made.
    duplicated: int
    #: Frames with a flipped bit.
    corrupted: int
    #: Frames held back so that the next one overtakes them.
    reordered: int
    #: Frames under way.
    waiting: int

    @property
    def dropped(self) -> int:
        """Frames that did not come out, for whatever reason."""
        return self.lost + self.cut + self.overflow + self.unsent


class Link:
    """A link of a test network; ``net.link("n0", "n1")``.

    Each of its calls takes effect behind the frames that are on the link already. *towards* is the
    name of one of the two nodes: then only frames on their way to it are meant.
    """

    def __init__(self, index: int, a: str, b: str, impairment: dict[str, Any], seed: int) -> None:
        #: The names of the two nodes.
        self.nodes = (a, b)
        self._index = index
        self._seed = seed
        self._relay: Optional[Relay] = None
        self._why = "the testbed is not running; use it in a with-statement"
        self._cut = [False, False]
        self._impairments: list[dict[str, Any]] = [{}, {}]
        self._first = impairment
        if impairment:
            # A wrong name should be seen at once.
            self._check(**impairment)

    def _check(self, **impairment: Any) -> None:
        known = ("loss", "delay", "jitter", "reorder", "duplicate", "corrupt", "rate", "queue")
        for name in impairment:
            if name not in (*known, "seed"):
                raise ValueError(f"a link has no {name!r}; there are {', '.join(known)}, and seed")

    def _start(self, relay: Optional[Relay], why: str) -> None:
        self._relay, self._why = relay, why
        if relay is not None and self._first:
            self.impair(**self._first)

    def _stop(self) -> None:
        self._relay = None
        self._why = "the testbed is not running any more"

    def _ask(self, op: str, **arguments: Any) -> dict[str, Any]:
        if self._relay is None:
            raise NodeError(
                EIRMD, f"no frames pass between {' and '.join(self.nodes)}: {self._why}"
            )
        return self._relay.ask(op, link=self._index, **arguments)

    def _indices(self, towards: Optional[str]) -> tuple[int, ...]:
        if towards is None:
            return (0, 1)
        name = str(towards)
        if name not in self.nodes:
            raise ValueError(
                f"towards is {name!r}, but {self!r} leads to {' and '.join(self.nodes)}"
            )
        return (1 - self.nodes.index(name),)

    def _direction(self, towards: Optional[str]) -> str:
        indices = self._indices(towards)
        return "both" if len(indices) == 2 else _WAYS[indices[0]]

    def cut(self, *, towards: Optional[str] = None) -> None:
        """Cuts the link: what is under way is lost, as is all that comes, until heal()."""
        self._ask("cut", direction=self._direction(towards))
        for index in self._indices(towards):
            self._cut[index] = True

    def heal(self, *, towards: Optional[str] = None) -> None:
        """Mends a cut link. Its impairment stays."""
        self._ask("heal", direction=self._direction(towards))
        for index in self._indices(towards):
            self._cut[index] = False

    def impair(
        self,
        *,
        loss: float = 0.0,
        delay: float = 0.0,
        jitter: float = 0.0,
        reorder: float = 0.0,
        duplicate: float = 0.0,
        corrupt: float = 0.0,
        rate: Optional[float] = None,
        queue: int = 256 << 10,
        seed: Optional[int] = None,
        towards: Optional[str] = None,
    ) -> None:
        """Makes the link a bad one, from the next frame on; without arguments: a good one again.

        loss, duplicate, corrupt
            Probability, 0 to 1, that a frame is lost, comes twice, or has one bit flipped (not in
            its Ethernet header).
        reorder
            Probability that a frame is held back until the next one has passed, or for 10 ms if
            none comes.
        delay, jitter
            Seconds, each way: a frame takes evenly between delay - jitter and delay + jitter, but
            does not overtake its predecessor.
        rate, queue
            Bits per second; and how many bytes may wait for it, before frames are dropped.
        seed
            Chooses the sequence of decisions, which begins anew with this call. The same frames
            with the same seed meet the same fate. Without it: the link's own seed.
        """
        impairment: dict[str, Any] = {
            "loss": loss,
            "delay": delay,
            "jitter": jitter,
            "reorder": reorder,
            "duplicate": duplicate,
            "corrupt": corrupt,
            "rate": rate,
            "queue": queue,
            "seed": self._seed if seed is None else seed,
        }
        self._ask("set", direction=self._direction(towards), impairment=impairment)
        given = {name: value for name, value in impairment.items() if value}
        del given["queue"]
        given.pop("seed", None)
        if rate is not None:
            given["queue"] = queue
        if given:
            given["seed"] = impairment["seed"]
        for index in self._indices(towards):
            self._impairments[index] = given

    def stats(self, *, towards: Optional[str] = None) -> LinkStats:
        """What has become of the frames so far, in both directions or in one."""
        answer = self._ask("stats")
        chosen = [answer[_WAYS[index]] for index in self._indices(towards)]
        return LinkStats(*(sum(each[name] for each in chosen) for name in LinkStats._fields))

    @property
    def is_cut(self) -> bool:
        """Whether it is cut, in one direction at least."""
        return any(self._cut)

    def impairment(self, *, towards: Optional[str] = None) -> dict[str, Any]:
        """What impair() was called with, and the seed; empty for a good link."""
        return dict(self._impairments[self._indices(towards)[0]])

    @property
    def state(self) -> str:
        """'cut', 'impaired' or 'up'."""
        if self.is_cut:
            return "cut"
        return "impaired" if any(self._impairments) else "up"

    def _label(self) -> str:
        """The state in numbers, for people; a line for each direction if they differ."""
        texts = [_describe(*each) for each in zip(self._cut, self._impairments)]
        if texts[0] == texts[1]:
            return texts[0]
        ends = [(self.nodes[1], texts[0]), (self.nodes[0], texts[1])]
        return "\n".join(f"to {name}: {text}" for name, text in ends if text)

    def __repr__(self) -> str:
        label = self._label().replace("\n", "; ")
        return f"<Link {' - '.join(self.nodes)}{': ' if label else ''}{label}>"


def _describe(cut: bool, impairment: dict[str, Any]) -> str:
    if cut:
        return "cut"
    parts = []
    for name in ("loss", "reorder", "duplicate", "corrupt"):
        if name in impairment:
            parts.append(f"{name} {impairment[name] * 100:g} %")
    if "delay" in impairment or "jitter" in impairment:
        text = f"delay {impairment.get('delay', 0.0) * 1000:g} ms"
        if "jitter" in impairment:
            text += f" ± {impairment['jitter'] * 1000:g} ms"
        parts.append(text)
    if "rate" in impairment:
        rate = float(impairment["rate"])
        for factor, unit in ((1e9, "Gbit/s"), (1e6, "Mbit/s"), (1e3, "kbit/s"), (1.0, "bit/s")):
            if rate >= factor or factor == 1.0:
                parts.append(f"{rate / factor:g} {unit}")
                break
    return ", ".join(parts)


def seeds(seed: Optional[int]) -> random.Random:
    """Where the links' own seeds come from."""
    return random.Random(seed)

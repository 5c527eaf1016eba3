"""Pictures of a test network: where the nodes go, and the SVG."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from typing import NamedTuple
from xml.sax.saxutils import escape

Point = tuple[float, float]

_STEP = 150.0
_RADIUS = 26.0
_MARGIN = 60.0
# Letters in a row of a label.
_ROW = 16
_COLOURS = {"up": "#4a5568", "cut": "#d62728", "impaired": "#ff7f0e"}


class Line(NamedTuple):
    """A link to draw: indices of its nodes, its state and what is to be written at it."""

    a: int
    b: int
    state: str
    label: str


def place(shape: str, number: int, links: Sequence[tuple[int, int]]) -> list[Point]:
    """Where the nodes go; *shape* is 'line', 'ring', 'star', or '' for any other graph."""
    if shape == "line" or number == 1:
        # Further apart: the labels have no other room.
        return [(1.5 * _STEP * index, 0.0) for index in range(number)]
    if shape == "star":
        return [(0.0, 0.0), *_circle(number - 1)]
    circle = _circle(number)
    if shape == "ring":
        return circle
    # Springs end where they began to pull: of several beginnings the clearest picture.
    tries = max(1, min(12, 2000 // (number * number)))
    pictures = []
    for seed in range(tries):
        start = list(circle)
        if seed:
            random.Random(seed).shuffle(start)
        pictures.append(_relax(start, links))
    return min(pictures, key=lambda points: _confusion(points, links))


def _confusion(points: Sequence[Point], links: Sequence[tuple[int, int]]) -> int:
    """How hard a picture is to read: links that cross, and, worse, links that touch a node."""
    found = 0
    for index, (a, b) in enumerate(links):
        for c, d in links[:index]:
            if len({a, b, c, d}) == 4:
                p, q, r, s = points[a], points[b], points[c], points[d]
                apart = _side(p, q, r) * _side(p, q, s) > 0 or _side(r, s, p) * _side(r, s, q) > 0
                found += not apart
        for node, point in enumerate(points):
            if node not in (a, b) and _distance(points[a], points[b], point) < 1.3 * _RADIUS:
                found += 10
    return found


def _side(a: Point, b: Point, c: Point) -> float:
    """On which side of the line from *a* to *b* the point *c* is."""
    return (b[0] - a[0]) * (c[1] - a[1]) - (b[1] - a[1]) * (c[0] - a[0])


def _distance(a: Point, b: Point, c: Point) -> float:
    """How far *c* is from the piece of line between *a* and *b*."""
    x, y = b[0] - a[0], b[1] - a[1]
    along = ((c[0] - a[0]) * x + (c[1] - a[1]) * y) / max(1e-9, x * x + y * y)
    along = min(1.0, max(0.0, along))
    return math.hypot(a[0] + along * x - c[0], a[1] + along * y - c[1])


def _circle(number: int) -> list[Point]:
    radius = max(_STEP, _STEP * number / (2 * math.pi))
    angles = [2 * math.pi * index / max(1, number) - math.pi / 2 for index in range(number)]
    return [(radius * math.cos(angle), radius * math.sin(angle)) for angle in angles]


def _relax(start: list[Point], links: Sequence[tuple[int, int]]) -> list[Point]:
    """Links as springs between nodes that repel each other (Fruchterman and Reingold)."""
    points = [list(point) for point in start]
    number = len(points)
    rounds = min(200, 2_000_000 // max(1, number * number))
    for turn in range(rounds):
        forces = [[0.0, 0.0] for _ in points]
        pairs = [(i, j, False) for i in range(number) for j in range(i)]
        for i, j, linked in [*pairs, *((a, b, True) for a, b in links)]:
            x, y = points[i][0] - points[j][0], points[i][1] - points[j][1]
            distance = max(1.0, math.hypot(x, y))
            strength = -distance / _STEP if linked else (_STEP / distance) ** 2
            for axis, part in enumerate((x, y)):
                forces[i][axis] += strength * part
                forces[j][axis] -= strength * part
        most = _STEP / 2 * (1 - turn / rounds)
        for point, force in zip(points, forces):
            length = max(1e-9, math.hypot(*force))
            for axis in (0, 1):
                point[axis] += force[axis] / length * min(length, most)
    return [(x, y) for x, y in points]


def svg(names: Sequence[str], points: Sequence[Point], lines: Sequence[Line]) -> str:
    """The picture."""
    left = min(x for x, _ in points) - _MARGIN - 40
    top = min(y for _, y in points) - _MARGIN
    width = max(x for x, _ in points) + _MARGIN + 40 - left
    height = max(y for _, y in points) + _MARGIN - top
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width:.0f}" height="{height:.0f}" '
        f'viewBox="{left:.1f} {top:.1f} {width:.1f} {height:.1f}" '
        'font-family="sans-serif" font-size="12" text-anchor="middle">'
    ]
    for line in lines:
        (x1, y1), (x2, y2) = points[line.a], points[line.b]
        colour = _COLOURS[line.state]
        dashes = ' stroke-dasharray="7 5"' if line.state == "cut" else ""
        parts.append(
            f'<line class="link {line.state}" x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" '
            f'y2="{y2:.1f}" stroke="{colour}" stroke-width="2.5"{dashes}/>'
        )
    for line in lines:
        if line.label:
            parts.append(_label(line, points[line.a], points[line.b]))
    for name, (x, y) in zip(names, points):
        parts.append(
            f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{_RADIUS}" fill="#ebf4ff" stroke="#2b6cb0" '
            f'stroke-width="2"/><text x="{x:.1f}" y="{y + 4:.1f}">{escape(name)}</text>'
        )
    parts.append("</svg>\n")
    return "\n".join(parts)


def _label(line: Line, a: Point, b: Point) -> str:
    """The text in the middle of a link, on a light ground, in rows that fit beside it."""
    rows: list[str] = []
    for text in line.label.split("\n"):
        fresh = True
        for part in text.split(", "):
            if fresh or len(rows[-1]) + len(part) > _ROW:
                rows.append(part)
            else:
                rows[-1] += f", {part}"
            fresh = False
    width = 5.6 * max(map(len, rows)) + 6
    x, y = (a[0] + b[0]) / 2, (a[1] + b[1]) / 2 - 6 * len(rows)
    spans = "".join(
        f'<tspan x="{x:.1f}" y="{y + 12 * index + 9:.1f}">{escape(row)}</tspan>'
        for index, row in enumerate(rows)
    )
    return (
        f'<rect x="{x - width / 2:.1f}" y="{y - 1:.1f}" width="{width:.1f}" '
        f'height="{12 * len(rows) + 2}" rx="3" fill="white" fill-opacity="0.85"/>'
        f'<text font-size="10" fill="{_COLOURS[line.state]}">{spans}</text>'
    )

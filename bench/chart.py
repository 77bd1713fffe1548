"""A chart as SVG, by hand: wall and memory against records, both axes logarithmic, a line for each contender."""

from __future__ import annotations

from collections.abc import Callable
from html import escape
from math import ceil, floor, log10
from typing import Any

WIDTH, HEIGHT, LEFT, TOP, ROOM = 460, 300, 64, 44, 30
COLOURS = ("#7f7f7f", "#1f77b4", "#d62728", "#2ca02c", "#ff7f0e", "#9467bd", "#8c564b", "#17becf")
PANELS = (("wall", "seconds, file to file"), ("largest", "MB, largest process"), ("together", "MB, all processes"))


def chart(rows: list[dict[str, Any]]) -> str:
    """Draw rows with `contender`, `records`, `wall`, `largest` and `together`; returns the SVG."""
    names = list(dict.fromkeys(row["contender"] for row in rows))
    width, height = len(PANELS) * (WIDTH + ROOM), TOP + HEIGHT + 60 + 20 * ((len(names) + 2) // 3)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" font-family="sans-serif" font-size="13">',
        f'<rect width="{width}" height="{height}" fill="white"/>',
    ]
    for number, (key, title) in enumerate(PANELS):
        parts.append(f'<g transform="translate({number * (WIDTH + ROOM)} 0)">{_panel(rows, names, key, title)}</g>')
    for number, name in enumerate(names):
        x, y = LEFT + number % 3 * 300, TOP + HEIGHT + 62 + number // 3 * 20
        parts.append(f'<rect x="{x}" y="{y - 10}" width="12" height="12" fill="{_colour(number)}"/>')
        parts.append(f'<text x="{x + 18}" y="{y}">{escape(name)}</text>')
    return "\n".join([*parts, "</svg>"]) + "\n"


def _panel(rows: list[dict[str, Any]], names: list[str], key: str, title: str) -> str:
    shown = [row for row in rows if row[key] > 0]
    if not shown:
        return f'<text x="{LEFT}" y="{TOP - 14}">{title}: nothing was seen</text>'
    x, x_ticks = _axis([row["records"] for row in shown], LEFT, WIDTH)
    y, y_ticks = _axis([row[key] for row in shown], TOP + HEIGHT, TOP)
    parts = [f'<text x="{LEFT}" y="{TOP - 14}" font-weight="bold">{title}</text>']
    for tick in x_ticks:
        parts.append(f'<path d="M{x(tick):.1f} {TOP}V{TOP + HEIGHT}" stroke="#ddd"/>')
        parts.append(f'<text x="{x(tick):.1f}" y="{TOP + HEIGHT + 18}" text-anchor="middle">{tick:,.0f}</text>')
    for tick in y_ticks:
        parts.append(f'<path d="M{LEFT} {y(tick):.1f}H{WIDTH}" stroke="#ddd"/>')
        parts.append(f'<text x="{LEFT - 6}" y="{y(tick) + 4:.1f}" text-anchor="end">{tick:,g}</text>')
    parts.append(f'<text x="{WIDTH}" y="{TOP + HEIGHT + 36}" text-anchor="end">records</text>')
    for number, name in enumerate(names):
        points = sorted((row["records"], row[key]) for row in shown if row["contender"] == name)
        path = "L".join(f"{x(records):.1f} {y(value):.1f}" for records, value in points)
        parts.append(f'<path d="M{path}" fill="none" stroke="{_colour(number)}" stroke-width="2"/>' if points else "")
        parts += [
            f'<circle cx="{x(records):.1f}" cy="{y(value):.1f}" r="3.5" fill="{_colour(number)}">'
            f"<title>{escape(name)}: {value:,.1f} at {records:,}</title></circle>"
            for records, value in points
        ]
    return "".join(parts)


def _axis(values: list[float], start: float, end: float) -> tuple[Callable[[float], float], list[float]]:
    """Return where a value lies between start and end, and the powers of ten in between."""
    low, high = floor(log10(min(values))), ceil(log10(max(values)))
    high = max(high, low + 1)

    def place(value: float) -> float:
        return start + (log10(value) - low) / (high - low) * (end - start)

    return place, [10.0**power for power in range(low, high + 1)]


def _colour(number: int) -> str:
    return COLOURS[number % len(COLOURS)]

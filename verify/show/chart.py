"""The extrapolation of one verdict as a small inline SVG: measured / predicted against the width, and its limit."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from markupsafe import Markup
from matplotlib.ticker import MaxNLocator

WIDTH, HEIGHT = 360, 210
LEFT, TOP, BOTTOM = 58, 8, 178
LAST, LIMIT = 296, 332  # where the largest width and the limit stand
# No line for a detectable discrepancy this large: it would press everything else flat.
FAR = 0.5

Place = Callable[[float], float]


def chart(verdict: dict[str, Any]) -> Markup:
    """SVG of a verdict's record with its `number` on the page, which also defines the classes of its lines.

    Points carry two standard errors; the curve is the fit, the bar its interval, the shaded band what counts as
    agreement, and the broken lines where a theory wrong by the detectable discrepancy would put the limit.
    """
    points = [p for p in verdict["points"] if math.isfinite(float(p["mean"])) and math.isfinite(float(p["error"]))]
    name = f"{verdict['claim']} at {verdict['setting']['text']}"
    if not points:
        return Markup('<p class="none">{}: nothing finite to draw.</p>').format(name)
    finding, rule = verdict["finding"], verdict["rule"]
    limit, ends = finding["limit"], (float(finding["low"]), float(finding["high"]))
    band = _band(rule)
    lines = _detectable(finding, rule)
    y = _vertical(points, band, lines, ends)
    first, last = math.log2(points[0]["width"]), math.log2(points[-1]["width"])

    def x(width: float) -> float:
        return LEFT + 14 + (LAST - LEFT - 14) * (math.log2(width) - first) / max(1.0, last - first)

    low, high = (BOTTOM if band[0] == -math.inf else y(band[0])), (TOP if band[1] == math.inf else y(band[1]))
    parts = [
        f'<rect class="band" x="{LEFT}" y="{high:.1f}" width="{WIDTH - LEFT}" height="{low - high:.1f}"/>',
        f'<path class="axis" d="M{LEFT} {TOP}V{BOTTOM}H{WIDTH}"/><path class="one" d="M{LEFT} {y(1):.1f}H{WIDTH}"/>',
        *(f'<path class="detect" d="M{LEFT} {y(v):.1f}H{WIDTH}"/>' for v in lines),
        *_labels(points, x, y),
    ]
    if limit is not None and math.isfinite(float(limit["value"])):
        parts += [_curve(limit, rule, points, x, y)]
        if all(map(math.isfinite, ends)):
            parts.append(f'<path class="interval" d="M{LIMIT} {y(ends[0]):.1f}V{y(ends[1]):.1f}"/>')
        parts.append(f'<path class="theta" d="M{LIMIT} {y(limit["value"]):.1f}h0"/>')
    bars, dots = "", ""
    for p in points:
        place, half = f"M{x(p['width']):.1f} ", 2 * p["error"]
        bars += f"{place}{y(p['mean'] - half):.1f}V{y(p['mean'] + half):.1f}"
        dots += f"{place}{y(p['mean']):.1f}h0"
    parts += [f'<path class="bars" d="{bars}"/>', f'<path class="dots" d="{dots}"/>']
    body = Markup("").join(Markup(part) for part in parts)
    return Markup(
        '<svg viewBox="0 0 {} {}" role="img" aria-labelledby="t{n} d{n}"><title id="t{n}">{}</title>'
        '<desc id="d{n}">{}</desc>{}</svg>'
    ).format(WIDTH, HEIGHT, f"Extrapolation of {name}", _description(verdict, points), body, n=verdict["number"])


def _band(rule: dict[str, Any]) -> tuple[float, float]:
    """What counts as agreement; a bound is open on one side."""
    low, high = rule["band"]
    relation = rule["relation"]
    return (-math.inf if relation == "at most" else low), (math.inf if relation == "at least" else high)


def _detectable(finding: dict[str, Any], rule: dict[str, Any]) -> list[float]:
    """A theory too large by d moves the limit to 1/(1 + d), one too small to 1 + d."""
    d = float(finding["detectable"])
    return [1 / (1 + d), 1 + d] if rule["relation"] == "equals" and d < FAR else []


def _vertical(
    points: list[dict[str, Any]], band: tuple[float, float], lines: list[float], ends: tuple[float, float]
) -> Place:
    spans = [p["mean"] + sign * 2 * p["error"] for p in points for sign in (-1, 1)]
    shown = [v for v in (1.0, *spans, *band, *lines, *ends) if math.isfinite(v)]
    low, high = min(shown), max(shown)
    pad = 0.06 * (high - low)

    def y(value: float) -> float:
        return BOTTOM - (BOTTOM - TOP) * (value - low + pad) / (high - low + 2 * pad)

    return y


def _labels(points: list[dict[str, Any]], x: Place, y: Place) -> list[str]:
    """Ticks of the axes: every width, the limit, and a few round ratios."""
    texts = [f'<text x="{x(p["width"]):.0f}" y="{BOTTOM + 14}">{int(p["width"])}</text>' for p in points]
    texts += [
        f'<text x="{LIMIT}" y="{BOTTOM + 14}">∞</text>',
        f'<text x="{(LEFT + LAST) // 2}" y="{HEIGHT - 3}">width M</text>',
        f'<text x="{-(TOP + BOTTOM) // 2}" y="12" transform="rotate(-90)">measured / predicted</text>',
    ]
    # Values at the ends of the axis, from its two fixed pixels: y is linear.
    slope = y(1) - y(0)
    ends = [(pixel - y(0)) / slope for pixel in (BOTTOM, TOP)]
    inside = [float(v) for v in MaxNLocator(4, steps=[1, 2, 5, 10]).tick_values(*ends) if ends[0] <= v <= ends[1]]
    return texts + [f'<text class="y" x="{LEFT - 5}" y="{y(v) + 4:.1f}">{v:g}</text>' for v in inside]


def _curve(limit: dict[str, Any], rule: dict[str, Any], points: list[dict[str, Any]], x: Place, y: Place) -> str:
    """The fitted law over the widths, and a dotted line on to its limit."""
    terms = list(zip(limit["coefficients"], rule["powers"], strict=False))
    smallest, largest = points[0]["width"], points[-1]["width"]
    widths = [smallest * (largest / smallest) ** (i / 16) for i in range(17)]
    places = [(x(w), y(limit["value"] + sum(a * w**-r for a, r in terms))) for w in widths]
    path = "L".join(f"{px:.1f} {py:.1f}" for px, py in places)
    end = "{:.1f} {:.1f}".format(*places[-1])
    return f'<path class="fit" d="M{path}"/><path class="on" d="M{end}L{LIMIT} {y(limit["value"]):.1f}"/>'


def _description(verdict: dict[str, Any], points: list[dict[str, Any]]) -> str:
    means = ", ".join(f"{p['mean']:.3f} at {p['width']}" for p in points)
    limit = verdict["finding"]["limit"]
    found = "no limit" if limit is None else f"limit {limit['value']:.4f}, standard error {limit['error']:.4f}"
    return f"Measured over predicted: {means}; {found}; {verdict['finding']['outcome']}."

"""Plots as SVG for the benches, in plain Python: bars and lines on linear or logarithmic axes, legible on light and dark pages."""

import math
from html import escape

# A page's own colors cannot be known from within an image, so that each plot has its own background.
COLORS = {
    "light": {"back": "#ffffff", "ink": "#1f2328", "soft": "#59636e", "grid": "#e3e6ea",
              "series": ("#1f5f99", "#c2700a", "#2c8a4b", "#8a4fb5", "#6e7781", "#b8bfc6", "#b3404a")},
    "dark": {"back": "#0d1117", "ink": "#e6edf3", "soft": "#9aa4af", "grid": "#2a3038",
             "series": ("#6cb2f5", "#f0a94b", "#5cc98a", "#c79bf0", "#939da8", "#59636e", "#f08a8f")},
}
FONTS = """text { font: 12px system-ui, "Segoe UI", Roboto, "DejaVu Sans", sans-serif }
.title { font-size: 16px; font-weight: 600 } .head { font-size: 13px; font-weight: 600 } .soft { font-size: 11px } .strong { font-weight: 600 }
.end { text-anchor: end } .middle { text-anchor: middle }
path { fill: none } .line { stroke-width: 2; stroke-linejoin: round }
"""


def rules(colors):
    """The style of a scheme. Plain rules, because not every renderer knows variables."""
    series = "".join(f"rect.f{i}, circle.f{i}, text.f{i} {{ fill: {c} }} .s{i} {{ stroke: {c} }}\n" for i, c in enumerate(colors["series"]))
    return (
        f"text {{ fill: {colors['ink']} }} text.soft {{ fill: {colors['soft']} }} .back {{ fill: {colors['back']} }}\n"
        f".grid {{ stroke: {colors['grid']} }} .axis {{ stroke: {colors['soft']} }}\n" + series
    )


def short(number):
    """1234567 → 1.2 M: three figures at most."""
    for bound, unit in ((1e9, " G"), (1e6, " M"), (1e4, " k")):
        if abs(number) >= bound:
            return f"{number / (bound if bound != 1e4 else 1e3):.3g}{unit}"
    return f"{number:,.0f}" if abs(number) >= 100 else f"{number:.3g}"


class Axis:
    """Values to pixels. `low` and `high` are values, `begin` and `end` pixels."""

    def __init__(self, low, high, begin, end, log=False):
        self.log = log
        self.low, self.high = (math.log10(low), math.log10(high)) if log else (low, high)
        self.begin, self.end = begin, end

    def __call__(self, value):
        value = math.log10(max(value, 1e-12)) if self.log else value
        share = (value - self.low) / (self.high - self.low)
        return self.begin + (self.end - self.begin) * min(max(share, 0), 1)

    def ticks(self):
        if self.log:
            powers = range(math.ceil(self.low - 1e-9), math.floor(self.high + 1e-9) + 1)
            step = math.ceil(len(powers) / 6)
            return [10.0**power for power in powers if (power - powers[0]) % step == 0]
        step = 10 ** math.floor(math.log10((self.high - self.low) / 4))
        step *= next(by for by in (1, 2, 5, 10) if (self.high - self.low) / (step * by) <= 6)
        return [step * i for i in range(math.ceil(self.low / step), math.floor(self.high / step + 1e-9) + 1)]


def around(values, log=False):
    """The bounds of an axis that shows these values: from 0, or from power to power of ten."""
    values = list(values)
    if not log:
        return 0, max(values) * 1.05
    low = math.floor(math.log10(min(values)) + 1e-9)
    return 10.0**low, 10.0 ** max(math.ceil(math.log10(max(values)) - 1e-9), low + 1)


class Plot:
    def __init__(self, title, subtitle, width, height):
        self.width, self.height = width, height
        self.out = []
        self.text(16, 26, title, "title")
        self.text(16, 44, subtitle, "soft")

    def text(self, x, y, words, kind=""):
        self.out.append(f'<text x="{x:.1f}" y="{y:.1f}" class="{kind}">{escape(str(words))}</text>')

    def path(self, points, kind):
        self.out.append(f'<path class="{kind}" d="M' + "L".join(f"{x:.1f} {y:.1f}" for x, y in points) + '"/>')

    def svg(self):
        head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {self.width} {self.height}" width="{self.width}" height="{self.height}">'
        style = f"{FONTS}{rules(COLORS['light'])}@media (prefers-color-scheme: dark) {{\n{rules(COLORS['dark'])}}}"
        return "\n".join([head, f"<style>\n{style}\n</style>", '<rect class="back" width="100%" height="100%"/>', *self.out, "</svg>\n"])

    def bars(self, left, top, right, head, bars, unit, log=False, bounds=None):
        """Horizontal bars: (name, value, label, color). Names are to the left of `left`. Returns the lowest y."""
        step = 20
        bottom = top + 18 + len(bars) * step
        axis = Axis(*(bounds or around((bar[1] for bar in bars), log)), left, right, log)
        self.text(left, top, head, "head")
        for tick in axis.ticks():
            self.path([(axis(tick), top + 10), (axis(tick), bottom)], "grid")
            self.text(axis(tick), bottom + 14, short(tick), "soft middle")
        self.text(right, bottom + 28, unit, "soft end")
        for at, (name, value, label, color) in enumerate(bars):
            y = top + 14 + at * step
            if name:
                self.text(left - 8, y + 12, name, "end strong" if color == 0 else "end")
            end = axis(value)
            self.out.append(f'<rect class="f{color}" x="{left}" y="{y}" width="{max(end - left, 1):.1f}" height="{step - 5}" rx="2"/>')
            self.text(end + 6, y + 12, label, "strong" if color == 0 else "")
        self.path([(left, top + 10), (left, bottom)], "axis")
        return bottom + 28

    def lines(self, box, head, x_names, series, unit, x_unit, log=False, bounds=None):
        """Lines over named, evenly spaced x: {name: (color, [value or None])}, labelled at their ends, to the right of the box."""
        left, top, right, bottom = box
        known = [value for _, values in series.values() for value in values if value is not None]
        y_axis = Axis(*(bounds or around(known, log)), bottom, top, log)
        spot = [left + 14 + (right - left - 28) * i / max(len(x_names) - 1, 1) for i in range(len(x_names))]
        self.text(left, top - 26, head, "head")
        self.text(left, top - 10, unit, "soft")
        for tick in y_axis.ticks():
            self.path([(left, y_axis(tick)), (right, y_axis(tick))], "grid")
            self.text(left - 6, y_axis(tick) + 4, short(tick), "soft end")
        for x, name in zip(spot, x_names):
            self.path([(x, bottom), (x, bottom + 4)], "axis")
            self.text(x, bottom + 17, name, "soft middle")
        self.text(right, bottom + 33, x_unit, "soft end")
        self.path([(left, bottom), (right, bottom)], "axis")
        ends = []
        for name, (color, values) in series.items():
            points = [(x, y_axis(value)) for x, value in zip(spot, values) if value is not None]
            self.path(points, f"line s{color}")
            self.out.extend(f'<circle class="f{color}" cx="{x:.1f}" cy="{y:.1f}" r="3"/>' for x, y in points)
            ends.append([points[-1][1], name, color])
        # Labels keep a distance from each other.
        ends.sort()
        for above, below in zip(ends, ends[1:]):
            below[0] = max(below[0], above[0] + 14)
        over = max(ends[-1][0] - bottom, 0)
        for y, name, color in ends:
            self.text(right + 2, y - over + 4, name, f"f{color} strong")

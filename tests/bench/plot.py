"""Grouped bars as SVG, by the standard library alone: a group a cell, a bar a strategy."""
import math
from xml.sax.saxutils import escape

BAR, GAP, GROUP_GAP = 26, 3, 26
LEFT, RIGHT, TOP, HEIGHT = 64, 24, 86, 320
COLORS = {"sequential": "#8a94a0", "level": "#c58a1c", "pipeline": "#2f81c7", "stream": "#cf4a5b"}

# A page in the dark shows it in the dark: what is drawn takes its ink from here.
STYLE = """
text { font: 12px system-ui, "DejaVu Sans", sans-serif; fill: #1f2328 }
.title { font-size: 16px; font-weight: 600 }
.small { font-size: 10px }
.soft { fill: #59636e }
.back { fill: #ffffff }
.grid { stroke: #d1d9e0; stroke-width: 1 }
.ink { stroke: #1f2328; stroke-width: 1.2; fill: none }
.floor { stroke: #1f2328; stroke-width: 1.4; stroke-dasharray: 4 3; fill: none }
@media (prefers-color-scheme: dark) {
text { fill: #e6edf3 }
.soft { fill: #9198a1 }
.back { fill: #0d1117 }
.grid { stroke: #30363d }
.ink, .floor { stroke: #e6edf3 }
}
"""


def element(name, text=None, **attributes):
    inside = "".join(' %s="%s"' % (k.rstrip("_").replace("_", "-"), escape(str(v), {'"': "&quot;"})) for k, v in attributes.items())
    return "<%s%s/>" % (name, inside) if text is None else "<%s%s>%s</%s>" % (name, inside, escape(text), name)


def label(x, y, text, anchor="middle", class_=""):
    return element("text", text, x="%.1f" % x, y="%.1f" % y, text_anchor=anchor, class_=class_)


def line(x1, y1, x2, y2, class_):
    return element("path", d="M%.1f %.1fL%.1f %.1f" % (x1, y1, x2, y2), class_=class_)


def nice_step(top):
    """Of a scale with four to eight lines."""
    raw = top / 6
    base = 10 ** math.floor(math.log10(raw))
    return next(base * m for m in (1, 2, 5, 10) if base * m >= raw)


def short(x):
    return "%.0f" % x if x >= 100 else "%.1f" % x if x >= 10 else "%.2f" % x


class Scale:
    def __init__(self, top):
        self.step = nice_step(top)
        self.top = self.step * math.ceil(top * 1.06 / self.step)

    def y(self, value):
        return TOP + HEIGHT * (1 - value / self.top)


def axis(scale, width):
    n = round(scale.top / scale.step)
    for i in range(n + 1):
        value = i * scale.step
        yield line(LEFT, scale.y(value), width - RIGHT, scale.y(value), "grid" if i else "ink")
        yield label(LEFT - 8, scale.y(value) + 4, "%g" % value, "end")
    middle = TOP + HEIGHT / 2
    yield element("text", "total migration time, seconds", transform="translate(18 %d) rotate(-90)" % middle, text_anchor="middle")


def bar(scale, x, value, strategy):
    y = scale.y(value["median"])
    yield element("rect", x="%.1f" % x, y="%.1f" % y, width=BAR, height="%.1f" % (TOP + HEIGHT - y), rx=2,
                  fill=COLORS.get(strategy, "#7a5ac2"))
    middle = x + BAR / 2
    q1, q3 = scale.y(value["q1"]), scale.y(value["q3"])
    if q1 - q3 >= 1:
        yield element("path", class_="ink", d="M%.1f %.1fV%.1fM%.1f %.1fh8M%.1f %.1fh8" % (
            middle, q1, q3, middle - 4, q1, middle - 4, q3))
    yield label(middle, min(y, q3) - 5, short(value["median"]), class_="small")


def caption(cell):
    """Of a cell that differs from the reference in one thing, that thing; of any other, all of them."""
    words = {"none": "no edges", "equal": "8 x 256 MiB", "mixed": "16 MiB to 2 GiB", "shared": "half shared", "10gbit": "10 Gbit/s",
             "1gbit": "1 Gbit/s", "unshaped": "no limit", "fan": "fan-out"}
    full = [words.get(v, v) for v in cell.factors.values()]
    return full if "/" in cell.name else [words.get(cell.name, cell.name)]


def group(scale, x, cell, strategies):
    wide = len(strategies) * (BAR + GAP) - GAP
    for i, s in enumerate(strategies):
        if s in cell.by_strategy:
            yield from bar(scale, x + i * (BAR + GAP), cell.by_strategy[s]["total_s"], s)
    floor = next(iter(cell.by_strategy.values()))["link_floor_s"]["median"]
    yield line(x - 5, scale.y(floor), x + wide + 5, scale.y(floor), "floor")
    for i, text in enumerate(caption(cell)):
        yield label(x + wide / 2, TOP + HEIGHT + 18 + 13 * i, text)


def legend(strategies):
    x = LEFT
    for s in strategies:
        yield element("rect", x=x, y=54, width=12, height=12, rx=2, fill=COLORS.get(s, "#7a5ac2"))
        yield label(x + 18, 64, s, "start")
        x += 32 + 7 * len(s)
    yield line(x, 60, x + 24, 60, "floor")
    yield label(x + 30, 64, "floor: memory over the link's measured rate", "start")


def svg(cells, raw):
    strategies = list(dict.fromkeys(s for c in cells for s in c.by_strategy))
    wide = len(strategies) * (BAR + GAP) - GAP + GROUP_GAP
    width = max(LEFT + len(cells) * wide + GROUP_GAP + RIGHT, 720)
    height = TOP + HEIGHT + 36 + 13 * max((len(caption(c)) for c in cells), default=0)
    values = [s["total_s"]["q3"] for c in cells for s in c.by_strategy.values()]
    scale = Scale(max(values, default=1))
    parts = [element("rect", width=width, height=height, class_="back"),
             label(LEFT, 26, "Moving eight services of a preempted job to another node", "start", "title"),
             label(LEFT, 43, "medians; whiskers: quartiles; reference: 10 Gbit/s, no edges, 8 x 256 MiB, random; the others differ in what they "
                   "name", "start", "small soft")]
    parts += axis(scale, width)
    for i, cell in enumerate(cells):
        parts += group(scale, LEFT + GROUP_GAP + i * wide, cell, strategies)
    parts += legend(strategies)
    parts.append(label(LEFT, height - 8, "%s; commit %s" % (raw["machine"], raw["commit"]), "start", "small soft"))
    return '<svg xmlns="http://www.w3.org/2000/svg" width="%d" height="%d" viewBox="0 0 %d %d">\n<style>%s</style>\n%s\n</svg>\n' % (
        width, height, width, height, STYLE, "\n".join(parts))

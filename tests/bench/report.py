#!/usr/bin/env python3
"""The bench of migrations, from raw samples to what one reads.

usage: report.py RAW.json OUT      writes OUT.json (all samples), OUT.md (one table), OUT.svg (one plot)

RAW.json is what migrate.sh collects. Exit status 1: some run failed, and what is there is about the others.
"""
import collections
import json
import math
import statistics
import sys

sys.dont_write_bytecode = True  # nothing is left in the tree
import plot

US = 1e6
STRATEGIES = ["sequential", "level", "pipeline", "stream"]
FACTORS = ["link", "graph", "sizes", "contents"]
REFERENCE = {"link": "10gbit", "graph": "none", "sizes": "equal", "contents": "random"}


# ---- one run ---------------------------------------------------------------------------------------------------------

def durations(migration, phase):
    """Seconds of the last attempt of each service."""
    last = {}
    for p in sorted(migration["phases"], key=lambda p: p["attempt"]):
        if p["phase"] == phase and p["service"] != "*" and p["end_us"]:
            last[p["service"]] = (p["end_us"] - p["start_us"]) / US
    return last


def longest_chain(run):
    """A service is restored after its own dump and after those it needs: no order and no link makes a move shorter than this."""
    dump, restore = durations(run["migration"], "dump"), durations(run["migration"], "restore")
    users = collections.defaultdict(list)
    for s in run["services"]:
        for needed in s["needs"]:
            users[needed].append(s["name"])

    def restores(name):
        return restore.get(name, 0) + max((restores(u) for u in users[name]), default=0)

    return max(dump.get(s["name"], 0) + restores(s["name"]) for s in run["services"])


def predicted(migration):
    """A state that knows no predictions has no such column."""
    for key, value in migration.items():
        if key.startswith("predicted") and isinstance(value, (int, float)) and value > 0:
            return value / US if key.endswith("_us") else float(value)
    return None


def first_freeze(migration):
    starts = [p["start_us"] for p in migration["phases"] if p["phase"] == "freeze" and p["start_us"]]
    return min(starts, default=migration["signal_us"])


def measures(run, links, cores):
    m = run["migration"]
    source, target = m["from_node"], m["to_node"]
    memory = sum(s["mib"] for s in run["services"]) << 20
    gaps = [g / US for g in run["gaps_us"].values()]

    def used(node, counter):
        return run["after"][node][counter] - run["before"][node][counter]

    return {
        "memory_bytes": memory,
        "total_s": (m["done_us"] - m["signal_us"]) / US,
        "save_s": (m["saved_us"] - first_freeze(m)) / US,
        "slurm_s": (first_freeze(m) - m["signal_us"] + m["landed_us"] - m["saved_us"]) / US,
        "land_s": (m["done_us"] - m["landed_us"]) / US,
        "downtime_s": statistics.median(gaps),
        "downtime_worst_s": max(gaps),
        "wire_bytes": used(source, "tx_bytes"),
        "cpu_s": (used(source, "cpu_us") + used(target, "cpu_us")) / US,
        "source_peak_bytes": run["after"][source]["hwm_bytes"],
        "target_peak_bytes": run["after"][target]["hwm_bytes"],
        "link_floor_s": memory * 8 / links[run["link"]],
        "chain_floor_s": longest_chain(run),
        "cpu_floor_s": (used(source, "cpu_us") + used(target, "cpu_us")) / US / cores,
        "predicted_s": predicted(m),
    }


# ---- all of a cell ---------------------------------------------------------------------------------------------------

def quantile(values, at):
    values = sorted(values)
    i = (len(values) - 1) * at
    low = math.floor(i)
    high = math.ceil(i)
    return values[low] + (i - low) * (values[high] - values[low])


def summarize(runs):
    """{measure: {median, q1, q3}}; None where no run has it."""
    out = {}
    for key in runs[0]["measures"]:
        values = [r["measures"][key] for r in runs if r["measures"][key] is not None]
        out[key] = {"median": quantile(values, 0.5), "q1": quantile(values, 0.25), "q3": quantile(values, 0.75)} if values else None
    return out


class Cell:
    """What one cell has come to, by strategy."""

    def __init__(self, runs):
        self.name = runs[0]["cell"]
        self.factors = {f: runs[0][f] for f in FACTORS}
        self.n = collections.Counter(r["strategy"] for r in runs)
        known = [s for s in STRATEGIES if s in self.n] + [s for s in self.n if s not in STRATEGIES]
        self.by_strategy = {s: summarize([r for r in runs if r["strategy"] == s]) for s in known}

    def median(self, strategy, key):
        summary = self.by_strategy.get(strategy)
        return summary[key]["median"] if summary and summary[key] else None

    def ratio(self, strategy, to):
        mine, other = self.median(strategy, "total_s"), self.median(to, "total_s")
        return mine / other if mine and other else None


def cells_of(runs):
    groups = {}
    for r in runs:
        groups.setdefault(r["cell"], []).append(r)
    return [Cell(g) for g in groups.values()]


# ---- goals -----------------------------------------------------------------------------------------------------------

def find(cells, **changed):
    want = {**REFERENCE, **changed}
    return next((c for c in cells if c.factors == want), None)


def over(a, b):
    return a / b if a and b else None


def wire_share(cell):
    return cell and over(cell.median("stream", "wire_bytes"), cell.median("stream", "memory_bytes"))


def prediction_error(runs):
    """Of our own strategy, where the last move the same way went over the same link: rates are learned, and links change here."""
    link_of, errors = {}, []
    for r in runs:
        way = (r["migration"].get("from_node"), r["migration"].get("to_node"))
        m = r["measures"]
        if r["strategy"] != "stream":
            continue
        if link_of.get(way) == r["link"] and m["predicted_s"]:
            errors.append(abs(m["predicted_s"] - m["total_s"]) / m["total_s"])
        link_of[way] = r["link"]
    return statistics.median(errors) if errors else None


def goals_of(cells, runs):
    """(cell or None, goal, what was measured or None, the most that is well)."""
    ref, diamond = find(cells), find(cells, graph="diamond")
    slow, shared = find(cells, link="1gbit"), find(cells, contents="shared")
    out = []
    if ref:
        out.append((ref, "of `sequential`", ref.ratio("stream", "sequential"), 0.25))
        out.append((ref, "of `pipeline`", ref.ratio("stream", "pipeline"), 0.45))
    if diamond and ref:
        out.append((diamond, "of the reference", over(diamond.median("stream", "total_s"), ref.median("stream", "total_s")), 1.3))
    if slow:
        out.append((slow, "of bytes over link rate", over(slow.median("stream", "total_s"), slow.median("stream", "link_floor_s")), 1.15))
    if shared and ref:
        out.append((shared, "of the reference's bytes on the wire", over(wire_share(shared), wire_share(ref)), 0.6))
    out.append((None, "of the total is the prediction's median error", prediction_error(runs), 0.25))
    return out


def goal_text(goal):
    _, what, got, most = goal
    if got is None:
        return "at most %g %s: not measured" % (most, what)
    return "at most %g %s: %.2f, %s" % (most, what, got, "met" if got <= most else "NOT met")


# ---- the table -------------------------------------------------------------------------------------------------------

def digits(x):
    return "-" if x is None else "%.0f" % x if x >= 100 else "%.1f" % x if x >= 10 else "%.2f" % x


def with_spread(v):
    return digits(v["median"]) + (" (%s to %s)" % (digits(v["q1"]), digits(v["q3"])) if v["q1"] != v["q3"] else "")


HEAD = ["cell", "strategy", "n", "total s (quartiles)", "of sequential", "of pipeline", "of which saving, Slurm, restoring",
        "downtime s: median, worst", "on the wire MB (of memory)", "CPU s", "daemons' peak MB: source, target",
        "floor: link s", "floor: dump + restore s", "floor: CPU s over cores", "goal"]


def row(cell, strategy, goals):
    s = cell.by_strategy[strategy]
    mid = {k: v["median"] if v else None for k, v in s.items()}
    mine = [goal_text(g) for g in goals if g[0] is cell and strategy == "stream"]
    return [
        cell.name, "`%s`" % strategy, str(cell.n[strategy]), with_spread(s["total_s"]),
        digits(cell.ratio(strategy, "sequential")), digits(cell.ratio(strategy, "pipeline")), "%s, %s, %s" % tuple(digits(mid[k]) for k in ("save_s", "slurm_s", "land_s")),
        "%s, %s" % (digits(mid["downtime_s"]), digits(mid["downtime_worst_s"])),
        "%s (%.2f)" % (digits(mid["wire_bytes"] / 1e6), mid["wire_bytes"] / mid["memory_bytes"]),
        with_spread(s["cpu_s"]),
        "%s, %s" % (digits(mid["source_peak_bytes"] / 1e6), digits(mid["target_peak_bytes"] / 1e6)),
        digits(mid["link_floor_s"]), digits(mid["chain_floor_s"]), digits(mid["cpu_floor_s"]), "; ".join(mine),
    ]


def table(cells, goals):
    yield "| " + " | ".join(HEAD) + " |"
    yield "|---|---|--:|" + "--:|" * (len(HEAD) - 4) + "---|"
    for cell in cells:
        for strategy in cell.by_strategy:
            yield "| " + " | ".join(row(cell, strategy, goals)) + " |"


def page(raw, cells, goals, failed):
    links = ", ".join("%s %.2f Gbit/s" % (k, v / 1e9) for k, v in raw["links"].items())
    yield "Eight services of a job that Slurm preempts move to another node. %s; commit %s." % (raw["machine"], raw["commit"])
    yield "The reference cell: 10gbit, no edges, 8 x 256 MiB, random contents. Links as measured: %s." % links
    if raw["runs"]:
        yield "Runs: %d, in %.1f minutes; one takes %.1f s in the median, start to end." % (
            len(raw["runs"]), raw["took_s"] / 60, statistics.median(r["took_s"] for r in raw["runs"]))
    yield ""
    yield from table(cells, goals)
    yield ""
    for goal in goals:
        if goal[0] is None:
            yield "Goal over all: %s." % goal_text(goal)
    for r in failed:
        yield "FAILED: round %d, %s, `%s`: %s" % (r["round"], r["cell"], r["strategy"], r["failed"])


# ----------------------------------------------------------------------------------------------------------------------

def cell_json(cell):
    return {"cell": cell.name, **cell.factors, "strategies": {s: {"n": cell.n[s], **v} for s, v in cell.by_strategy.items()}}


def goal_json(goal):
    cell, what, got, most = goal
    return {"cell": cell.name if cell else None, "what": what, "measured": got, "at_most": most, "met": got is not None and got <= most}


def main(path, out):
    with open(path) as f:
        raw = json.load(f)
    failed = [r for r in raw["runs"] if "failed" in r]
    runs = [r for r in raw["runs"] if "failed" not in r]
    for r in runs:
        r["measures"] = measures(r, raw["links"], raw["cores"])
    cells = cells_of(runs)
    goals = goals_of(cells, runs)
    with open(out + ".json", "w") as f:
        json.dump({**raw, "cells": [cell_json(c) for c in cells], "goals": [goal_json(g) for g in goals]}, f, indent=1)
    with open(out + ".md", "w") as f:
        f.write("\n".join(page(raw, cells, goals, failed)) + "\n")
    with open(out + ".svg", "w") as f:
        f.write(plot.svg(cells, raw))
    return 1 if failed or not runs else 0


sys.exit(main(*sys.argv[1:]))

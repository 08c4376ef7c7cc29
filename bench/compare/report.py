#!/usr/bin/env python3
"""Turns the measurements of `compare` into tables of ratios.

    report.py RESULTS.jsonl... [--markdown FILE] [--plots DIR]
    report.py --growth RESULTS.jsonl...

Prints text; --markdown writes the same tables for a README; --plots draws them (plot.py).

A ratio is taken within each round, where both sides were measured minutes apart at most, and then the median over the rounds,
with the lowest and the highest in brackets. It says how many times better kvstore is: faster, smaller, shorter; below 1 it
is worse. Rows with different durability are never mixed: a row names what an acknowledged write survives, and where a
memory-only store stands beside kvstore, kvstore's writes survive kill -9 and theirs do not, which the row says.
"""
import argparse
import collections
import datetime
import json
import os
import pathlib
import platform
import re
import statistics
import sys

OURS = "kvstore"
MORE_IS_BETTER = {"op/s"}
# Rows in which nothing is written: what a write survives does not matter, so all stores stand together.
READING = ("get,", "multi-get", "memory", "mapped")


class Results:
    """Values by (row, survives, peer) and round."""

    def __init__(self, paths):
        self.values = collections.defaultdict(dict)
        self.units = {}
        self.raw = set()
        self.order = {}
        run = 0
        for path in paths:
            run += 1
            for line in pathlib.Path(path).read_text().splitlines():
                one = json.loads(line)
                if one["entries"] >= 10_000_000:
                    one["row"] += f", {one['entries'] // 1_000_000}M entries"
                key = (one["row"], one["survives"], one["peer"])
                self.values[key][(run, one["round"])] = one["value"]
                self.units[one["row"]] = one["unit"]
                if one["raw"]:
                    self.raw.add(one["peer"])
                self.order.setdefault(one["row"], len(self.order))
        self.rows = sorted(self.order, key=self.order.get)

    def better(self, row):
        """How to say 'a is so many times better than b'."""
        if self.units[row] in MORE_IS_BETTER:
            return lambda a, b: a / b
        return lambda a, b: b / a

    def peers(self, row, survives=None):
        found = [k for k in self.values if k[0] == row and (survives is None or k[1] == survives)]
        return [(k[1], k[2]) for k in found]

    def summary(self, row, survives, peer):
        values = list(self.values[(row, survives, peer)].values())
        return statistics.median(values), min(values), max(values)

    def ratio(self, row, ours, theirs, other_row=None):
        """Median, low, high of the ratio by rounds; None without a common round."""
        a = self.values.get((row, *ours), {})
        b = self.values.get((other_row or row, *theirs), {})
        common = sorted(set(a) & set(b))
        # A negative overhead (a store whose data lies in a mapped file) has no ratio.
        pairs = [(a[r], b[r]) for r in common if a[r] > 0 and b[r] > 0]
        if not pairs:
            return None
        better = self.better(row)
        ratios = [better(x, y) for x, y in pairs]
        return statistics.median(ratios), min(ratios), max(ratios)


def number(value, unit):
    if unit == "op/s":
        if value >= 1e6:
            return f"{value / 1e6:.2f} M/s"
        return f"{value / 1e3:.1f} k/s" if value >= 1e3 else f"{value:.0f} /s"
    if unit == "x":
        return f"{value:.2f}"
    if unit == "ns" and value >= 10_000:
        return f"{value / 1e3:.1f} us"
    digits = 0 if value >= 100 else 1 if value >= 10 else 2
    return f"{value:.{digits}f} {unit}"


def spread(triple, show):
    middle, low, high = triple
    return f"{show(middle)} ({show(low)}-{show(high)})"


def ratio_text(triple):
    return "" if triple is None else spread(triple, lambda v: f"{v:.2f}")


def groups(results):
    """(title, row, our key, [peer keys]): one table row each, in the order they were measured."""
    for row in results.rows:
        ours_by_level = {s: (s, p) for s, p in results.peers(row) if p == OURS}
        reading = row.startswith(READING)
        if reading:
            ours = ours_by_level.get("kill -9")
            yield row, row, ours, results.peers(row)
            continue
        for level in ("kill -9", "power cut", "memory only"):
            peers = results.peers(row, level)
            if not peers:
                continue
            if level == "memory only":
                yield f"{row}; peers: memory only, kvstore: survives kill -9", row, ours_by_level.get("kill -9"), peers
            else:
                yield f"{row}; survives {level}", row, ours_by_level.get(level), peers


def table(results):
    """Rows of text: title, peer, value, ratio."""
    lines = []
    for title, row, ours, peers in groups(results):
        unit = results.units[row]
        show = lambda v, unit=unit: number(v, unit)
        if ours is not None:
            lines.append((title, OURS, spread(results.summary(row, *ours), show), ""))
        for peer in peers:
            if peer == ours:
                continue
            name = f"{peer[1]} (raw)" if peer[1] in results.raw else peer[1]
            ratio = results.ratio(row, ours, peer) if ours is not None else None
            lines.append((title, name, spread(results.summary(row, *peer), show), ratio_text(ratio)))
    return lines


def print_text(lines):
    last = None
    for title, peer, value, ratio in lines:
        if title != last:
            print(f"\n{title}")
        last = title
        print(f"  {peer:<24} {value:<40} {ratio}")


def markdown(lines):
    out = ["| what | store | median (lowest-highest) | kvstore is so many times better |", "|---|---|---|---|"]
    last = None
    for title, peer, value, ratio in lines:
        name = f"**{peer}**" if peer == OURS else peer
        out.append(f"| {title if title != last else ''} | {name} | {value} | {ratio} |")
        last = title
    return "\n".join(out) + "\n"


# ---- the goals -----------------------------------------------------------------------------------

KILL, CUT, MEMORY = "kill -9", "power cut", "memory only"
# (what, our row, level, their row, level, peers of whom the best counts, goal). A goal is how many times better we mean to be;
# with no peers it is a bound on our own value, `at_least` or `at_most`.
GOALS = [
    ("put, 1 thread, against LevelDB", "put, 1 thread", KILL, None, KILL, ["LevelDB"], 10),
    ("put, 1 thread, against Kyoto hash", "put, 1 thread", KILL, None, KILL, ["Kyoto hash"], 1.0),
    ("put, 2 threads, against Kyoto hash", "put, 2 threads", KILL, None, KILL, ["Kyoto hash"], 1.5),
    ("batch of 1000, against LMDB", "batch of 1000", KILL, None, KILL, ["LMDB nosync"], 6),
    ("durable put, 1 thread, against the best", "put, 1 thread", CUT, None, CUT, ["*"], 1.3),
    ("durable put, 1 thread, against overwrite + fdatasync", "put, 1 thread", CUT, None, CUT, ["overwrite + fdatasync"], 0.9),
    ("durable put, 8 threads, against LevelDB", "put, 8 threads", CUT, None, CUT, ["LevelDB"], 1.4),
    ("durable put, 64 threads", "put, 64 threads", CUT, None, None, [], ("at_least", 40_000)),
    ("get, hit, against Kyoto stash", "get, hit", KILL, None, MEMORY, ["Kyoto stash"], 1 / 0.9),
    ("get, miss, against Kyoto stash's hit: 0.4x", "get, miss", KILL, "get, hit", MEMORY, ["Kyoto stash"], 1 / 0.4),
    ("get, miss, against Kyoto stash's miss", "get, miss", KILL, None, MEMORY, ["Kyoto stash"], 1 / 0.9),
    ("get, 1000 hot keys, 2 readers", "get, 1000 hot keys, 2 readers", KILL, None, None, [], ("at_least", 50e6)),
    ("... against 1 reader", "get, 1000 hot keys, 2 readers", KILL, "get, 1000 hot keys, 1 reader", KILL, [OURS], 1.8),
    ("multi-get of 16, against single get", "multi-get of 16, a key", KILL, "get, hit, a new string", KILL, [OURS], 1 / 0.6),
    ("multi-get of 64, against single get", "multi-get of 64, a key", KILL, "get, hit, a new string", KILL, [OURS], 1 / 0.6),
    ("YCSB A, against Kyoto hash", "YCSB A, 2 threads", KILL, None, KILL, ["Kyoto hash"], 1.0),
    ("YCSB B, against Kyoto stash", "YCSB B, 2 threads", KILL, None, MEMORY, ["Kyoto stash"], 1.0),
    ("open after kill -9, against Redis", "open after kill -9", KILL, None, KILL, ["Redis pipelined"], 8),
    ("open after kill -9, against Kyoto's repair", "open after kill -9", KILL, None, KILL, ["Kyoto hash"], 3),
    ("memory an entry over key and value", "memory an entry, over key and value, after puts", KILL, None, None, [],
     ("at_most", 40)),
    ("disk an entry, compacted", "disk an entry, compacted", KILL, None, None, [], ("at_most", 190)),
    ("compaction of the entries beside a writer", "compaction beside a writer, duration", KILL, None, None, [], ("at_most", 0.5)),
    ("put p99.9 while compacting, against idle", "compaction beside a writer, put p99.9 against idle", KILL, None, None, [],
     ("at_most", 2)),
    ("longest put while compacting", "compaction beside a writer, longest put", KILL, None, None, [], ("at_most", 5)),
]


def goal_line(results, goal):
    what, row, level, other, other_level, names, wanted = goal
    ours = (level, OURS)
    if (row, *ours) not in results.values:
        return None
    show = lambda v, r=row: number(v, results.units[r])
    mine = spread(results.summary(row, *ours), show)
    if isinstance(wanted, tuple):
        middle = results.summary(row, *ours)[0]
        met = middle >= wanted[1] if wanted[0] == "at_least" else middle <= wanted[1]
        sign = ">=" if wanted[0] == "at_least" else "<="
        return what, mine, "", "", f"{sign} {show(wanted[1])}", "met" if met else "NOT MET"
    their_row = other or row
    rivals = [(s, p) for s, p in results.peers(their_row, other_level)
              if (p in names) or (names == ["*"] and p != OURS and p not in results.raw)]
    ratios = [(results.ratio(row, ours, rival, other), rival) for rival in rivals]
    ratios = [r for r in ratios if r[0] is not None]
    if not ratios:
        return what, mine, "not measured", "", f">= {wanted:.2f}", ""
    ratio, rival = min(ratios, key=lambda r: r[0][0])
    theirs = f"{rival[1]} {show(results.summary(their_row, *rival)[0])}"
    return what, mine, theirs, ratio_text(ratio), f">= {wanted:.2f}", "met" if ratio[0] >= wanted else "NOT MET"


def goals(results):
    head = ["goal", "kvstore", "peer", "so many times better", "wanted", ""]
    rows = [line for line in (goal_line(results, goal) for goal in GOALS) if line]
    out = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    out += ["| " + " | ".join(row) + " |" for row in rows]
    return "\n".join(out) + "\n"


# ---- growth --------------------------------------------------------------------------------------

GROWTH = [("put", "put, 1 thread"), ("get, hit", "get, hit"), ("get, miss", "get, miss"),
          ("memory over key and value", "memory an entry, over key and value, after puts"), ("open after kill -9", "open after kill -9"),
          ("disk, compacted", "disk an entry, compacted")]


def growth(paths):
    """kvstore alone, one row for each number and size of entries."""
    found = collections.defaultdict(lambda: collections.defaultdict(list))
    units = {}
    for path in paths:
        for line in pathlib.Path(path).read_text().splitlines():
            one = json.loads(line)
            if one["peer"] == OURS and one["survives"] == KILL:
                found[one["entries"], one["value_bytes"]][one["row"]].append(one["value"])
                units[one["row"]] = one["unit"]
    out = ["| entries | value | " + " | ".join(name for name, _ in GROWTH) + " |", "|" + "---:|" * (2 + len(GROWTH))]
    for (entries, size), rows in sorted(found.items(), key=lambda item: (item[0][1] != 100, item[0][1], item[0][0])):
        cells = [number(statistics.median(rows[row]), units[row]) if row in rows else "" for _, row in GROWTH]
        out.append(f"| {entries:,} | {size:,} B | " + " | ".join(cells) + " |")
    return "\n".join(out) + "\n"


def conditions(results):
    """The machine and the day: without them figures mean nothing."""
    cpu = re.search(r"model name\s*: (.*)", pathlib.Path("/proc/cpuinfo").read_text())
    memory = re.search(r"MemTotal:\s*(\d+)", pathlib.Path("/proc/meminfo").read_text())
    rounds = {r for values in results.values.values() for r in values}
    return (f"{datetime.date.today():%-d %B %Y}; {os.cpu_count()} cores ({cpu.group(1) if cpu else platform.machine()}), "
            f"{int(memory.group(1)) / 2**20:.0f} GiB, Linux {platform.release().split('-')[0]}; {len(rounds)} rounds; "
            f"load average at the end {os.getloadavg()[1]:.1f}.")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("results", nargs="+")
    parser.add_argument("--markdown", help="write the tables to this file")
    parser.add_argument("--plots", help="draw into this directory")
    parser.add_argument("--growth", action="store_true", help="print how kvstore's costs grow with number and size instead")
    arguments = parser.parse_args()
    if arguments.growth:
        print(growth(arguments.results))
        return
    results = Results(arguments.results)
    lines = table(results)
    print_text(lines)
    print("\n" + goals(results))
    if arguments.markdown:
        pathlib.Path(arguments.markdown).write_text("\n".join([conditions(results), "", goals(results), markdown(lines)]))
    if arguments.plots:
        import plot
        plot.draw(results, pathlib.Path(arguments.plots))


if __name__ == "__main__":
    sys.exit(main())

#!/usr/bin/env python3
"""Prints the JSON files that the Google Benchmark programs of `make bench` wrote as one Markdown table.

    bench/table.py build/bench/*.json
"""
import json
import pathlib
import sys


def rate(value):
    for limit, suffix in ((1e9, " G/s"), (1e6, " M/s"), (1e3, " k/s")):
        if value >= limit:
            return f"{value / limit:.3g}{suffix}"
    return f"{value:.3g} /s"


def main():
    print("| program | benchmark | time | items | bytes |\n|---|---|---|---|---|")
    for path in sys.argv[1:]:
        text = pathlib.Path(path).read_text()
        if not text.strip():  # a program that filtered everything out
            continue
        for one in json.loads(text)["benchmarks"]:
            if one.get("error_occurred"):
                sys.exit(f"{path}: {one['name']}: {one['error_message']}")
            if one.get("run_type") == "aggregate" and one["aggregate_name"] != "median":
                continue
            items = rate(one["items_per_second"]) if "items_per_second" in one else ""
            size = rate(one["bytes_per_second"]).replace("/s", "B/s") if "bytes_per_second" in one else ""
            print(f"| {pathlib.Path(path).stem} | `{one['name']}` | {one['real_time']:.3g} {one['time_unit']} | {items} | {size} |")


if __name__ == "__main__":
    main()

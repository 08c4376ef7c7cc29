#!/usr/bin/env python3
"""Line coverage of kvstore/ by the tests: a table by file, then every uncovered line with its text.

    tools/coverage/report.py build/coverage [--at-least 95] [kvstore/wal ...]     paths: only the files below them

Reads what a build with --coverage left behind, by way of `gcov --json-format`, which comes with g++. A line counts as
covered once any of the programs ran it. Lines that no test can reach stand in unreachable.txt, each with the reason;
they are taken out of the account, and so that the list stays short and true, an entry whose line is gone or
runs after all is an error; below a reason that begins with "Now and then" it may run.

A statement that spans several lines counts as one: g++ books an argument, a temporary or the call itself on one of its
lines at will, often on one that then seems never to have run. So a line is covered, too, where another line of its
statement is: lines belong together where the first ends in an open parenthesis, a comma, an operator or half a string, or
the next begins with what nothing can begin with. A line that ends by opening a lambda is covered where the line behind it
is. The price: of two operands or arguments on lines of their own the one that never ran is not seen.

Exit status: 0 fine, 1 less than --at-least percent or a stale entry, 2 nothing to read.
"""
import argparse
import collections
import concurrent.futures
import json
import os
import pathlib
import re
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]
UNREACHABLE = pathlib.Path(__file__).with_name("unreachable.txt")


def lines_run(notes):
    """{file: {line: times it ran}} of one object, of the files of kvstore/."""
    run = subprocess.run(["gcov", "--json-format", "--stdout", str(notes)], capture_output=True, check=True, cwd=notes.parent)
    counts = collections.defaultdict(collections.Counter)
    for document in run.stdout.splitlines():
        report = json.loads(document)
        for file in report["files"]:
            path = os.path.relpath(os.path.join(report["current_working_directory"], file["file"]), ROOT)
            if path.startswith("kvstore/") and (ROOT / path).exists():  # notes of a file since removed stay behind
                for line in file["lines"]:
                    counts[path][line["line_number"]] += line["count"]
    return counts


# How a line ends that goes on in the next, and how a line begins that goes on from the one before it.
ENDS_OPEN = re.compile(r'([(,?"=+\-*/%&|^<]|\breturn)$')
BEGINS_OPEN = re.compile(r'[.?:"]|<<|->')


def add_statements(counts, text):
    """Gives each line without a count of its own the highest of its statement, as the head of this file says."""
    code = [re.sub(r"(^|\s)//.*", "", line).strip() for line in text]
    raised = dict(counts)
    first = 0
    while first < len(code):
        last = first
        while last + 1 < len(code) and (ENDS_OPEN.search(code[last]) or BEGINS_OPEN.match(code[last + 1])):
            last += 1
        statement = " ".join(code[first : last + 1])
        opens_lambda = statement.endswith("{") and statement.count("(") > statement.count(")")
        lines = range(first + 1, last + 2 + opens_lambda)  # lines are counted from 1
        most = max((counts[number] for number in lines if number in counts), default=0)
        for number in range(first + 1, last + 2):
            if raised.get(number) == 0:
                raised[number] = most
        first = last + 1
    return raised


def read_unreachable(problems):
    """The entries as {(file, text): how many lines}, and which may run; see the head of unreachable.txt for its form."""
    entries = collections.Counter()
    may_run = set()
    reason = ""
    for number, line in enumerate(UNREACHABLE.read_text().splitlines(), 1):
        if line.startswith("#") or not line.strip():
            continue
        if not line.startswith(" "):
            reason = line
            continue
        file, colon, text = line.strip().partition(": ")
        if not colon or not reason:
            problems.append(f"{UNREACHABLE.name}:{number}: not `    file: text` below a reason")
        entries[file, text] += 1
        if reason.startswith("Now and then"):
            may_run.add((file, text))
    return entries, may_run


def ranges(numbers):
    """[3, 4, 5, 9] -> [(3, 5), (9, 9)]"""
    found = []
    for number in numbers:
        if found and found[-1][1] == number - 1:
            found[-1] = (found[-1][0], number)
        else:
            found.append((number, number))
    return found


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("build", type=pathlib.Path, help="the build tree in which the tests ran")
    parser.add_argument("paths", nargs="*", default=["kvstore"], help="only the files below these")
    parser.add_argument("--at-least", type=float, default=0, metavar="PERCENT")
    arguments = parser.parse_args()

    notes = sorted(arguments.build.resolve().rglob("*.gcno"))
    if not any(note.with_suffix(".gcda").exists() for note in notes):
        print(f"{arguments.build}: no test ran here that was built with --coverage. try: make coverage", file=sys.stderr)
        return 2
    counts = collections.defaultdict(collections.Counter)
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        for one in pool.map(lines_run, notes):
            for path, lines in one.items():
                counts[path].update(lines)

    problems = []
    unreachable, may_run = read_unreachable(problems)
    uncovered = {}
    total = total_covered = 0
    print(f"{'lines':>6} {'uncovered':>9} {'percent':>7}  file")
    for path in sorted(counts):
        text = (ROOT / path).read_text().splitlines()
        missed = []
        excused = 0
        # A lone brace is the way out of a block when something throws, which is no code of ours.
        run = add_statements(counts[path], text)
        code = {number: count for number, count in run.items() if text[number - 1].strip(" });,")}
        for number in sorted(number for number, count in code.items() if count == 0):
            entry = path, text[number - 1].strip()
            if unreachable[entry] > 0:
                unreachable[entry] -= 1
                excused += 1
            else:
                missed.append(number)
        if not any(path.startswith(below) for below in arguments.paths):
            continue
        lines = len(code) - excused
        covered = lines - len(missed)
        total += lines
        total_covered += covered
        if missed:
            uncovered[path] = missed, text
        print(f"{lines:6} {len(missed):9} {100 * covered / max(lines, 1):7.1f}  {path}")
    percent = 100 * total_covered / max(total, 1)
    print(f"{total:6} {total - total_covered:9} {percent:7.2f}  all")

    for path, (missed, text) in uncovered.items():
        for first, last in ranges(missed):
            print(f"\n{path}:{first}" + (f"-{last}" if last != first else ""))
            print("\n".join(text[number - 1] for number in range(first, last + 1)))
    for (file, line), left in unreachable.items():
        stands = (ROOT / file).is_file() and line in (text.strip() for text in (ROOT / file).read_text().splitlines())
        if left > 0 and not (stands and (file, line) in may_run):
            problems.append(f"{UNREACHABLE.name}: remove `{file}: {line}`: it is gone, or a test runs it")
    if percent < arguments.at_least:
        problems.append(f"{percent:.2f} % of the lines are covered, at least {arguments.at_least:g} % are asked for")
    for problem in problems:
        print(f"\n{problem}", file=sys.stderr)
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())

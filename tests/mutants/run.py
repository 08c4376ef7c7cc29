#!/usr/bin/env python3
"""Breaks kvstore on purpose, one mutant of mutants.py after the other, and asks the tests to notice.

    tests/mutants/run.py             all of them
    tests/mutants/run.py REGEX       those whose name, promise or file matches
    tests/mutants/run.py --list      the names, without running anything
    tests/mutants/run.py --check     only whether each still applies to the sources

Works on a copy of the tracked files in build/mutants/, built like a release, asserts as shipped. First all tests that will be
needed must pass on the copy as it is. Then each mutant: apply it, build and run its tests in turn until one fails, restore.
Ends with 1 if a mutant survives, does not apply, or does not build. What the last test of a mutant said is in build/mutants/log/.

Environment: CMAKE_CXX_COMPILER_LAUNCHER as for cmake, JOBS for the number of compilers, KVSTORE_SEED for random tests (1),
MUTANTS_WRAP for a command to put in front of every build and every test, say `nice`.
"""
import filecmp
import os
import re
import resource
import shlex
import shutil
import subprocess
import sys
import time
from pathlib import Path

sys.dont_write_bytecode = True  # no __pycache__ among the sources
from mutants import MUTANTS  # noqa: E402

ROOT = Path(__file__).resolve().parents[2]
WORK = ROOT / "build" / "mutants"
TREE = WORK / "tree"
BUILD = TREE / "build" / "release"
LOG = WORK / "log"
SECONDS_MAX = 300  # for one test; the slowest takes a tenth of it, on a quiet machine
HANGS = 124        # how timeout(1) ends then


def copy_sources():
    """Makes TREE equal to the tracked files. What has not changed keeps its time, so that it is not built again."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, check=True, capture_output=True, text=True).stdout
    names = {name for name in listed.split("\0") if name and (ROOT / name).is_file()}
    for old in [path for path in TREE.rglob("*") if path.is_file() or path.is_symlink()]:
        if str(old.relative_to(TREE)) not in names and not old.is_relative_to(TREE / "build"):
            old.unlink()
    for name in names:
        source, copy = ROOT / name, TREE / name
        if copy.is_file() and filecmp.cmp(source, copy, shallow=False):
            continue
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, copy)
        shutil.copymode(source, copy)


def mutated(mutant):
    """The changed files' texts by name. An old text that is not there exactly once is an error: the list is out of step."""
    texts = {}
    for name, old, new in mutant.edits:
        text = texts.get(name) or (ROOT / name).read_text()
        if text.count(old) != 1:
            raise LookupError(f"{name} has {text.count(old)} times: {old.strip()!r}")
        texts[name] = text.replace(old, new)
    return texts


def run(command, log, cwd=TREE, **options):
    wrap = shlex.split(os.environ.get("MUTANTS_WRAP", ""))
    with open(log, "w") as out:
        return subprocess.run(wrap + command, cwd=cwd, stdout=out, stderr=subprocess.STDOUT, check=False, **options).returncode


def configure():
    command = ["cmake", "--preset", "release", "-DKVSTORE_BUILD_TOOLS=OFF", "-DKVSTORE_BUILD_BENCH=OFF"]
    launcher = os.environ.get("CMAKE_CXX_COMPILER_LAUNCHER")
    if launcher:
        command.append(f"-DCMAKE_CXX_COMPILER_LAUNCHER={launcher}")
    return run(command, LOG / "configure") == 0


def build(targets, log):
    jobs = os.environ.get("JOBS") or str(os.cpu_count())
    return run(["cmake", "--build", str(BUILD), "--parallel", jobs, "--target", *targets], log) == 0


def passes(test, log):
    """True, or a word for how it failed."""
    program, *arguments = test.split()
    if program.endswith("_test"):
        arguments += ["--gtest_brief=1", "--gtest_fail_fast"]
    scratch = WORK / "run"
    shutil.rmtree(scratch, ignore_errors=True)
    scratch.mkdir()
    environment = dict(os.environ, TMPDIR=str(scratch))  # what a dying test leaves behind goes with the next
    environment.setdefault("KVSTORE_SEED", "1")
    ended = run(["timeout", str(SECONDS_MAX), str(BUILD / "tests" / program), *arguments], log, cwd=scratch, env=environment)
    return True if ended == 0 else "hangs" if ended == HANGS else "fails"


def target_of(test):
    return test.split()[0]


def outcome_of(mutant):
    """Needs: mutant applied. The words for the table, and whether a test noticed."""
    log = LOG / re.sub(r"\W+", "-", mutant.name)
    for test in mutant.tests:
        if not build([target_of(test)], log):
            return "DOES NOT BUILD", False
        result = passes(test, log)
        if result is not True:
            return f"caught by {target_of(test)}" + (" (hangs)" if result == "hangs" else ""), True
    return "SURVIVED", False


def restore(name):
    shutil.copyfile(ROOT / name, TREE / name)  # with a new time: what was built from the mutant is stale


def main(arguments):
    flags = {argument for argument in arguments if argument.startswith("--")}
    patterns = [argument for argument in arguments if argument not in flags]
    if flags - {"--list", "--check"} or len(patterns) > 1:
        print(__doc__)
        return 2
    wanted = re.compile(patterns[0] if patterns else ".", re.IGNORECASE)
    chosen = [m for m in MUTANTS if any(map(wanted.search, [m.name, m.promise, *(name for name, _, _ in m.edits)]))]
    if "--list" in flags:
        for mutant in chosen:
            print(f"{mutant.promise:3} {mutant.name:64} {', '.join(mutant.tests)}")
        return 0
    out_of_step = 0
    for mutant in chosen:
        try:
            mutated(mutant)
        except LookupError as error:
            print(f"{mutant.promise:3} {mutant.name}: {error}")
            out_of_step += 1
    if out_of_step or "--check" in flags:
        print(f"{len(chosen) - out_of_step} of {len(chosen)} mutants apply")
        return 1 if out_of_step else 0

    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # most of what follows is meant to die
    for directory in (TREE, LOG):
        directory.mkdir(parents=True, exist_ok=True)
    copy_sources()
    if not configure():
        print((LOG / "configure").read_text())
        return 1
    tests = sorted({test for mutant in chosen for test in mutant.tests})
    for target in sorted(set(map(target_of, tests))):  # one by one: others may wait for MUTANTS_WRAP
        if not build([target], LOG / "build"):
            print((LOG / "build").read_text())
            return 1
    for test in tests:
        if passes(test, LOG / "unbroken") is not True:
            print((LOG / "unbroken").read_text())
            print(f"{test} does not pass as it is, so it can tell nothing about mutants")
            return 1
    print(f"the {len(tests)} tests pass without a mutant", flush=True)

    caught = 0
    for mutant in chosen:
        begin = time.monotonic()
        texts = mutated(mutant)
        try:
            for name, text in texts.items():
                (TREE / name).write_text(text)
            words, noticed = outcome_of(mutant)
        finally:
            for name in texts:
                restore(name)
        caught += noticed
        print(f"{mutant.promise:3} {mutant.name:64} {words} after {time.monotonic() - begin:.0f} s", flush=True)
    print(f"{caught} of {len(chosen)} mutants caught")
    return 0 if caught == len(chosen) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

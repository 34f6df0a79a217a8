#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Switches off the guards of tests/guards one by one and reports which tests notice.

  guards_run.py FOLDER JSON [--only WORDS] [--wide]

FOLDER holds the tree that guards.py made, built in FOLDER/src/build/debug. First all tests must pass with no guard off.
Then each guard is switched off alone; a test counts only if it fails twice. --only: guards whose subject or name contains one
of these words, separated by commas. --wide: a survivor is also tried with all tests of its programs.
Exit code 1 if a guard survives without a reason, or has a reason but does not survive.
"""
import argparse
import collections
import concurrent.futures
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import time

import guards

FLOOR_SECONDS, FACTOR, CEILING_SECONDS = 30, 4, 240  # how long a test may take with a guard off
here = pathlib.Path(__file__).resolve().parent
Outcome = collections.namedtuple("Outcome", "failed skipped passed seconds says")


def read_report(path):
    """Names of the tests that failed, were skipped and passed."""
    failed, skipped, passed = [], [], []
    try:
        suites = json.loads(path.read_text())["testsuites"]
    except (OSError, ValueError, KeyError):
        return None
    for suite in suites:
        for test in suite["testsuite"]:
            if test["status"] != "RUN":
                continue
            name = f"{suite['name']}.{test['name']}"
            (failed if "failures" in test else skipped if test["result"] == "SKIPPED" else passed).append(name)
    return failed, skipped, passed


class Runner:
    def __init__(self, folder):
        self.folder = folder
        self.bin = folder / "src/build/debug/bin"
        self.work = folder / "runs"
        self.work.mkdir(exist_ok=True)
        self.log = (folder / "log").open("w")

    def run(self, number, program, names, limit):
        """Without a report, the test that ran last is the one that failed."""
        with tempfile.TemporaryDirectory(dir=self.work) as results:
            off, report = pathlib.Path(results, "off"), pathlib.Path(results, "report.json")
            off.write_text(f"{number}\n")
            command = [sys.executable, here / "alone.py", off, self.folder / "off", results, "--",
                       self.bin / program, f"--gtest_filter={names}", f"--gtest_output=json:{report}"]
            begin = time.monotonic()
            with pathlib.Path(results, "out").open("wb+") as out:
                process = subprocess.Popen([str(one) for one in command], stdin=subprocess.DEVNULL, stdout=out,
                                           stderr=subprocess.STDOUT, start_new_session=True, env=environment())
                try:
                    code = process.wait(limit)
                except subprocess.TimeoutExpired:
                    code = None
                    process.terminate()
                    try:
                        process.wait(10)
                    except subprocess.TimeoutExpired:
                        process.kill()
                        process.wait()
                out.seek(0)
                text = out.read().decode(errors="replace")
            seconds = time.monotonic() - begin
            self.log.write(f"=== {number} {program} {names}: {code} after {seconds:.1f} s\n{text[-3000:]}\n")
            if code == 126:
                raise guards.Problem(f"the isolation is not possible: {text.strip()[-300:]}")
            found = read_report(report) if code is not None else None
            if found is not None and (code == 0 or found[0]):
                return Outcome(*found, seconds, "")
            last = [line[12:].strip() for line in text.splitlines() if line.startswith("[ RUN      ]")]
            says = "did not end in time" if code is None else f"ended with {code}"
            return Outcome(last[-1:] or [program], [], [], seconds, says)


def environment():
    kept = {name: value for name, value in os.environ.items() if name in ("PATH", "HOME", "LANG")}
    return {**kept, "TERM": "dumb"}


def in_two_lines(function, items, programs_of):
    """Runs kernel tests one at a time, because they share the node's cgroups and everything else that exists only
    once; runs unit tests beside them, also one at a time. Returns the results in the order of the items."""
    def line(wanted):
        return {index: function(item) for index, item in enumerate(items)
                if any("kernel" in program for program in programs_of(item)) == wanted}

    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        both = list(pool.map(line, (True, False)))
    return [{**both[0], **both[1]}[index] for index in range(len(items))]


def baseline(runner, jobs):
    """Checks that every test passes with no guard off, and measures how long it takes. A test may fail
    once: the machine is noisy."""
    def one(job):
        first = runner.run(0, *job, CEILING_SECONDS)
        if not first.failed:
            return job, first
        return job, runner.run(0, *job, CEILING_SECONDS)

    results = dict(in_two_lines(one, jobs, lambda job: [job[0]]))
    for (program, names), outcome in results.items():
        if outcome.failed:
            raise guards.Problem(f"{program} {names} fails with no guard off: {' '.join(outcome.failed)} {outcome.says}")
        if not outcome.passed:
            raise guards.Problem(f"{program} {names} runs no test")
    return results


def limit_for(outcome):
    return min(CEILING_SECONDS, FLOOR_SECONDS + FACTOR * outcome.seconds)


def noticed(runner, guard, jobs, known):
    """Tests that fail twice with the guard off."""
    found, says = [], ""
    for job in jobs:
        outcome = runner.run(guard.number, *job, limit_for(known[job]))
        if not outcome.failed:
            continue
        # Without a report it is not certain which test hung or died: runs all of them again.
        names = job[1] if outcome.says else outcome.failed[0]
        again = runner.run(guard.number, job[0], names, limit_for(known[job]))
        if again.failed:
            found += outcome.failed
            says = says or outcome.says or again.says
    return found, says


def examine(runner, guard, known, wide):
    begin = time.monotonic()
    found, says = noticed(runner, guard, guard.tests, known)
    how = "named tests"
    if not found and wide and not guard.narrow:
        programs = [(program, "*") for program in dict.fromkeys(job[0] for job in guard.tests)]
        found, says = noticed(runner, guard, programs, known)
        how = "other tests"
    row = {"subject": guard.subject, "guard": guard.name, "stops": guard.stops, "file": guard.file,
           "noticedBy": found, "how": how if found else "", "says": says, "survives": guard.survives,
           "seconds": round(time.monotonic() - begin, 1)}
    mark = ("FOUND BY OTHERS" if how == "other tests" else "noticed") if found else "survived"
    print(f"  {guard.number:3} {guard.subject}: {guard.name}: {mark} ({row['seconds']} s)", file=sys.stderr, flush=True)
    return row


def main(arguments):
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=lambda text: pathlib.Path(text).resolve())
    parser.add_argument("json", type=pathlib.Path)
    parser.add_argument("--only", default="")
    parser.add_argument("--wide", action="store_true")
    given = parser.parse_args(arguments)
    words = [word for word in given.only.split(",") if word]
    those = [one for one in guards.guards() if not words or any(word in one.subject or word in one.name for word in words)]
    runner = Runner(given.folder)
    begin = time.monotonic()
    jobs = dict.fromkeys(job for one in those for job in one.tests)
    if given.wide:
        jobs.update(dict.fromkeys((program, "*") for program, _ in list(jobs)))
    try:
        known = baseline(runner, list(jobs))
        rows = in_two_lines(lambda one: examine(runner, one, known, given.wide), those,
                            lambda one: [program for program, _ in one.tests])
    except guards.Problem as problem:
        print(problem, file=sys.stderr)
        return 1
    skipped = sorted({name for outcome in known.values() for name in outcome.skipped})
    bad = [row for row in rows if bool(row["noticedBy"]) == bool(row["survives"])]
    given.json.write_text(json.dumps({"guards": rows, "skippedTests": skipped, "seconds": round(time.monotonic() - begin)}))
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

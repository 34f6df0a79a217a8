#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Sums up the gcov data of a build, by folder of daemon/.

  scripts/lib/coverage_table.py BUILD_FOLDER JSON_FILE

Branches that only exceptions take are not counted.
"""
import collections
import concurrent.futures
import json
import os
import pathlib
import subprocess
import sys


def read(data):
    """gcov's JSON for one .gcda file."""
    done = subprocess.run(["gcov", "--json-format", "--branch-probabilities", "--stdout", data.name],
                          cwd=data.parent, capture_output=True, text=True, check=True)
    return [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]


def percent(part, whole):
    return f"{100 * part / whole:.1f} %" if whole else "-"


def main():
    build, out = pathlib.Path(sys.argv[1]), sys.argv[2]
    root = pathlib.Path(__file__).resolve().parents[2]
    lines = collections.defaultdict(lambda: collections.defaultdict(int))     # file -> line -> times
    branches = collections.defaultdict(lambda: collections.defaultdict(int))  # file -> (line, n) -> times
    files = sorted(build.rglob("*.gcda"))
    if not files:
        sys.exit(f"coverage: no data below {build}: did any test run?")
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        for reports in pool.map(read, files):
            for report in reports:
                for file in report["files"]:
                    path = pathlib.Path(report["current_working_directory"], file["file"]).resolve()
                    if not path.is_relative_to(root / "daemon"):
                        continue
                    name = path.relative_to(root / "daemon").as_posix()
                    for line in file["lines"]:
                        lines[name][line["line_number"]] += line["count"]
                        taken = [branch for branch in line["branches"] if not branch["throw"]]
                        for n, branch in enumerate(taken):
                            branches[name][(line["line_number"], n)] += branch["count"]
    # A template is compiled in many places: a line counts once, and as covered if it ran in any of them.
    folders = collections.defaultdict(lambda: [0, 0, 0, 0, 0])
    for name, counts in lines.items():
        parent = pathlib.PurePosixPath(name).parent.as_posix()
        row = folders[parent]
        row[0] += 1
        row[1] += sum(1 for count in counts.values() if count)
        row[2] += len(counts)
        row[3] += sum(1 for count in branches[name].values() if count)
        row[4] += len(branches[name])
    total = [sum(column) for column in zip(*folders.values())]
    print(f"{'folder':<22}{'files':>6}{'lines':>8}{'covered':>10}{'branches':>10}{'covered':>10}")
    for name, row in [*sorted(folders.items()), ("total", total)]:
        print(f"{name:<22}{row[0]:>6}{row[2]:>8}{percent(row[1], row[2]):>10}"
              f"{row[4]:>10}{percent(row[3], row[4]):>10}")
    with open(out, "w") as file:
        json.dump({name: {"files": row[0], "linesCovered": row[1], "lines": row[2],
                          "branchesCovered": row[3], "branches": row[4]}
                   for name, row in [*sorted(folders.items()), ("total", total)]}, file, indent=2)


if __name__ == "__main__":
    main()

#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Checks that each type has one definition: two definitions of a name in one namespace are undefined behaviour once a
program links both, and neither compiler nor linker reports it. Reads headers of daemon/ and tests/; exit code 1 with a list."""

import collections
import re
import subprocess
import sys

NAMESPACE = re.compile(r"\s*(?:inline )?namespace\s*([\w:]*)\s*\{")
# A qualified name (Outer::Inner) belongs to a type that a different header declares.
TYPE = re.compile(r"\s*(?:template <.*> )?(?:struct|class|enum class|enum)\s+(\w+)(?:\s+final)?(?:\s*:[^:{;][^{;]*)?\s*\{")


def types_of(text):
    """The qualified names of the types that a header defines, in any order."""
    open_braces = []
    found = set()
    for line in text.splitlines():
        line = line.split("//")[0]
        for pattern in (NAMESPACE, TYPE):
            if match := pattern.match(line):
                name = match.group(1) or "(anonymous)"
                if pattern is TYPE:
                    found.add("::".join([*filter(None, open_braces), name]))
                break
        opens, closes = line.count("{"), line.count("}")
        if match and opens:
            open_braces.append(name)
            opens -= 1
        open_braces.extend([""] * opens)
        del open_braces[max(0, len(open_braces) - closes):]
    return found


headers = subprocess.run(["git", "ls-files", "daemon/*.hpp", "tests/*.hpp"], check=True, capture_output=True, text=True)
places = collections.defaultdict(list)
for header in headers.stdout.split():
    with open(header, encoding="utf-8") as file:
        for one in types_of(file.read()):
            places[one].append(header)
twice = {name: where for name, where in places.items() if len(where) > 1}
for name, where in sorted(twice.items()):
    print(f"{name} is defined in {' and '.join(where)}: rename one of them")
sys.exit(1 if twice else 0)

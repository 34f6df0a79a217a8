# SPDX-License-Identifier: Apache-2.0
# Prints what clang-tidy reads for a folder, a path per line:
#   python3 tidy_units.py BUILD FOLDER     BUILD: a unity build with compile_commands.json; FOLDER: daemon or tests
# Most are the units of the build, so each header is read once per target. End-to-end tests have a program per file, and all
# include the same headers: several files of a folder make one unit here. BUILD/batches gets these units and
# compile_commands.json for all.
import json
import os
import re
import shlex
import sys

BATCHED = ("tests/e2e/", "tests/reach/")
BATCH = 14  # files
# The analyzer considers Asio's frames uninitialized there.
LEFT_OUT = "/base/async/pause.cpp"


def main() -> None:
    build, folder = os.path.realpath(sys.argv[1]), sys.argv[2]
    root = os.path.dirname(os.path.dirname(build))
    with open(os.path.join(build, "compile_commands.json"), encoding="utf-8") as file:
        commands = json.load(file)
    units: dict[str, None] = {}
    batched: dict[str, dict[str, None]] = {}
    flags: dict[str, dict[str, None]] = {}
    for entry in commands:
        unit = entry["file"]
        if unit.endswith(LEFT_OUT):
            continue
        inside = unit.removeprefix(build + "/")
        # Tests that compile sources of daemon/ again with different switches are left out.
        if inside != unit and not inside.startswith(folder + "/"):
            continue
        parts = included(unit) if "/Unity/" in unit else [unit]
        own = [part for part in parts if part.startswith(os.path.join(root, folder, ""))]
        if not own:
            continue  # only generated code
        place = next((place for place in BATCHED if inside.startswith(place)), None)
        # Of the programs' shared main() one copy fits into a batch; a program with its own is a unit.
        if place is None or any(has_main(part) and os.path.join(root, place) in part for part in own):
            units[unit] = None
            continue
        batched.setdefault(place, {}).update(dict.fromkeys(own))
        flags.setdefault(place, {}).update(dict.fromkeys(flags_of(entry["command"])))
    for place, sources in batched.items():
        for entry in batches(build, place, list(sources), list(flags[place])):
            commands.append(entry)
            units[entry["file"]] = None
    write(os.path.join(build, "batches", "compile_commands.json"), json.dumps(commands))
    print(*units, sep="\n")


def included(unit: str) -> list[str]:
    with open(unit, encoding="utf-8") as file:
        return re.findall(r'#include "(/[^"]+)"', file.read())


def has_main(source: str) -> bool:
    with open(source, encoding="utf-8") as file:
        return re.search(r"^int main\(", file.read(), re.MULTILINE) is not None


def flags_of(command: str) -> list[str]:
    """Without files; an option and its value are one text."""
    words = shlex.split(command)
    words = words[: words.index("-o")]
    joined: list[str] = []
    for word in words:
        if joined and joined[-1] == "-isystem":
            joined[-1] += "\n" + word
        else:
            joined.append(word)
    return joined


def batches(build: str, place: str, sources: list[str], flags: list[str]) -> list[dict[str, object]]:
    arguments = [word for flag in flags for word in flag.split("\n")]
    entries: list[dict[str, object]] = []
    for start in range(0, len(sources), BATCH):
        name = f"{place.strip('/').replace('/', '-')}-{start // BATCH}.cxx"
        unit = os.path.join(build, "batches", name)
        write(unit, "".join(f'#include "{source}"\n' for source in sources[start : start + BATCH]))
        entries.append({"directory": build, "file": unit, "arguments": [*arguments, "-c", unit]})
    return entries


def write(path: str, text: str) -> None:
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "w", encoding="utf-8") as file:
        file.write(text)


main()

#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Checks that each folder of daemon/ includes only what its CMake targets DEPENDS on.

  scripts/lib/check_includes.py [ROOT]

Reads the CMakeLists.txt of each folder: fallbackd_library(NAME SOURCES ... DEPENDS ...), add_library(NAME INTERFACE
HEADERS...), add_executable and target_link_libraries. A source file may include headers of its own folder and of the
folders of the libraries that its target reaches; of an INTERFACE library only the headers that it lists. A header may
include what any target of its folder reaches. Exit code 1 and one line per violation.
"""
import pathlib
import re
import sys

COMMAND = re.compile(r"^\s*(\w+)\s*\(([^)]*)\)", re.M)
INCLUDE = re.compile(r'^\s*#\s*include\s+"([^"]+)"', re.M)
KEYWORDS = {"PUBLIC", "PRIVATE", "INTERFACE"}


class Target:
    def __init__(self, folder):
        self.folder = folder
        self.sources = set()
        self.depends = []
        self.headers_only = False


def read_targets(daemon):
    """All targets of our own, by name. `folder` is relative to daemon/."""
    targets = {}
    for listing in sorted(daemon.rglob("CMakeLists.txt")):
        folder = listing.parent.relative_to(daemon).as_posix()
        text = re.sub(r"#[^\n]*", "", listing.read_text())
        for command, body in COMMAND.findall(text):
            words = body.split()
            if command == "fallbackd_library":
                target = targets.setdefault(words[0], Target(folder))
                part = None
                for word in words[1:]:
                    if word in ("SOURCES", "DEPENDS"):
                        part = word
                    elif part == "SOURCES":
                        target.sources.add(word)
                    else:
                        target.depends.append(word)
            elif command == "add_library" and "INTERFACE" in words:
                target = targets.setdefault(words[0], Target(folder))
                target.headers_only = True
                target.sources.update(words[words.index("INTERFACE") + 1:])
            elif command == "add_executable":
                targets.setdefault(words[0], Target(folder)).sources.update(words[1:])
            elif command == "target_link_libraries" and words[0] in targets:
                targets[words[0]].depends += [word for word in words[1:] if word not in KEYWORDS]
    return targets


def reach(targets, name, seen):
    """The names of all our targets that `name` links, including itself."""
    if name in seen or name not in targets:
        return seen
    seen.add(name)
    for other in targets[name].depends:
        reach(targets, other, seen)
    return seen


def offers(target, layer, inside):
    """Whether users of the target may include the header `inside` of the folder `layer`."""
    return target.folder == layer and (not target.headers_only or inside in target.sources)


def layer_of(path, layers):
    """The innermost folder around `path` with a CMakeLists.txt, relative to daemon/."""
    folder = pathlib.PurePosixPath(path).parent
    while folder.as_posix() not in layers:
        if folder == folder.parent:
            return None
        folder = folder.parent
    return folder.as_posix()


def main():
    root = pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else pathlib.Path(__file__).parents[2])
    daemon = root / "daemon"
    targets = read_targets(daemon)
    layers = {target.folder for target in targets.values()}
    problems = []
    checked = 0
    for file in sorted(list(daemon.rglob("*.cpp")) + list(daemon.rglob("*.hpp"))):
        name = file.relative_to(daemon).as_posix()
        layer = layer_of(name, layers)
        if layer is None:
            problems.append(f"daemon/{name}: no CMakeLists.txt above it declares a target")
            continue
        inside = file.relative_to(daemon / layer).as_posix()
        owners = [key for key, target in targets.items() if target.folder == layer and inside in target.sources]
        if file.suffix == ".cpp" and not owners:
            problems.append(f"daemon/{name}: no target of daemon/{layer}/CMakeLists.txt compiles it")
            continue
        if not owners:
            owners = [key for key, target in targets.items() if target.folder == layer]
        reached = {key for owner in owners for key in reach(targets, owner, set())}
        for included in INCLUDE.findall(file.read_text()):
            # Generated headers (protobuf) have no folder here; their target is linked, not included by path.
            if not (daemon / included).is_file():
                continue
            checked += 1
            wanted = layer_of(included, layers)
            header = (daemon / included).relative_to(daemon / wanted).as_posix() if wanted else included
            if wanted != layer and not any(offers(targets[key], wanted, header) for key in reached):
                problems.append(
                    f"daemon/{name} includes {included}, but {' and '.join(sorted(owners))} "
                    f"in daemon/{layer}/CMakeLists.txt does not depend on {wanted}")
    for problem in problems:
        print(problem)
    if checked == 0:
        print("check_includes: found no includes at all; is this the right folder?")
        return 1
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())

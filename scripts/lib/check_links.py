#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""check_links.py FILE...: checks that relative links of Markdown files lead to files, and their anchors to headings. Prints
each broken link; then the exit code is 1."""
import pathlib
import re
import sys


def anchors(path):
    """The anchors that forges derive from headings."""
    found = set()
    for line in path.read_text().splitlines():
        heading = re.match(r"#+ (.*)", line)
        if heading:
            text = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading.group(1)).lower()
            found.add(re.sub(r"[^\w\- ]", "", text).replace(" ", "-"))
    return found


def main():
    bad = 0
    for name in sys.argv[1:]:
        path = pathlib.Path(name)
        text = re.sub(r"^```.*?^```$", "", path.read_text(), flags=re.S | re.M)
        for link in re.findall(r"\]\(([^)\s]+)\)", re.sub(r"`[^`\n]*`", "", text)) + re.findall(r'<img src="([^"]+)"', text):
            if re.match(r"[a-z]+:", link):
                continue
            file, _, anchor = link.partition("#")
            target = path.parent / file if file else path
            if not target.exists():
                problem = "no such file"
            elif anchor and target.suffix == ".md" and anchor not in anchors(target):
                problem = "no such heading"
            else:
                continue
            print(f"{name}: {link}: {problem}")
            bad = 1
    return bad


sys.exit(main())

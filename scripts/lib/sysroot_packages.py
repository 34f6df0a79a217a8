#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""sysroot_packages.py SYSROOT ARCH OUT: writes dpkg's database of the packages that scripts/build-arm64 unpacked to OUT,
for dpkg-shlibdeps. Paths begin with SYSROOT, where dpkg-shlibdeps finds the libraries."""
import pathlib
import re
import sys


def main():
    sysroot, arch, out = pathlib.Path(sys.argv[1]), sys.argv[2], pathlib.Path(sys.argv[3])
    records = sysroot / "var/lib/dpkg/status.d"
    info = out / "info"
    info.mkdir(parents=True)
    (out / "updates").mkdir()
    (out / "arch").write_text(arch + "\n")
    status = []
    for listing in sorted(records.glob("*.list")):
        name = listing.name[: -len(".list")]
        fields = (records / name).read_text().strip()
        status.append(re.sub(r"^(Package: .*)$", r"\1\nStatus: install ok installed", fields, count=1, flags=re.M))
        file = f"{name}:{arch}" if re.search(r"^Multi-Arch: same$", fields, re.M) else name
        paths = [f"{sysroot}{path}".rstrip("/") for path in listing.read_text().splitlines()]
        (info / f"{file}.list").write_text("\n".join(paths) + "\n")
        for kind in ("symbols", "shlibs"):
            if (records / f"{name}.{kind}").exists():
                (info / f"{file}.{kind}").write_text((records / f"{name}.{kind}").read_text())
    (info / "format").write_text("1\n")
    (out / "status").write_text("\n\n".join(status) + "\n")


main()

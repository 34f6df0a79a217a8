#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The content of the image, and its description.

  image_content.py root ARCH SYSROOT BUILD OUT      OUT/base and OUT/programs, the two layers' folders
  image_content.py describe ARCH SYSROOT BUILD OUT  OUT/sbom.spdx.json and OUT/provenance.json

SYSROOT is "/" for the machine's own architecture. The same input gives the same bytes: names are sorted and the only
time is SOURCE_DATE_EPOCH. Standard library only; readelf and strip are the compiler's."""
import datetime
import hashlib
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys

PROGRAMS = ["fallbackd", "fallbackd-spawner", "fallbackd-worker", "fallbackctl"]
ARCHES = {"amd64": ("x86_64-linux-gnu", ""), "arm64": ("aarch64-linux-gnu", "aarch64-linux-gnu-")}
PASSWD = "root:x:0:0:root:/:/sbin/nologin\nnobody:x:65534:65534:nobody:/:/sbin/nologin\n"
GROUP = "root:x:0:\nnobody:x:65534:\n"


def run(*command):
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


class Packages:
    """Debian's own record of the package that owns a file: dpkg's, or the one that scripts/build-arm64 leaves in the sysroot."""

    def __init__(self, sysroot, arch):
        self.sysroot, self.arch, self.owner, self.fields_of = sysroot, arch, {}, {}
        here = sysroot == pathlib.Path("/")
        self.folder = pathlib.Path("/var/lib/dpkg/info") if here else sysroot / "var/lib/dpkg/status.d"
        self.here = here
        for listing in sorted(self.folder.glob("*.list")):
            name = listing.name[: -len(".list")].split(":")[0]
            for path in listing.read_text(errors="replace").splitlines():
                self.owner.setdefault(self.canonical(path), name)

    @staticmethod
    def canonical(path):
        """/lib is /usr/lib on Debian; its packages still use both."""
        return re.sub(r"^/(lib|lib64|bin|sbin)/", r"/usr/\1/", str(path))

    def of(self, path):
        """The package of a file in the sysroot, or of the file that it links to."""
        for candidate in (path, self.inside(os.path.realpath(self.outside(path)))):
            name = self.owner.get(self.canonical(candidate))
            if name:
                return name
        raise SystemExit(f"build-image: no Debian package owns {path}")

    def outside(self, path):
        return self.sysroot / str(path).lstrip("/")

    def inside(self, path):
        return "/" + str(pathlib.Path(path).relative_to(self.sysroot))

    def fields(self, name):
        if name not in self.fields_of:
            if self.here:
                text = run("dpkg-query", "-s", f"{name}:{self.arch}") if self.is_native(name) else run("dpkg-query", "-s", name)
            else:
                text = (self.folder / name).read_text()
            self.fields_of[name] = text
        return self.fields_of[name]

    def is_native(self, name):
        return (self.folder / f"{name}:{self.arch}.list").exists()

    def field(self, name, key):
        found = re.search(rf"^{key}: (.*)$", self.fields(name), re.M)
        return found.group(1) if found else ""


def needed(readelf, path):
    text = run(readelf, "--dynamic", "--program-headers", "--wide", str(path))
    interpreter = re.search(r"Requesting program interpreter: ([^\]]+)\]", text)
    return re.findall(r"\(NEEDED\).*\[([^\]]+)\]", text), interpreter.group(1) if interpreter else None


def closure(readelf, multiarch, packages, programs):
    """Every library that the programs load, and the loader: path in the sysroot by its name."""
    found, queue, loader = {}, list(programs), None
    while queue:
        names, interpreter = needed(readelf, queue.pop())
        loader = loader or interpreter
        for name in names:
            if name in found:
                continue
            for folder in (f"/lib/{multiarch}", f"/usr/lib/{multiarch}"):
                if packages.outside(f"{folder}/{name}").exists():
                    found[name] = f"{folder}/{name}"
                    queue.append(packages.outside(found[name]))
                    break
            else:
                raise SystemExit(f"build-image: {name} is not in the sysroot")
    return found, loader


def put(target, content, mode):
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_bytes(content)
    target.chmod(mode)


def make_roots(arch, sysroot, build, out):
    multiarch, prefix = ARCHES[arch]
    packages = Packages(sysroot, arch)
    base, programs = out / "base", out / "programs"
    for folder in (base, programs):
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
    for name in PROGRAMS:
        target = programs / "usr/bin" / name
        target.parent.mkdir(parents=True, exist_ok=True)
        run(f"{prefix}strip", "--strip-all", "-o", str(target), str(build / "bin" / name))
        target.chmod(0o755)
    libraries, loader = closure(f"{prefix}readelf", multiarch, packages, [programs / "usr/bin" / n for n in PROGRAMS])
    owners = set()
    for name, path in sorted(libraries.items()):
        if path.endswith(pathlib.Path(loader).name):
            continue  # has its own path, see below
        put(base / f"usr/lib/{multiarch}" / name, packages.outside(path).read_bytes(), 0o644)
        owners.add(packages.of(path))
    put(base / loader.lstrip("/"), packages.outside(loader).read_bytes(), 0o755)
    owners.add(packages.of(loader))
    # From the package, not from /etc/ssl, which may have local additions.
    certificates = sorted(packages.outside("/usr/share/ca-certificates/mozilla").glob("*.crt"))
    if not certificates:
        raise SystemExit("build-image: ca-certificates has no certificates")
    put(base / "etc/ssl/certs/ca-certificates.crt", b"".join(c.read_bytes() for c in certificates), 0o644)
    owners.add("ca-certificates")
    put(base / "etc/passwd", PASSWD.encode(), 0o644)
    put(base / "etc/group", GROUP.encode(), 0o644)
    release = pathlib.Path("/usr/lib/os-release")  # scanners use it to find Debian's advisories
    put(base / "usr/lib/os-release", release.read_bytes(), 0o644)
    (base / "etc/os-release").symlink_to("../usr/lib/os-release")
    for name in sorted(owners):
        put(base / "var/lib/dpkg/status.d" / name, (packages.fields(name).strip() + "\n").encode(), 0o644)
        licence = packages.outside(f"/usr/share/doc/{name}/copyright")
        if licence.exists():
            put(base / f"usr/share/doc/{name}/copyright", licence.read_bytes(), 0o644)
    for folder in [d for root in (base, programs) for d in root.rglob("*") if d.is_dir() and not d.is_symlink()]:
        folder.chmod(0o755)


def built_from(packages, build):
    """The packages with headers, and so with archives, that were compiled into the programs."""
    names, sysroot = set(), str(packages.sysroot).rstrip("/")
    for line in run("ninja", "-C", str(build), "-t", "deps").splitlines():
        path = line.strip()
        if line.startswith("    ") and path.startswith(sysroot + "/usr/"):
            owner = packages.owner.get(packages.canonical(os.path.normpath(path[len(sysroot):])))
            if owner:
                names.add(owner)
    return sorted(names)


def purl(packages, name):
    release = dict(line.split("=", 1) for line in open("/usr/lib/os-release").read().splitlines() if "=" in line)
    arch = packages.field(name, "Architecture")
    return (f"pkg:deb/debian/{name}@{packages.field(name, 'Version').replace(':', '%3A').replace('+', '%2B')}"
            f"?arch={arch}&distro=debian-{release['VERSION_ID'].strip(chr(34))}")


def sha256(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


def spdx_id(text):
    return "SPDXRef-" + re.sub(r"[^A-Za-z0-9.-]", "-", text)


def describe(arch, sysroot, build, out):
    packages = Packages(sysroot, arch)
    digest, version = (out / "digest").read_text().strip(), os.environ["VERSION"]
    revision, epoch = os.environ["REVISION"], int(os.environ["SOURCE_DATE_EPOCH"])
    created = datetime.datetime.fromtimestamp(epoch, datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
    inside = sorted(p.name for p in (out / "base/var/lib/dpkg/status.d").iterdir())
    sources = built_from(packages, build)

    root_id = "SPDXRef-image"
    spdx = {
        "spdxVersion": "SPDX-2.3", "dataLicense": "CC0-1.0", "SPDXID": "SPDXRef-DOCUMENT",
        "name": f"fallbackd-{version}-{arch}",
        "documentNamespace": f"https://fallbackd.io/spdx/fallbackd-{version}-{arch}-{digest.split(':')[1]}",
        "creationInfo": {"created": created, "creators": ["Tool: fallbackd-build-image"]},
        "packages": [{
            "SPDXID": root_id, "name": "fallbackd", "versionInfo": version, "downloadLocation": "NOASSERTION",
            "filesAnalyzed": False, "primaryPackagePurpose": "CONTAINER",
            "checksums": [{"algorithm": "SHA256", "checksumValue": digest.split(":")[1]}],
            "externalRefs": [{"referenceCategory": "PACKAGE-MANAGER", "referenceType": "purl",
                              "referenceLocator": f"pkg:oci/fallbackd@{digest.replace(':', '%3A')}?arch={arch}"}]}],
        "files": [], "relationships": [{"spdxElementId": "SPDXRef-DOCUMENT", "relationshipType": "DESCRIBES",
                                        "relatedSpdxElement": root_id}]}
    for name in sorted(set(inside) | set(sources)):
        spdx["packages"].append({
            "SPDXID": spdx_id(f"deb-{name}"), "name": name, "versionInfo": packages.field(name, "Version"),
            "supplier": "Organization: Debian", "downloadLocation": "NOASSERTION", "filesAnalyzed": False,
            "sourceInfo": f"source package {packages.field(name, 'Source') or name}",
            "externalRefs": [{"referenceCategory": "PACKAGE-MANAGER", "referenceType": "purl",
                              "referenceLocator": purl(packages, name)}]})
        spdx["relationships"].append({
            "spdxElementId": root_id, "relatedSpdxElement": spdx_id(f"deb-{name}"),
            # Headers and archives are compiled in; a library in the image has files.
            "relationshipType": "CONTAINS" if name in inside else "GENERATED_FROM"})
    for layer in ("base", "programs"):
        for path in sorted(p for p in (out / layer).rglob("*") if p.is_file() and not p.is_symlink()):
            name = "/" + str(path.relative_to(out / layer))
            spdx["files"].append({"SPDXID": spdx_id(f"file{name}"), "fileName": "." + name,
                                  "checksums": [{"algorithm": "SHA1", "checksumValue": hashlib.sha1(path.read_bytes()).hexdigest()},
                                                {"algorithm": "SHA256", "checksumValue": sha256(path)}],
                                  "copyrightText": "NOASSERTION", "licenseConcluded": "NOASSERTION"})
            spdx["relationships"].append({"spdxElementId": root_id, "relationshipType": "CONTAINS",
                                          "relatedSpdxElement": spdx_id(f"file{name}")})
    (out / "sbom.spdx.json").write_text(json.dumps(spdx, indent=1) + "\n")

    compiler = run(f"{ARCHES[arch][1]}g++", "--version").splitlines()[0]
    provenance = {
        "_type": "https://in-toto.io/Statement/v1",
        "subject": [{"name": "fallbackd", "digest": {"sha256": digest.split(":")[1]}}],
        "predicateType": "https://slsa.dev/provenance/v1",
        "predicate": {
            "buildDefinition": {
                "buildType": "https://fallbackd.io/build-image/v1",
                "externalParameters": {"revision": revision, "architecture": arch, "version": version},
                "internalParameters": {"SOURCE_DATE_EPOCH": str(epoch), "compiler": compiler},
                "resolvedDependencies": [{"uri": "git+fallbackd", "digest": {"gitCommit": revision.split("-")[0]}}]
                + [{"uri": purl(packages, name)} for name in sorted(set(inside) | set(sources))]},
            "runDetails": {"builder": {"id": "https://fallbackd.io/build-image/offline"},
                           "metadata": {"startedOn": created, "finishedOn": created}}}}
    (out / "provenance.json").write_text(json.dumps(provenance, indent=1) + "\n")


def main():
    verb, arch, sysroot, build, out = sys.argv[1:]
    action = {"root": make_roots, "describe": describe}[verb]
    action(arch, pathlib.Path(sysroot), pathlib.Path(build), pathlib.Path(out))


if __name__ == "__main__":
    main()

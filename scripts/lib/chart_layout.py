#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""chart_layout.py CHART.tgz LAYOUT: writes the packaged chart as an OCI layout with one manifest, as helm pushes it; prints its
digest. helm pushes only by tag; from a layout skopeo pushes by digest, so that the tag can come after the signature."""
import hashlib
import json
import os
import sys
import tarfile

import yaml

CONFIG = "application/vnd.cncf.helm.config.v1+json"
CONTENT = "application/vnd.cncf.helm.chart.content.v1.tar+gzip"
MANIFEST = "application/vnd.oci.image.manifest.v1+json"


def main():
    package, layout = sys.argv[1:]
    blobs = os.path.join(layout, "blobs", "sha256")
    os.makedirs(blobs, exist_ok=True)

    def add(data, kind):
        digest = hashlib.sha256(data).hexdigest()
        with open(os.path.join(blobs, digest), "wb") as file:
            file.write(data)
        return {"mediaType": kind, "digest": f"sha256:{digest}", "size": len(data)}

    def write(name, value):
        with open(os.path.join(layout, name), "w", encoding="utf-8") as file:
            json.dump(value, file)

    with tarfile.open(package) as archive:
        inside = next(one for one in archive.getnames() if one.count("/") == 1 and one.endswith("/Chart.yaml"))
        about = yaml.safe_load(archive.extractfile(inside))
    with open(package, "rb") as file:
        content = add(file.read(), CONTENT)
    manifest = {
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "config": add(json.dumps(about, sort_keys=True).encode(), CONFIG),
        "layers": [content],
        "annotations": {
            "org.opencontainers.image.title": about["name"],
            "org.opencontainers.image.version": about["version"],
            "org.opencontainers.image.description": about["description"],
        },
    }
    entry = add(json.dumps(manifest, sort_keys=True).encode(), MANIFEST)
    entry["annotations"] = {"org.opencontainers.image.ref.name": about["version"]}
    write("oci-layout", {"imageLayoutVersion": "1.0.0"})
    write("index.json", {"schemaVersion": 2, "manifests": [entry]})
    print(entry["digest"])


if __name__ == "__main__":
    main()

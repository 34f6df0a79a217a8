#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""image_index.py NAME OUT LAYOUT...: writes one OCI layout to OUT/oci for the images of several architectures, as an index with
the name NAME. Prints its digest, and writes it to OUT/digest. The same images give the same bytes."""
import hashlib
import json
import pathlib
import shutil
import sys


def blob(layout, digest):
    return layout / "blobs/sha256" / digest.split(":")[1]


def main():
    name, out, layouts = sys.argv[1], pathlib.Path(sys.argv[2]), [pathlib.Path(one) for one in sys.argv[3:]]
    target = out / "oci"
    shutil.rmtree(target, ignore_errors=True)
    (target / "blobs/sha256").mkdir(parents=True)
    manifests = []
    for layout in layouts:
        [entry] = json.loads((layout / "index.json").read_text())["manifests"]
        config = json.loads(blob(layout, json.loads(blob(layout, entry["digest"]).read_text())["config"]["digest"]).read_text())
        manifests.append({"mediaType": entry["mediaType"], "digest": entry["digest"], "size": entry["size"],
                          "platform": {"os": config["os"], "architecture": config["architecture"]}})
        for file in (layout / "blobs/sha256").iterdir():
            shutil.copyfile(file, target / "blobs/sha256" / file.name)
    media_type = "application/vnd.oci.image.index.v1+json"
    index = json.dumps({"schemaVersion": 2, "mediaType": media_type, "manifests": manifests}, separators=(",", ":")).encode()
    digest = "sha256:" + hashlib.sha256(index).hexdigest()
    blob(target, digest).write_bytes(index)
    (target / "oci-layout").write_text('{"imageLayoutVersion":"1.0.0"}')
    annotations = {"org.opencontainers.image.ref.name": name, "io.containerd.image.name": name}
    (target / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": [
        {"mediaType": media_type, "digest": digest, "size": len(index), "annotations": annotations}]}) + "\n")
    (out / "digest").write_text(digest + "\n")
    print(digest)


main()

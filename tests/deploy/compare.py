#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""compare.py CHART.yaml KUSTOMIZE.yaml: checks that both define the same objects. Ignores labels and annotations that
name the tool and the release, which only Helm sets, its hooks, and digests at the end of ConfigMap names; all else must be
equal."""
import re
import sys

import yaml

HELM_ONLY = {"app.kubernetes.io/instance", "app.kubernetes.io/version", "app.kubernetes.io/managed-by", "helm.sh/chart", "helm.sh/resource-policy"}


def without_release(value):
    if isinstance(value, dict):
        kept = {k: without_release(v) for k, v in value.items() if k not in HELM_ONLY}
        return {k: v for k, v in kept.items() if k != "annotations" or v}
    if isinstance(value, list):
        return [without_release(v) for v in value]
    if isinstance(value, str):
        return re.sub(r"^(fallbackd-keys)-[a-z0-9]{10}$", r"\1-DIGEST", value)
    return value


def normalised(value):
    """Treats lists of named items as sets where their order does not matter to Kubernetes."""
    if isinstance(value, dict):
        return {k: (sorted(map(normalised, v), key=lambda e: (e["name"], e.get("mountPath", "")))
                    if k in ("volumes", "volumeMounts") else normalised(v)) for k, v in value.items()}
    if isinstance(value, list):
        return [normalised(v) for v in value]
    return value


def objects(path):
    found = {}
    for item in yaml.safe_load_all(open(path)):
        if item and "helm.sh/hook" not in item["metadata"].get("annotations", {}):
            item = normalised(without_release(item))
            found[item["kind"], item["metadata"]["name"]] = item
    return found


def differences(a, b, where=""):
    if isinstance(a, dict) and isinstance(b, dict):
        for key in sorted(set(a) | set(b)):
            yield from differences(a.get(key), b.get(key), f"{where}.{key}")
    elif isinstance(a, list) and isinstance(b, list) and len(a) == len(b):
        for i, (x, y) in enumerate(zip(a, b)):
            yield from differences(x, y, f"{where}[{i}]")
    elif a != b:
        yield f"{where}: {a!r} in the chart, {b!r} in kustomize"


def main():
    chart, kustomize = objects(sys.argv[1]), objects(sys.argv[2])
    wrong = []
    for key in sorted(set(chart) | set(kustomize)):
        found = list(differences(chart.get(key), kustomize.get(key)))
        print(f"{key[0]} {key[1]}\t{'equal' if not found else 'DIFFERS'}")
        wrong += [f"{key[0]} {key[1]}{d[:300]}" for d in found]
    print("\n".join(wrong))
    return 1 if wrong or not chart else 0


sys.exit(main())

#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""chart_readme.py CHART: prints the chart's README, with a table of its values. The purpose of a value is in a comment
above it or after it in values.yaml; a comment above several keys counts for the first."""
import json
import re
import sys

import yaml

HEAD = """<!-- Generated from values.yaml: scripts/lib/chart_readme.py deploy/helm/fallbackd > deploy/helm/fallbackd/README.md -->
# {name}

{description}.

```
kubectl create namespace fallbackd-system
kubectl label namespace fallbackd-system pod-security.kubernetes.io/enforce=privileged pod-security.kubernetes.io/warn=privileged
helm install fallbackd deploy/helm/fallbackd --namespace fallbackd-system \\
  --set image.repository=registry.example.com/infra/fallbackd \\
  --set-file "keys.shop\\.pub=shop.pub" --set-file "dropIns.shop\\.yaml=shop.yaml"
kubectl -n fallbackd-system rollout status daemonset/fallbackd
helm test fallbackd --namespace fallbackd-system
```

`image.repository` is where you pushed the image, `shop.pub` is the public half of the key that signs the binaries, and `shop.yaml`
is the output of `fallbackctl init` for a Deployment. The label is for clusters that enforce pod security: fallbackd needs host
paths and the host's process IDs. Without the first two commands,
`--create-namespace --set namespace.create=true` does the same with Helm 4; with Helm 3 the label is then missing, and the
installation prints the command that adds it. `helm uninstall` keeps the namespace. An existing namespace is never changed.

## Values

| key | default | purpose |
| --- | --- | --- |
"""


def rows(path):
    """(key, purpose) of each line with a key, in the order of the file."""
    above, keys, found = [], [], []
    for line in open(path):
        comment = re.match(r"^( *)# (.*)$", line)
        if comment and not line.startswith("#  "):
            above.append((len(comment.group(1)), comment.group(2)))
            continue
        entry = re.match(r"^( *)([A-Za-z][\w.]*):(?: ([^#]*?))?(?: +# (.*))?$", line.rstrip())
        if entry is None:
            above = []  # an example, or the next section
            continue
        indent = len(entry.group(1)) // 2
        keys[indent:] = [entry.group(2)]
        purpose = " ".join(text for depth, text in above if depth // 2 == indent)
        above = []
        found.append((tuple(keys), " ".join(filter(None, [purpose, entry.group(4)]))))
    return found


def at(values, keys):
    for key in keys:
        if not isinstance(values, dict) or key not in values:
            raise KeyError
        values = values[key]
    return values


def main():
    chart = sys.argv[1]
    about = yaml.safe_load(open(f"{chart}/Chart.yaml"))
    values = yaml.safe_load(open(f"{chart}/values.yaml"))
    out = HEAD.format(**about)
    listed = set()
    found = rows(f"{chart}/values.yaml")
    for keys, purpose in found:
        try:
            value = at(values, keys)
        except KeyError:
            continue  # an item of a list
        # Maps of values have a row for each value, maps that are a value have one.
        inner = isinstance(value, dict) and value and keys[0] not in ("config", "nodeSelector", "resources")
        if not inner and any(keys[: n + 1] in listed for n in range(len(keys) - 1)):
            continue
        if inner and not purpose:
            continue
        if not inner:
            listed.add(keys)
        default = "" if inner else f"`{json.dumps(value, ensure_ascii=False)}`"
        purpose = purpose.replace("|", "\\|")
        out += f"| `{'.'.join(keys)}` | {default} | {purpose} |\n"
    sys.stdout.write(out)


main()

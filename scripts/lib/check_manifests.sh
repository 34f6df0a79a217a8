# SPDX-License-Identifier: Apache-2.0
# Sourced by check-deploy, which defines check and refused: everything that needs helm, kubectl or Kubernetes' schemas.

step "chart and kustomize"
render() { # NAME OVERLAY
  "$helm" template fallbackd "$chart" --namespace fallbackd-system --values "$chart/ci/$1-values.yaml" >"$out/$1-chart.yaml" &&
    "$kubectl" kustomize "deploy/kustomize/$2" >"$out/$1-kustomize.yaml"
}
for one in default:base example:overlays/example kubernetes:overlays/kubernetes events:overlays/events namespace-pause:overlays/namespace-pause monitoring:overlays/monitoring mirror:overlays/mirror without-api-server:overlays/without-api-server image-volumes:overlays/image-volumes; do
  name=${one%%:*}
  check "helm lint, $name" "$helm" lint --strict --quiet "$chart" --values "$chart/ci/$name-values.yaml"
  check "rendering, $name" render "$name" "${one#*:}"
  check "the same objects, $name" python3 tests/deploy/compare.py "$out/$name-chart.yaml" "$out/$name-kustomize.yaml"
  cp "$out/log" "$out/same-$name"
done
# Images of real hosts (neither examples nor placeholders) in what can be installed unchanged.
refused_registries() {
  ! grep -rnE 'image(Name)?:|reference:|Image:' deploy/helm/fallbackd/{values.yaml,templates,ci} deploy/kustomize --include='*.yaml' |
    grep -E '[a-z0-9-]+\.[a-z0-9.-]+/' | grep -vE 'registry\.example\.com/|not-set\.invalid/'
}
# The schema must also refuse something.
for wrong in image.pullPolicy=Sometimes image.digest=sha256:12 imagee.tag=1 keys.shop=x hostPaths.cache=opt packs[0].name=A maxUnavailable=0 packsKeep=-1 kubernetes.kubeletCertificate=x kubernetes.events=true kubernetes.namespacePause=all; do
  check "values refused: $wrong" refused "values don't meet the specifications of the schema" "$helm" template fallbackd "$chart" --set image.repository=r.example.com/fallbackd --set "$wrong"
done
check "no image but yours: chart" refused "image.repository is required" "$helm" template fallbackd "$chart"
check "no registry but yours in defaults" refused_registries
check "no image but yours: kustomize" grep -q 'image: not-set.invalid/fallbackd:' "$out/default-kustomize.yaml"
for version in 1.24.0 1.29.0 1.33.0; do
  check "rendering for Kubernetes $version" "$helm" template fallbackd "$chart" --set image.repository=r.example.com/fallbackd --kube-version "$version"
done
check "the effect of each value" node tests/deploy/chart.mjs "$tools" "$chart"
check "installing both on the tests' API server" node tests/deploy/install.mjs "$tools" "$root" "$root/build/release/bin/fallbackctl" "$out/installed.yaml"
cp "$out/log" "$out/installed"
step "Kubernetes' schemas"
check "every object" node tests/deploy/validate.mjs "$tools" "$out"/{default,example,kubernetes,events,namespace-pause,monitoring,mirror,without-api-server,image-volumes}-{chart,kustomize}.yaml "$out/installed.yaml"
cp "$out/log" "$out/schemas"
# They must also refuse something: a misspelt key and a wrong type.
sed '0,/hostPID: true/s//hostPid: true/' "$out/default-kustomize.yaml" >"$out/misspelt.yaml"
sed '0,/containerPort: 9477/s//containerPort: "9477"/' "$out/default-kustomize.yaml" >"$out/mistyped.yaml"
check "an object refused: misspelt" refused 'hostPid.*does not exist' node tests/deploy/validate.mjs "$tools" "$out/misspelt.yaml"
check "an object refused: mistyped" refused containerPort node tests/deploy/validate.mjs "$tools" "$out/mistyped.yaml"
step "policies"
policies=deploy/policies/validating-admission-policy.yaml
check "kustomize" "$kubectl" kustomize deploy/policies
check "every object" node tests/deploy/validate.mjs "$tools" "$policies" deploy/policies/role.yaml
# An npm library evaluates CEL; there is none that runs Kyverno's policies.
check "who may choose a fallback" node tests/deploy/policies.mjs "$tools" "$policies"
cp "$out/log" "$out/policies"
sed "s/ k.startsWith('fallbackd.io\/image.'))/ k.startsWith(1))/" "$policies" >"$out/mistyped.yaml"
check "an expression refused: mistyped" refused "startsWith" node tests/deploy/policies.mjs "$tools" "$out/mistyped.yaml"
sed "s/resource('images')/resource('binaries')/" "$policies" >"$out/lax.yaml"
check "a policy refused: too lax" refused "an image: admitted" node tests/deploy/policies.mjs "$tools" "$out/lax.yaml"
sed 's/validationActions/validationAction/' "$policies" >"$out/misspelt.yaml"
check "a policy refused: misspelt" refused validationAction node tests/deploy/validate.mjs "$tools" "$out/misspelt.yaml"
step "configuration"
for one in default example kubernetes events namespace-pause monitoring mirror without-api-server image-volumes; do
  for from in chart kustomize; do
    python3 - "$out/$one-$from.yaml" >"$out/fallbackd.yaml" <<'PY'
import sys, yaml
for item in yaml.safe_load_all(open(sys.argv[1])):
    if item and item["kind"] == "ConfigMap" and item["metadata"]["name"] == "fallbackd":
        sys.stdout.write(item["data"]["fallbackd.yaml"])
PY
    check "check-config, $one of $from" build/release/bin/fallbackctl check-config --config "$out/fallbackd.yaml"
  done
done
build/release/bin/fallbackctl describe-config --format schema >"$out/schema.json"
check "the editors' schema accepts every example" node tests/deploy/schema.mjs "$tools" "$out/schema.json" config/fallbackd.yaml \
  config/conf.d/payment.yaml deploy/kustomize/overlays/example/fallbackd.yaml "$out/fallbackd.yaml"
sed 's/^cache:/cahce:/' config/fallbackd.yaml >"$out/mistake.yaml"
check "and refuses a misspelt key" refused cahce node tests/deploy/schema.mjs "$tools" "$out/schema.json" "$out/mistake.yaml"
sed 's/threshold: 1 /threshold: 99 /' config/fallbackd.yaml >"$out/mistake.yaml"
check "and a number too large" refused threshold node tests/deploy/schema.mjs "$tools" "$out/schema.json" "$out/mistake.yaml"
rm -f "$out"/{fallbackd.yaml,mistake.yaml,schema.json}

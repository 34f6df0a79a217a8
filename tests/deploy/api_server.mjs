// SPDX-License-Identifier: Apache-2.0
// As much of an API server as helm and kubectl need: discovery, objects, watches, server-side apply. It checks each object
// against Kubernetes' published schemas and runs nothing: a Pod has succeeded as soon as it exists; one that a controller
// owns is running. On loopback, in this process. `operator`: it also knows the kinds of the Prometheus operator.
// `exec(argv)` returns {code, stdout, stderr}: the result that `kubectl exec` shows for a command in any container.
import {mkdirSync, writeFileSync} from 'node:fs';
import {createServer} from 'node:http';
import {createRequire} from 'node:module';
import {join} from 'node:path';
import {pathToFileURL} from 'node:url';

const kinds = [
  ['', 'v1', 'Namespace', 'namespaces', false],
  ...['ConfigMap', 'Event', 'Pod', 'Secret', 'Service', 'ServiceAccount'].map((kind) => ['', 'v1', kind, `${kind.toLowerCase()}s`, true]),
  ...['ControllerRevision', 'DaemonSet', 'Deployment', 'ReplicaSet', 'StatefulSet'].map((kind) => ['apps', 'v1', kind, `${kind.toLowerCase()}s`, true]),
  ['batch', 'v1', 'Job', 'jobs', true],
  ['networking.k8s.io', 'v1', 'NetworkPolicy', 'networkpolicies', true],
  ...['ClusterRole', 'ClusterRoleBinding'].map((kind) => ['rbac.authorization.k8s.io', 'v1', kind, `${kind.toLowerCase()}s`, false]),
  ...['Role', 'RoleBinding'].map((kind) => ['rbac.authorization.k8s.io', 'v1', kind, `${kind.toLowerCase()}s`, true]),
];
const operatorKinds = [
  ['monitoring.coreos.com', 'v1', 'PodMonitor', 'podmonitors', true],
  ['monitoring.coreos.com', 'v1', 'PrometheusRule', 'prometheusrules', true],
];

const shortNames = {namespaces: ['ns'], daemonsets: ['ds'], deployments: ['deploy'], configmaps: ['cm'], pods: ['po'], serviceaccounts: ['sa']};

const isMap = (value) => value !== null && typeof value === 'object' && !Array.isArray(value);
// A merge patch: null removes a key.
function merged(into, patch) {
  if (!isMap(into) || !isMap(patch)) return patch;
  const out = {...into};
  for (const [key, value] of Object.entries(patch)) {
    if (value === null) delete out[key];
    else out[key] = key in out ? merged(out[key], value) : value;
  }
  return out;
}
// Server-side apply: removes what the manager applied before and omits now. Lists are replaced.
function without(object, before, now) {
  const out = {...object};
  for (const [key, value] of Object.entries(before)) {
    if (!(key in now)) delete out[key];
    else if (isMap(value) && isMap(now[key]) && isMap(out[key])) out[key] = without(out[key], value, now[key]);
  }
  return out;
}
function selects(selector, labels = {}) {
  return selector.split(/,(?![^(]*\))/).filter(Boolean).every((term) => {
    const among = term.match(/^(\S+) in \((.*)\)$/);
    if (among) return among[2].split(',').includes(labels[among[1]]);
    const [key, value] = term.split(/==?/);
    return value === undefined ? key in labels : labels[key] === value;
  });
}

// Helm's own Secrets and kubectl's Namespaces arrive as protobuf: fields by number, and only the fields that they use.
function fromProtobuf(kind, bytes) {
  const fields = (part) => {
    const found = [];
    for (let at = 0; at < part.length;) {
      const number = () => {
        let value = 0;
        for (let shift = 0; ; shift += 7) {
          const byte = part[at++];
          value += (byte & 127) * 2 ** shift;
          if (byte < 128) return value;
        }
      };
      const tag = number();
      if ((tag & 7) === 0) number();
      else {
        const length = number();
        found.push([tag >> 3, part.subarray(at, at + length)]);
        at += length;
      }
    }
    return found;
  };
  const one = (list, wanted) => list.find(([number]) => number === wanted)?.[1] ?? Buffer.alloc(0);
  const map = (list, wanted, encoding) => Object.fromEntries(list.filter(([number]) => number === wanted).map(([, entry]) => {
    const pair = fields(entry);
    return [one(pair, 1).toString(), one(pair, 2).toString(encoding)];
  }));
  const object = fields(one(fields(bytes.subarray(4)), 2));
  const own = fields(one(object, 1));
  const metadata = {name: one(own, 1).toString(), labels: map(own, 11)};
  if (kind === 'Namespace') return {metadata};
  if (kind !== 'Secret') throw new Error(`${kind} in protobuf`);
  return {metadata: {...metadata, namespace: one(own, 3).toString()}, data: map(object, 2, 'base64'), type: one(object, 3).toString()};
}

export async function startApiServer(tools, folder, {operator = false, exec} = {}) {
  const library = createRequire(join(tools, 'package.json'));
  const yaml = library('js-yaml');
  const known = [...kinds, ...(operator ? operatorKinds : [])].map(([group, version, kind, plural, namespaced]) => ({group, version, kind, plural, namespaced}));
  const groupVersion = (one) => (one.group ? `${one.group}/${one.version}` : one.version);
  const root = (one) => (one.group ? `/apis/${groupVersion(one)}` : '/api/v1');
  const store = new Map();  // by path
  const applied = new Map();  // by path and manager
  const watchers = new Set();
  let version = 0;

  async function check(one, object) {
    const at = one.group === 'monitoring.coreos.com' ? '@kubernetes-models/prometheus-operator' : 'kubernetes-models';
    const file = join(tools, 'node_modules', at, one.group, one.version, `${one.kind}.js`);
    const model = await import(pathToFileURL(file).href);
    new model[one.kind](object).validate();
  }
  function status(code, reason, message) {
    return [code, {kind: 'Status', apiVersion: 'v1', metadata: {}, status: code < 300 ? 'Success' : 'Failure', reason, message, code}];
  }
  function tell(type, path, object) {
    for (const watcher of watchers) {
      if (path.slice(0, path.lastIndexOf('/')) === watcher.collection || path === watcher.collection || watcher.everywhere(path)) {
        if (watcher.wants(object)) watcher.response.write(JSON.stringify({type, object}) + '\n');
      }
    }
  }
  async function put(one, path, object) {
    object.apiVersion = groupVersion(one);
    object.kind = one.kind;
    await check(one, object);
    const there = store.get(path);
    object.metadata = {
      ...object.metadata, resourceVersion: String(++version), uid: there?.metadata.uid ?? `00000000-0000-0000-0000-${String(version).padStart(12, '0')}`,
      creationTimestamp: there?.metadata.creationTimestamp ?? '2026-01-01T00:00:00Z', generation: 1,
    };
    if (one.kind === 'Pod') {
      object.status = object.metadata.ownerReferences?.length
        ? {phase: 'Running', conditions: [{type: 'Ready', status: 'True'}]}
        : {phase: 'Succeeded', conditions: [{type: 'Ready', status: 'False', reason: 'PodCompleted'}]};
    }
    if (one.kind === 'DaemonSet') {
      object.status = {observedGeneration: 1, desiredNumberScheduled: 1, currentNumberScheduled: 1, updatedNumberScheduled: 1, numberAvailable: 1, numberReady: 1, numberMisscheduled: 0};
    }
    if (one.kind === 'Namespace') object.status = {phase: 'Active'};
    store.set(path, object);
    tell(there ? 'MODIFIED' : 'ADDED', path, object);
    return [there ? 200 : 201, object];
  }

  function discovery(path) {
    const resources = (list) => list.map((one) => ({
      name: one.plural, shortNames: shortNames[one.plural], singularName: one.kind.toLowerCase(), namespaced: one.namespaced, kind: one.kind,
      verbs: ['create', 'delete', 'get', 'list', 'patch', 'update', 'watch'],
    }));
    if (path === '/version') return {major: '1', minor: '35', gitVersion: 'v1.35.0'};
    if (path === '/api') return {kind: 'APIVersions', versions: ['v1']};
    const groups = [...new Set(known.map((one) => one.group))].filter(Boolean);
    if (path === '/apis') {
      return {kind: 'APIGroupList', apiVersion: 'v1', groups: groups.map((name) => {
        const preferredVersion = {groupVersion: `${name}/v1`, version: 'v1'};
        return {name, versions: [preferredVersion], preferredVersion};
      })};
    }
    const roots = new Map(known.map((one) => [root(one), groupVersion(one)]));
    if (roots.has(path)) {
      return {kind: 'APIResourceList', apiVersion: 'v1', groupVersion: roots.get(path), resources: resources(known.filter((one) => root(one) === path))};
    }
    if (path === '/openapi/v3') {
      return {paths: Object.fromEntries([...roots.keys()].map((at) => [at.slice(1), {serverRelativeURL: `/openapi/v3${at}`}]))};
    }
    // Only the part that shows a client that the server checks the fields.
    if (path.startsWith('/openapi/v3/')) {
      const at = path.slice('/openapi/v3'.length);
      const patch = (one) => ({
        parameters: [{name: 'fieldValidation', in: 'query', schema: {type: 'string'}}],
        responses: {200: {description: 'OK'}},
        'x-kubernetes-group-version-kind': {group: one.group, version: one.version, kind: one.kind},
      });
      return {
        openapi: '3.0.0', info: {title: 'Kubernetes', version: 'v1.35.0'}, components: {schemas: {}},
        paths: Object.fromEntries(known.filter((one) => root(one) === at).map((one) => [
          `${at}/${one.namespaced ? 'namespaces/{namespace}/' : ''}${one.plural}/{name}`, {patch: patch(one)}])),
      };
    }
    return null;
  }

  // The meaning of a path: a kind, its namespace, perhaps a name.
  function meant(path) {
    for (const one of known) {
      const own = new RegExp(`^${root(one)}/${one.namespaced ? '(?:namespaces/([^/]+)/)?' : '()'}${one.plural}(?:/([^/]+))?$`);
      const found = path.match(own);
      if (found) return {one, namespace: found[1] ?? '', name: found[2] ?? ''};
    }
    return null;
  }

  async function answer(request, url, body, response) {
    const path = url.pathname;
    const found = request.method === 'GET' ? discovery(path) : null;
    if (found) return [200, found];
    const target = meant(path);
    if (!target) return status(404, 'NotFound', `the server could not find the requested resource (${request.method} ${path})`);
    const {one, namespace, name} = target;
    const there = name ? store.get(path) : undefined;
    const absent = () => status(404, 'NotFound', `${one.plural} "${name}" not found`);
    const type = (request.headers['content-type'] ?? '').split(';')[0];
    const object = !body.length ? null
      : type.includes('protobuf') ? (request.method === 'DELETE' ? null : fromProtobuf(one.kind, body))
        : type.includes('yaml') ? yaml.load(body.toString()) : JSON.parse(body.toString());
    if (object && request.method !== 'DELETE' && namespace && !store.has(`/api/v1/namespaces/${namespace}`)) {
      return status(404, 'NotFound', `namespaces "${namespace}" not found`);
    }
    switch (request.method) {
      case 'GET': {
        const label = url.searchParams.get('labelSelector') ?? '';
        const [field, value] = (url.searchParams.get('fieldSelector') ?? '').split('=');
        const fields = {'metadata.name': (item) => item.metadata.name, 'spec.nodeName': (item) => item.spec?.nodeName};
        if (field && !fields[field]) return status(400, 'BadRequest', `field label not supported: ${field}`);
        const wants = (item) => selects(label, item.metadata.labels) && (!field || fields[field](item) === value);
        const everywhere = (at) => meant(at)?.one === one && !namespace;
        const items = () => [...store].filter(([at, item]) => (at.startsWith(`${path}/`) || everywhere(at)) && meant(at)?.one === one && wants(item)).map(([, item]) => item);
        if (!name && url.searchParams.get('watch')) {
          response.writeHead(200, {'content-type': 'application/json'});
          response.flushHeaders();
          const since = Number(url.searchParams.get('resourceVersion') || 0);
          for (const item of items()) if (Number(item.metadata.resourceVersion) > since) response.write(JSON.stringify({type: 'ADDED', object: item}) + '\n');
          if (url.searchParams.get('sendInitialEvents')) {
            const metadata = {resourceVersion: String(version), annotations: {'k8s.io/initial-events-end': 'true'}};
            response.write(JSON.stringify({type: 'BOOKMARK', object: {apiVersion: groupVersion(one), kind: one.kind, metadata}}) + '\n');
          }
          const watcher = {collection: path, everywhere, wants, response};
          watchers.add(watcher);
          request.on('close', () => watchers.delete(watcher));
          return null;
        }
        if (name) return there ? [200, there] : absent();
        return [200, {kind: `${one.kind}List`, apiVersion: groupVersion(one), metadata: {resourceVersion: String(version)}, items: items()}];
      }
      case 'POST': {
        const at = `${path}/${object.metadata.name}`;
        if (store.has(at)) return status(409, 'AlreadyExists', `${one.plural} "${object.metadata.name}" already exists`);
        return put(one, at, one.namespaced ? {...object, metadata: {...object.metadata, namespace}} : object);
      }
      case 'PUT':
        return there ? put(one, path, object) : absent();
      case 'PATCH': {
        if (type !== 'application/apply-patch+yaml') return there ? put(one, path, merged(there, object)) : absent();
        const manager = `${path} ${url.searchParams.get('fieldManager')}`;
        const base = there ? without(there, applied.get(manager) ?? {}, object) : {};
        const answered = await put(one, path, merged(base, one.namespaced ? merged(object, {metadata: {namespace}}) : object));
        applied.set(manager, object);
        return answered;
      }
      case 'DELETE':
        if (!there) return absent();
        store.delete(path);
        for (const manager of applied.keys()) if (manager.startsWith(`${path} `)) applied.delete(manager);
        tell('DELETED', path, there);
        return status(200, '', '');
      default:
        return status(405, 'MethodNotAllowed', request.method);
    }
  }

  const server = createServer((request, response) => {
    const parts = [];
    request.on('data', (part) => parts.push(part));
    request.on('end', async () => {
      let answered;
      try {
        answered = await answer(request, new URL(request.url, 'http://loopback'), Buffer.concat(parts), response);
      } catch (error) {
        answered = status(422, 'Invalid', error.message);
      }
      if (!answered) return;
      // The old form of discovery, which a client tries for what it did not find in the new one: empty, as protobuf.
      if (request.url.startsWith('/openapi/v2')) {
        response.writeHead(200, {'content-type': 'application/com.github.proto-openapi.spec.v2.v1.0+protobuf'});
        response.end();
        return;
      }
      response.writeHead(answered[0], {'content-type': 'application/json'});
      response.end(JSON.stringify(answered[1]));
    });
  });
  // kubectl's exec: the first byte of each message is its stream; stream 3 carries the command's result.
  if (exec) {
    const {WebSocketServer} = library('ws');
    const sockets = new WebSocketServer({noServer: true, handleProtocols: (offered) => [...offered].find((one) => one === 'v5.channel.k8s.io') ?? false});
    server.on('upgrade', (request, socket, head) => {
      const url = new URL(request.url, 'http://loopback');
      const pod = url.pathname.endsWith('/exec') ? store.get(url.pathname.slice(0, -'/exec'.length)) : undefined;
      if (!pod?.spec.containers.some((one) => one.name === url.searchParams.get('container'))) {
        socket.end('HTTP/1.1 404 Not Found\r\n\r\n');
        return;
      }
      sockets.handleUpgrade(request, socket, head, async (stream) => {
        const {code, stdout, stderr} = await exec(url.searchParams.getAll('command'));
        const failure = {status: 'Failure', reason: 'NonZeroExitCode', message: `command terminated with exit code ${code}`, details: {causes: [{reason: 'ExitCode', message: String(code)}]}};
        const end = JSON.stringify({metadata: {}, ...(code === 0 ? {status: 'Success'} : failure)});
        for (const [channel, text] of [[1, stdout], [2, stderr], [3, end]]) if (text) stream.send(Buffer.concat([Buffer.of(channel), Buffer.from(text)]));
        stream.close(1000);
      });
    });
  }
  await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve));
  mkdirSync(folder, {recursive: true});
  const kubeconfig = join(folder, 'kubeconfig');
  writeFileSync(kubeconfig, JSON.stringify({
    apiVersion: 'v1', kind: 'Config', 'current-context': 'test',
    clusters: [{name: 'test', cluster: {server: `http://127.0.0.1:${server.address().port}`}}],
    contexts: [{name: 'test', context: {cluster: 'test', user: 'test'}}], users: [{name: 'test', user: {}}],
  }));
  return {
    kubeconfig,
    objects: () => [...store.values()],
    find: (kind, name, namespace) => [...store.values()].find((item) =>
      item.kind === kind && item.metadata.name === name && (namespace === undefined || item.metadata.namespace === namespace)),
    stop: () => new Promise((resolve) => {
      for (const watcher of watchers) watcher.response.end();
      server.close(resolve);
      server.closeAllConnections();
    }),
  };
}

// SPDX-License-Identifier: Apache-2.0
// node policies.mjs TOOLS POLICIES.yaml: compiles every CEL expression of the ValidatingAdmissionPolicies, with types,
// and evaluates requests with them: who may choose a fallback by annotation, and which requests they ignore. The library
// is not the API server's and checks no costs: this program counts them as far as they matter.
import {readFileSync} from 'node:fs';
import {createRequire} from 'node:module';
import {join} from 'node:path';
import {pathToFileURL} from 'node:url';

const [tools, file] = process.argv.slice(2);
const require = createRequire(join(tools, 'package.json'));
const yaml = require('js-yaml');
const {Environment} = await import(pathToFileURL(join(tools, 'node_modules/@marcbachmann/cel-js/lib/index.js')).href);

// The authorizer of the API server, as far as the policies use it. `granted`: the requester's "namespace/resource" entries.
class Decision { constructor(yes) { this.yes = yes; } }
class Check { constructor(parts) { Object.assign(this, parts); } }
class Authorizer { constructor(granted) { this.granted = granted; } }

let checks = 0;
const base = new Environment({unlistedVariablesAreDyn: false})
  .registerType('Decision', {ctor: Decision, fields: {}})
  .registerType('Check', {ctor: Check, fields: {}})
  .registerType('Authorizer', {ctor: Authorizer, fields: {}})
  .registerFunction('Authorizer.group(string): Check', (a, group) => new Check({a, group}))
  .registerFunction('Check.resource(string): Check', (c, resource) => new Check({...c, resource}))
  .registerFunction('Check.namespace(string): Check', (c, namespace) => new Check({...c, namespace}))
  .registerFunction('Check.check(string): Decision', (c, verb) => {
    ++checks;
    return new Decision(c.group === 'fallbackd.io' && verb === 'choose' && c.a.granted.has(`${c.namespace}/${c.resource}`));
  })
  .registerFunction('Decision.allowed(): bool', (d) => d.yes)
  .registerVariable('object', 'dyn')
  .registerVariable('oldObject', 'dyn')
  .registerVariable('request', 'dyn')
  .registerVariable({name: 'variables', schema: {now: 'map<string, string>', before: 'map<string, string>', chosen: 'list<string>'}})
  .registerVariable('authorizer', 'Authorizer');

function compiled(expression, type, where) {
  const result = base.check(expression);
  if (!result.valid) throw new Error(`${where}: ${result.error.message}`);
  if (result.type !== type && result.type !== 'dyn') throw new Error(`${where}: ${result.type}, not ${type}`);
  const run = base.parse(expression);
  return (context) => run(context);
}

const policies = yaml.loadAll(readFileSync(file, 'utf8')).filter((o) => o?.kind === 'ValidatingAdmissionPolicy').map(({metadata, spec}) => ({
  name: metadata.name,
  rules: spec.matchConstraints.resourceRules,
  conditions: spec.matchConditions.map((c) => compiled(c.expression, 'bool', `${metadata.name}, ${c.name}`)),
  variables: spec.variables.map((v) => [v.name, compiled(v.expression, v.name === 'chosen' ? 'list<string>' : 'map<dyn, dyn>', `${metadata.name}, ${v.name}`)]),
  validations: spec.validations.map((v, i) => [compiled(v.expression, 'bool', `${metadata.name}, validation ${i}`), compiled(v.messageExpression, 'string', `${metadata.name}, message ${i}`)]),
}));

// The message of the refusal; '' if the request is admitted.
function decide({group = '', resource, operation, object, oldObject = null, user, granted = []}) {
  const request = {operation, namespace: 'shop', userInfo: {groups: [], ...user}};
  for (const policy of policies) {
    if (!policy.rules.some((r) => r.apiGroups.includes(group) && r.resources.includes(resource) && r.operations.includes(operation))) continue;
    const context = {object, oldObject, request, authorizer: new Authorizer(new Set(granted)), variables: {}};
    if (!policy.conditions.every((condition) => condition(context))) continue;
    for (const [name, value] of policy.variables) context.variables[name] = value(context);
    for (const [holds, message] of policy.validations) {
      checks = 0;
      const held = holds(context);
      // Each check costs a third of an expression's limit.
      if (checks > 2) throw new Error(`${policy.name}: more than two checks of the authorizer in one expression`);
      if (!held) return message(context);
    }
  }
  return '';
}

const binary = {'fallbackd.io/binary.app': 'checkout@1.8.3'};
const image = {'fallbackd.io/image.app': 'r/checkout:1.8.3'};
const many = Object.fromEntries(Array.from({length: 20}, (_, i) => [`fallbackd.io/binary.c${i}`, 'x@1']));
const shapes = [
  ['', 'pods', (annotations) => ({metadata: {name: 'x', ...(annotations && {annotations})}})],
  ...['daemonsets', 'deployments', 'replicasets', 'statefulsets'].map((resource) => ['apps', resource, template]),
  ['', 'replicationcontrollers', template],
  ['batch', 'jobs', template],
  ['batch', 'cronjobs', (annotations) => ({spec: {jobTemplate: template(annotations)}})],
];
function template(annotations) {
  return {metadata: {annotations: binary}, spec: {template: annotations === null ? {spec: {}} : {metadata: annotations ? {annotations} : {}, spec: {}}}};
}
const alice = {username: 'alice'};
const both = ['shop/binaries', 'shop/images'];
const controller = {username: 'system:serviceaccount:kube-system:replicaset-controller'};
let failed = 0;
let done = 0;
function expect(what, request, text) {
  ++done;
  const got = decide(request);
  if (text === '' ? got === '' : got.includes(text)) return;
  ++failed;
  console.log(`${what}: ${got || 'admitted'}, not ${text || 'admitted'}`);
}
for (const [group, resource, make] of shapes) {
  const create = (annotations, user = alice, granted = []) => ({group, resource, operation: 'CREATE', object: make(annotations), user, granted});
  const update = (before, after, granted = []) => ({group, resource, operation: 'UPDATE', oldObject: make(before), object: make(after), user: alice, granted});
  const no = 'alice may not choose a fallback in shop: choose on binaries';
  const noImage = 'alice may not name the image of a fallback in shop';
  expect(`${resource}: no annotation`, create(undefined), '');
  if (resource !== 'pods') expect(`${resource}: a template without metadata`, create(null), '');
  expect(`${resource}: a different annotation`, create({'example.com/a': 'b', 'fallbackd.io/other': 'x'}), '');
  expect(`${resource}: a binary`, create(binary), no);
  expect(`${resource}: a binary, granted`, create(binary, alice, both), '');
  expect(`${resource}: a binary, granted elsewhere`, create(binary, alice, ['bank/binaries']), no);
  expect(`${resource}: an image`, create(image, alice, ['shop/binaries']), noImage);
  expect(`${resource}: an image, granted`, create(image, alice, both), '');
  expect(`${resource}: many`, create(many, alice, both), '');
  expect(`${resource}: by a controller`, create(binary, controller), '');
  expect(`${resource}: by a user with such a name`, create(binary, {username: 'system:serviceaccount:shop:replicaset-controller'}), 'may not choose');
  expect(`${resource}: by a node`, create(binary, {username: 'system:node:n1', groups: ['system:nodes']}), '');
  expect(`${resource}: added`, update(undefined, binary), no);
  expect(`${resource}: changed`, update(binary, {'fallbackd.io/binary.app': 'checkout@1.8.4'}), no);
  expect(`${resource}: for a different container`, update(binary, {...binary, 'fallbackd.io/binary.b': 'x@1'}), no);
  expect(`${resource}: unchanged`, update({...binary, ...image}, {...binary, ...image, a: 'b'}), '');
  expect(`${resource}: removed`, update(binary, undefined), '');
  expect(`${resource}: changed, granted`, update(binary, {'fallbackd.io/binary.app': 'checkout@1.8.4'}, both), '');
}
console.log(`${policies.length} policies, ${done} requests, ${failed} wrong`);
process.exit(failed || policies.length === 0 ? 1 : 0);

// SPDX-License-Identifier: Apache-2.0
// node objects.mjs TOOLS FILES...: checks Kubernetes objects in JSON against Kubernetes' own schemas: those that the tests'
// API server sent, and those that it received. Prints the number of each kind, and every object that is not valid.
import {readFileSync} from 'node:fs';
import {join} from 'node:path';
import {pathToFileURL} from 'node:url';

const [tools, ...files] = process.argv.slice(2);
const moduleOf = (object) => {
  const [version, group] = object.apiVersion.split('/').reverse();
  return join(tools, 'node_modules/kubernetes-models', group ?? '', version, object.kind + '.js');
};
const counts = {};
let failed = 0;
for (const file of files) {
  // A pod of the fixtures is wrapped in the test's own keys.
  const text = JSON.parse(readFileSync(file, 'utf8'));
  const object = {apiVersion: 'v1', kind: 'Pod', ...(text.pod ?? text)};
  const model = await import(pathToFileURL(moduleOf(object)).href);
  const way = file.split('/').pop().match(/^(sent|got)-/)?.[1] ?? 'written';
  const kind = `${way} ${object.kind}`;
  counts[kind] = (counts[kind] ?? 0) + 1;
  try {
    new model[object.kind](object).validate();
  } catch (error) {
    failed++;
    console.log(`${file}: ${error.message}`);
  }
}
console.log(Object.entries(counts).map(([kind, count]) => `${count} ${kind}`).join(', '));
process.exit(failed || files.length === 0 ? 1 : 0);

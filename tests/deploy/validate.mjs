// SPDX-License-Identifier: Apache-2.0
// node validate.mjs TOOLS MANIFESTS.yaml...: checks every object against Kubernetes' own schemas (and the
// Prometheus operator's), which accept unknown keys, and then as types, which do not. TOOLS is the folder
// where npm installed packages.
import {execFileSync} from 'node:child_process';
import {mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync} from 'node:fs';
import {createRequire} from 'node:module';
import {tmpdir} from 'node:os';
import {join} from 'node:path';
import {pathToFileURL} from 'node:url';

const [tools, ...files] = process.argv.slice(2);
const require = createRequire(join(tools, 'package.json'));
const yaml = require('js-yaml');

function moduleOf(object) {
  const slash = object.apiVersion.indexOf('/');
  const group = slash < 0 ? '' : object.apiVersion.slice(0, slash);
  const version = object.apiVersion.slice(slash + 1);
  if (group === 'monitoring.coreos.com') return `@kubernetes-models/prometheus-operator/${object.apiVersion}/${object.kind}`;
  return `kubernetes-models/${group ? group + '/' : ''}${version}/${object.kind}`;
}

const resolve = (name) => pathToFileURL(join(tools, 'node_modules', name + '.js')).href;
const lines = [];
const rows = [];
let failed = false;
for (const file of files) {
  for (const object of yaml.loadAll(readFileSync(file, 'utf8')).filter(Boolean)) {
    const name = `${object.kind} ${object.metadata.name}`;
    const model = await import(resolve(moduleOf(object)));
    let problem = '';
    try {
      new model[object.kind](object).validate();
    } catch (error) {
      problem = error.message;
      failed = true;
    }
    lines.push(`import type {I${object.kind} as T${rows.length}} from '${moduleOf(object)}';`);
    lines.push(`export const o${rows.length}: T${rows.length} = ${JSON.stringify(object)};`);
    rows.push([file, name, problem || 'valid']);
  }
}
const work = mkdtempSync(join(tmpdir(), 'fallbackd-types-'));
try {
  symlinkSync(join(tools, 'node_modules'), join(work, 'node_modules'));
  writeFileSync(join(work, 'package.json'), '{"type": "module"}');
  writeFileSync(join(work, 'objects.ts'), lines.join('\n') + '\n');
  const compilerOptions = {noEmit: true, strict: true, skipLibCheck: true, module: 'nodenext', target: 'es2022', types: []};
  writeFileSync(join(work, 'tsconfig.json'), JSON.stringify({compilerOptions, files: ['objects.ts']}));
  execFileSync(process.execPath, [join(tools, 'node_modules/typescript/bin/tsc'), '--project', work], {encoding: 'utf8'});
} catch (error) {
  failed = true;
  // objects.ts(LINE,COLUMN): each object has two lines.
  for (const found of (error.stdout ?? String(error)).matchAll(/\((\d+),\d+\): (error .*)/g)) {
    const row = rows[Math.ceil(found[1] / 2) - 1];
    if (row) row[2] = (row[2] === 'valid' ? '' : row[2] + '; ') + found[2];
  }
  if (rows.every((row) => row[2] === 'valid')) console.error(error.stdout ?? error);
} finally {
  rmSync(work, {recursive: true});
}
for (const row of rows) console.log(row.join('\t'));
process.exit(failed || rows.length === 0 ? 1 : 0);

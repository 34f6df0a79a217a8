// SPDX-License-Identifier: Apache-2.0
// node schema.mjs TOOLS SCHEMA.json FILE.yaml...: checks configurations against the editors' schema.
import {readFileSync} from 'node:fs';
import {createRequire} from 'node:module';
import {join} from 'node:path';

const [tools, schema, ...files] = process.argv.slice(2);
const require = createRequire(join(tools, 'package.json'));
const yaml = require('js-yaml');
const Ajv = require('ajv').default;
const validate = new Ajv({allErrors: true, allowUnionTypes: true}).compile(JSON.parse(readFileSync(schema, 'utf8')));
let failed = files.length === 0;
for (const file of files) {
  if (validate(yaml.load(readFileSync(file, 'utf8')))) continue;
  failed = true;
  for (const error of validate.errors) console.log(`${file}: ${error.instancePath} ${error.message} ${JSON.stringify(error.params)}`);
}
process.exit(failed ? 1 : 0);

// SPDX-License-Identifier: Apache-2.0
// Checks dashboards against the types that Grafana publishes: node schema.mjs TYPES_FOLDER DASHBOARD...
// TYPES_FOLDER contains node_modules with @grafana/schema, ts-json-schema-generator and ajv. Checks each
// dashboard, and each panel's options and custom field options by its type. A key that the types do not know
// is an error.
import { createRequire } from 'node:module';
import { readFileSync, writeFileSync } from 'node:fs';
import { join, resolve } from 'node:path';

const [folder, ...files] = process.argv.slice(2);
const require = createRequire(join(resolve(folder), 'package.json'));
const { createGenerator } = require('ts-json-schema-generator');
const Ajv = require('ajv').default;

const raw = './node_modules/@grafana/schema/dist/types/raw';
const panelTypes = { stat: 'stat', timeseries: 'timeseries', table: 'table', bargauge: 'bargauge', 'state-timeline': 'statetimeline' };
const lines = [`import * as d from '${raw}/dashboard/x/types.gen';`];
lines.push(`import * as common from './node_modules/@grafana/schema/dist/types/common/common.gen';`);
for (const module of Object.values(panelTypes)) lines.push(`import * as ${module} from '${raw}/composable/${module}/panelcfg/x/types.gen';`);
// A plug-in defines the query of its data source: the fields of all queries, and those that Prometheus adds.
lines.push(`export interface CheckedQuery extends common.DataQuery { expr: string; legendFormat?: string; instant?: boolean;
  range?: boolean; exemplar?: boolean; format?: 'table' | 'time_series' | 'heatmap'; editorMode?: 'code' | 'builder' }`);
lines.push(`export interface CheckedPanel extends Omit<d.Panel, 'targets'> { targets: CheckedQuery[] }`);
lines.push(`export interface CheckedDashboard extends Omit<d.Dashboard, 'panels'> { panels: Array<CheckedPanel | d.RowPanel> }`);
const custom = { timeseries: 'timeseries.FieldConfig', table: 'Partial<table.FieldConfig>', 'state-timeline': 'statetimeline.FieldConfig' };
for (const [type, module] of Object.entries(panelTypes)) {
  lines.push(`export type options_${module} = Partial<${module}.Options>;`);
  lines.push(`export type custom_${module} = ${custom[type] ?? 'Record<string, never>'};`);
}
const source = join(resolve(folder), 'types.ts');
writeFileSync(source, lines.join('\n') + '\n');

const generator = createGenerator({ path: source, type: '*', skipTypeCheck: true, additionalProperties: false });
const ajv = new Ajv({ allErrors: true, strict: false });
const validators = new Map();
const errors = [];
function check(type, value, where) {
  if (!validators.has(type)) validators.set(type, ajv.compile(generator.createSchema(type)));
  const validate = validators.get(type);
  if (validate(value)) return;
  for (const error of validate.errors) errors.push(`${where}${error.instancePath}: ${error.message} ${JSON.stringify(error.params)}`);
}

let panels = 0;
for (const file of files) {
  const dashboard = JSON.parse(readFileSync(file, 'utf8'));
  // Panel by panel: otherwise a mistake in one would be reported for all.
  const all = dashboard.panels;
  check('CheckedDashboard', { ...dashboard, panels: [] }, file);
  for (const panel of all) {
    const where = `${file}: panel "${panel.title}"`;
    const module = panelTypes[panel.type];
    if (!module) { errors.push(`${where}: type ${panel.type} is not checked`); continue; }
    panels += 1;
    check('CheckedPanel', panel, where);
    check(`options_${module}`, panel.options, `${where} options`);
    check(`custom_${module}`, panel.fieldConfig.defaults.custom, `${where} custom`);
  }
}
for (const error of errors) console.error(error);
const version = JSON.parse(readFileSync(join(resolve(folder), 'node_modules/@grafana/schema/package.json'), 'utf8')).version;
console.log(`${files.length} dashboards, ${panels} panels against @grafana/schema ${version}: ${errors.length} errors`);
process.exit(errors.length === 0 ? 0 : 1);

// SPDX-License-Identifier: Apache-2.0
// node draw.mjs RESULTS FOLDER: writes a page with data for each dashboard of RESULTS (dashboards_test's DASHBOARDS_JSON).
// Prints a line "NAME HEIGHT" for each: the browser needs the height to take the picture.
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

const [results, folder] = process.argv.slice(2);
const template = readFileSync(new URL('draw.html', import.meta.url), 'utf8');
const { from, to, step, dashboards } = JSON.parse(readFileSync(results, 'utf8'));
const kHead = 80, kRow = 38;
for (const drawn of dashboards) {
  const name = drawn.dashboard.uid.replace('fallbackd-', '');
  const data = JSON.stringify({ from, to, step, drawn }).replaceAll('</', '<\\/');
  writeFileSync(join(folder, `${name}.html`), template.replace('/*DATA*/null', () => data));
  console.log(name, kHead + kRow * Math.max(...drawn.dashboard.panels.map(p => p.gridPos.y + p.gridPos.h)));
}

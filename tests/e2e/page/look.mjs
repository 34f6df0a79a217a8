// SPDX-License-Identifier: Apache-2.0
// The status page during an outage, as a browser shows it. Usage: node look.mjs URL POD [FOLDER]
// Prints "watching" when the page shows POD in fallback. Then expects its recovery to end without a reload.
// Screenshots go to FOLDER.
import assert from 'node:assert/strict';
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { Browser } from './browser.mjs';

const [url, pod, folder] = process.argv.slice(2);
const browser = await Browser.start();
try {
  await browser.look({ width: 1080, height: 900, dark: false });
  await browser.send('Page.navigate', { url });
  await browser.until(`document.querySelector('#active')?.innerText.includes(${JSON.stringify(pod)})
    && document.querySelector('#active svg') && document.querySelector('#verdict').innerText.includes('fallback')`, 'the pod in fallback');
  await browser.until(`document.querySelector('#live').innerText === 'live'`, 'the live mark');
  const text = await browser.evaluate('document.body.innerText');
  for (const part of ['Registries', 'Coverage', 'Timeline', 'unreachable', 'admitted', 'has been failing since']) {
    assert.ok(text.includes(part), `${part} is missing in: ${text}`);
  }
  // For screen readers.
  assert.equal(await browser.evaluate(`[...document.querySelectorAll('svg')].every(one => one.getAttribute('role') === 'img' && one.getAttribute('aria-label'))`), true);
  assert.match(await browser.evaluate(`document.querySelector('#active svg').getAttribute('aria-label')`), /^recovery in .*: detect .* ready /);
  assert.equal(await browser.evaluate(`[...document.querySelectorAll('section')].every(one => !one.firstChild || document.getElementById(one.getAttribute('aria-labelledby')))`), true);

  for (const [name, view] of Object.entries({
    'desktop-light': { width: 1080, height: 900, dark: false }, 'desktop-dark': { width: 1080, height: 900, dark: true },
    'phone-light': { width: 375, height: 812, dark: false }, 'phone-dark': { width: 375, height: 812, dark: true } })) {
    await browser.look(view);
    await browser.evaluate('new Promise(resolve => requestAnimationFrame(() => requestAnimationFrame(resolve)))');
    assert.ok(await browser.evaluate('document.documentElement.scrollWidth <= innerWidth'), `${name} must not scroll sideways`);
    const background = await browser.evaluate(`getComputedStyle(document.body).backgroundColor`);
    assert.equal(background, view.dark ? 'rgb(16, 19, 24)' : 'rgb(246, 247, 249)', name);
    if (!folder) continue;
    mkdirSync(folder, { recursive: true });
    writeFileSync(join(folder, `page-${name}.png`), await browser.picture());
  }

  process.stdout.write('watching\n');
  await browser.until(`document.querySelector('#past')?.innerText.includes(${JSON.stringify(pod)})
    && !document.querySelector('#active').innerText.includes(${JSON.stringify(pod)})`, 'the end of the recovery');

  // Foreign names and texts stay text, wherever they appear.
  const hostile = '<img src=x onerror="window.taken=1"><script>window.taken=1<\/script>';
  await browser.evaluate(`(() => {
    const spoil = value => typeof value === 'string' && !/^\\d{4}-/.test(value) && !['ready', 'failed', 'open'].includes(value) ? value + ${JSON.stringify(hostile)}
      : Array.isArray(value) ? value.map(spoil)
      : value && typeof value === 'object' ? Object.fromEntries(Object.entries(value).map(([key, one]) => [key, spoil(one)])) : value;
    const status = structuredClone(last);
    const failed = { ...structuredClone(status.recoveries[0]), state: 'failed', id: 'f', error: { stage: 'exec', reason: 'system', message: 'm' } };
    status.recoveries = [{ ...structuredClone(status.recoveries[0]), state: 'ready' }, failed];
    status.waiting = [{ namespace: 'n', pod: 'w', container: 'c', image: 'i', workload: 'w', binary: 'b', state: 'failed', cause: 'dns', text: 't' }];
    status.registries = [{ host: 'h', state: 'open', since: status.now, cause: 'dns', text: 't' }];
    status.config = { file: 'f', current: false, problems: ['p'] };
    source.close();
    render(spoil(status));
  })()`);
  const shown = await browser.evaluate('document.body.innerText');
  assert.ok(shown.split('onerror').length > 15, `hostile text must be shown as it is: ${shown}`);
  assert.equal(await browser.evaluate(`document.querySelectorAll('img, main script').length`), 0);
  assert.equal(await browser.evaluate('window.taken'), undefined);
  await browser.look({ width: 375, height: 812, dark: true });
  assert.ok(await browser.evaluate('document.documentElement.scrollWidth <= innerWidth'), 'hostile text must not scroll sideways');

  // With every column full no word is broken in two, and nothing scrolls sideways. A pod that is down comes before served ones.
  await browser.evaluate(`(() => {
    const status = structuredClone(last);
    const image = 'registry.example.com:5000/team-with-a-name/service-with-a-long-name@sha256:' + 'a1'.repeat(32);
    const text = 'failed to do request: Head "https://registry.example.com:5000/v2/": dial tcp 192.0.2.1:5000: connect: connection refused';
    const served = { ...structuredClone(status.recoveries[0]), state: 'ready', namespace: 'served', pod: 'served-0' };
    served.settlement = { state: 'settled', why: 'kubelet has adopted it' };
    served.sinceWaitingMs = { ...served.sinceWaitingMs, standIn: 217, adopted: 545, podReady: 1100 };
    status.recoveries = [served, { ...structuredClone(served), state: 'failed', pod: 'checkout-7d4f9c8b6d-x2x7k', error: { stage: 'exec', reason: 'system', message: text } }];
    status.waiting = [{ namespace: 'shop', pod: 'checkout-7d4f9c8b6d-q8zjl', container: 'checkout', image, workload: 'w', binary: 'b', state: 'undecided', cause: 'unreachable', text }];
    status.registries = [{ host: 'registry.example.com:5000', state: 'half_open', since: status.now, cause: 'unreachable', text }];
    render(status);
  })()`);
  assert.match(await browser.evaluate(`document.querySelector('#active').innerText`),
    /stand-in settled after 217 ms, shown after 545 ms, Ready after 1\.1 s: kubelet has adopted it/);
  assert.match(await browser.evaluate(`document.querySelector('#verdict').innerText`), /^1 container waits without a fallback, 1 pod runs its fallback\n/);
  const broken = `[...document.querySelectorAll('td, th, .card, #verdict')].flatMap(place => {
    const texts = document.createTreeWalker(place, NodeFilter.SHOW_TEXT), found = [];
    for (let node; (node = texts.nextNode());) for (const word of node.data.matchAll(/[\\p{L}]{2,20}/gu)) {
      const range = document.createRange();
      range.setStart(node, word.index);
      range.setEnd(node, word.index + word[0].length);
      if (range.getClientRects().length > 1) found.push(word[0]);
    }
    return found;
  })`;
  for (const [name, view] of Object.entries({ desktop: { width: 1080, height: 900, dark: false }, phone: { width: 375, height: 812, dark: true } })) {
    await browser.look(view);
    assert.deepEqual(await browser.evaluate(broken), [], `words that are broken in two, ${name}`);
    assert.ok(await browser.evaluate('document.documentElement.scrollWidth <= innerWidth'), `${name} must not scroll sideways`);
    if (folder) writeFileSync(join(folder, `full-${name}.png`), await browser.picture());
  }
  assert.ok(await browser.evaluate(`document.querySelector('#waiting').getBoundingClientRect().top < document.querySelector('#active').getBoundingClientRect().top`), 'pods that are down come first');
  assert.ok(await browser.evaluate(`document.querySelector('#verdict').getBoundingClientRect().bottom < innerHeight && scrollY === 0`), 'a phone shows the answer without scrolling');

  // A containerd that does not answer is the headline; an empty section has no card.
  await browser.evaluate(`(() => {
    const status = structuredClone(last);
    status.containerd = { connected: false, socket: '/run/containerd/containerd.sock', problem: 'No such file or directory' };
    status.recoveries = status.waiting = status.registries = [];
    render(status);
  })()`);
  assert.match(await browser.evaluate(`document.querySelector('#verdict').innerText`), /^containerd does not answer\n+It does not answer at \/run\/containerd\/containerd.sock: No such file or directory/);
  assert.equal(await browser.evaluate(`document.querySelector('#verdict').className`), 'bad');
  for (const empty of ['waiting', 'active', 'timeline', 'registries', 'past']) {
    assert.equal(await browser.evaluate(`document.querySelector('#${empty}').innerText`), '', `${empty} must be empty`);
  }
  assert.deepEqual(browser.complaints, []);
} finally {
  await browser.stop();
}

// SPDX-License-Identifier: Apache-2.0
// Debian's headless Chromium, driven over its debugging pipe: no library, no port.
import { spawn } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

// Without the network flags Chromium contacts its own hosts at every start.
const FLAGS = ['--headless', '--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-dev-shm-usage',
  '--disable-background-networking', '--disable-component-update', '--disable-sync', '--remote-debugging-pipe'];

export class Browser {
  #next = 1;
  #answers = new Map();
  #session;
  complaints = [];  // from the page: exceptions, console errors, policy violations

  static async start() {
    const browser = new Browser();
    browser.profile = mkdtempSync(join(tmpdir(), 'fallbackd-page-'));
    browser.process = spawn('chromium', [...FLAGS, `--user-data-dir=${browser.profile}`, 'about:blank'],
      { stdio: ['ignore', 'ignore', 'ignore', 'pipe', 'pipe'] });
    browser.process.on('exit', code => {
      for (const { reject } of browser.#answers.values()) reject(new Error(`chromium ended with ${code}`));
    });
    let rest = '';
    browser.process.stdio[4].setEncoding('utf8').on('data', data => {
      const messages = (rest + data).split('\0');
      rest = messages.pop();
      for (const message of messages) browser.#receive(JSON.parse(message));
    });
    const { targetId } = await browser.#send('Target.createTarget', { url: 'about:blank' });
    browser.#session = (await browser.#send('Target.attachToTarget', { targetId, flatten: true })).sessionId;
    for (const domain of ['Page', 'Runtime', 'Log']) await browser.send(domain + '.enable');
    return browser;
  }
  #receive(message) {
    const waiting = this.#answers.get(message.id);
    this.#answers.delete(message.id);
    if (waiting) message.error ? waiting.reject(new Error(message.error.message)) : waiting.resolve(message.result);
    if (message.method === 'Runtime.exceptionThrown') this.complaints.push(message.params.exceptionDetails.exception?.description);
    if (message.method === 'Log.entryAdded' && message.params.entry.level === 'error') this.complaints.push(message.params.entry.text);
    if (message.method === 'Runtime.consoleAPICalled' && message.params.type === 'error') this.complaints.push('console.error');
  }
  #send(method, params = {}, sessionId = undefined) {
    const id = this.#next++;
    this.process.stdio[3].write(JSON.stringify({ id, method, params, sessionId }) + '\0');
    return new Promise((resolve, reject) => this.#answers.set(id, { resolve, reject }));
  }
  send(method, params) {
    return this.#send(method, params, this.#session);
  }
  async evaluate(expression) {
    const { result, exceptionDetails } = await this.send('Runtime.evaluate', { expression, awaitPromise: true, returnByValue: true });
    if (exceptionDetails) throw new Error(`${expression}: ${exceptionDetails.exception?.description}`);
    return result.value;
  }
  // Waits until the expression holds; evaluates it at each change of the page.
  async until(expression, what, seconds = 30) {
    const held = await this.evaluate(`new Promise(resolve => {
      const holds = () => { try { return Boolean(${expression}); } catch { return false; } };
      if (holds()) return resolve(true);
      const observer = new MutationObserver(() => { if (holds()) { observer.disconnect(); resolve(true); } });
      observer.observe(document, { subtree: true, childList: true, characterData: true, attributes: true });
      setTimeout(() => resolve(holds()), ${seconds * 1000});
    })`);
    if (!held) throw new Error(`${what} did not appear; the page shows: ${await this.evaluate('document.body.innerText')}`);
  }
  async look({ width, height, dark }) {
    await this.send('Emulation.setDeviceMetricsOverride', { width, height, deviceScaleFactor: width < 600 ? 2 : 1, mobile: width < 600 });
    await this.send('Emulation.setEmulatedMedia', { features: [{ name: 'prefers-color-scheme', value: dark ? 'dark' : 'light' }] });
  }
  async picture() {
    return Buffer.from((await this.send('Page.captureScreenshot', { format: 'png' })).data, 'base64');
  }
  // Lets it exit by itself, so that its other processes have also ended when their folder is removed.
  async stop() {
    const ended = new Promise(resolve => this.process.on('close', resolve));
    this.#send('Browser.close').catch(() => {});
    await ended;
    rmSync(this.profile, { recursive: true, force: true, maxRetries: 20, retryDelay: 50 });
  }
}

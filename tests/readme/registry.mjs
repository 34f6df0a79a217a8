// SPDX-License-Identifier: Apache-2.0
// startRegistry(HOST, FOLDER): a real docker-registry that answers as https://HOST, for clients with its `env`: they reach
// it through a proxy on loopback, and trust its certificate. `stop()` ends it; its images stay in FOLDER.
import {execFileSync, spawn} from 'node:child_process';
import {mkdirSync, openSync, writeFileSync} from 'node:fs';
import {createServer} from 'node:http';
import {connect, createServer as createListener} from 'node:net';
import {join} from 'node:path';

const listening = (server) => new Promise((resolve) => server.listen(0, '127.0.0.1', () => resolve(server.address().port)));

async function freePort() {
  const listener = createListener();
  const port = await listening(listener);
  await new Promise((resolve) => listener.close(resolve));
  return port;
}

// Waits until it accepts connections, or has ended.
async function accepts(port, child) {
  for (let tries = 0; tries < 200 && child.exitCode === null; ++tries) {
    const connected = await new Promise((resolve) => {
      const socket = connect(port, '127.0.0.1', () => {
        socket.destroy();
        resolve(true);
      }).on('error', () => resolve(false));
    });
    if (connected) return;
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
  throw new Error('docker-registry does not accept connections');
}

export async function startRegistry(host, folder) {
  mkdirSync(folder, {recursive: true});
  const certificate = join(folder, 'certificate.pem');
  execFileSync('openssl', ['req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes', '-days', '2', '-subj', `/CN=${host}`,
    '-addext', `subjectAltName=DNS:${host}`, '-keyout', join(folder, 'key.pem'), '-out', certificate], {stdio: 'ignore'});
  const port = await freePort();
  writeFileSync(join(folder, 'config.yaml'), JSON.stringify({
    version: 0.1, storage: {filesystem: {rootdirectory: join(folder, 'images')}},
    http: {addr: `127.0.0.1:${port}`, tls: {certificate, key: join(folder, 'key.pem')}},
  }));
  const log = openSync(join(folder, 'log'), 'w');
  const child = spawn('docker-registry', ['serve', join(folder, 'config.yaml')], {stdio: ['ignore', log, log]});
  child.on('error', () => {});  // accepts() reports it
  const proxy = createServer((request, response) => response.writeHead(403).end());
  const tunnels = new Set();
  proxy.on('connect', (request, client) => {
    if (request.url !== `${host}:443`) {
      client.end('HTTP/1.1 403 Forbidden\r\n\r\n');
      return;
    }
    const tunnel = connect(port, '127.0.0.1', () => {
      client.write('HTTP/1.1 200 OK\r\n\r\n');
      client.pipe(tunnel).pipe(client);
    });
    for (const end of [client, tunnel]) {
      tunnels.add(end);
      end.on('error', () => { client.destroy(); tunnel.destroy(); });
      end.on('close', () => tunnels.delete(end));
    }
  });
  const address = `http://127.0.0.1:${await listening(proxy)}`;
  const stop = async () => {
    for (const end of tunnels) end.destroy();
    await new Promise((resolve) => proxy.close(resolve));
    if (child.pid === undefined || child.exitCode !== null) return;
    const ended = new Promise((resolve) => child.on('exit', resolve));
    child.kill();
    await ended;
  };
  try {
    await accepts(port, child);
  } catch (error) {
    await stop();
    throw error;
  }
  return {env: {HTTPS_PROXY: address, SSL_CERT_FILE: certificate}, stop};
}

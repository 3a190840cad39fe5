// `darkroom review` in a browser: a held proof is seen and approved in the page, the batch runs,
// and its images appear without a reload.
//
//     tests/gallery/run review [FOLDER FOR SCREENSHOTS]
//
// The environment variable DARKROOM names the command, by default target/release/darkroom.

import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';

import { launch } from './browser.mjs';

const DARKROOM = process.env.DARKROOM ?? 'target/release/darkroom';
const [screenshots] = process.argv.slice(2);

const MANIFEST = [
  { manifest: { version: 1, job: { lane: 'batch', proof: { count: 2 } } } },
  { key: 'one', prompt: 'a stone' },
  { key: 'two', prompt: 'a leaf' },
  { key: 'three', prompt: '<img src=x onerror=alert(1)>' },
  { key: 'four', prompt: 'a shell' },
  { key: 'five', prompt: 'a feather' },
];

const out = mkdtempSync(join(tmpdir(), 'darkroom-review-'));
const started = [];

// Starts a command and returns the first line of its output that matches.
async function start(args, pattern) {
  const stdio = ['ignore', 'pipe', 'inherit'];
  const process = spawn(DARKROOM, [...args, '--out', out], { stdio });
  started.push(process);
  for await (const line of createInterface({ input: process.stdout })) {
    const found = line.match(pattern);
    if (found) {
      process.stdout.resume();
      return found[0];
    }
  }
  throw new Error(`${args[0]} ended without ${pattern}`);
}

try {
  const serve = ['serve', '--port', '0', '--gemini-port', '0', '--batch-seconds', '3'];
  await start(serve, /cp manifest\.csv/);
  const base = await start(['review'], /http:\/\/127\.0\.0\.1:\S+\//);

  const browser = await launch();
  const page = await browser.newPage({ viewport: { width: 1280, height: 800 } });
  const problems = [];
  page.on('console', (message) => message.type() === 'error' && problems.push(message.text()));
  page.on('pageerror', (error) => problems.push(`${error}`));
  page.on('dialog', (dialog) => problems.push(`a script ran: ${dialog.message()}`));
  page.on('request', (request) => {
    const url = request.url();
    if (!url.startsWith(base) && !/^(data|blob):/.test(url)) problems.push(`request to ${url}`);
  });
  const shoot = async (name) => {
    if (screenshots) await page.screenshot({ path: join(screenshots, `${name}.png`) });
  };
  const images = () =>
    page.evaluate(() => [...document.images].filter((image) => image.naturalWidth > 1).length);
  const until = async (what, condition) => {
    for (let tries = 0; !(await condition()); tries++) {
      assert.ok(tries < 300, `no ${what}: ${problems}`);
      await page.waitForTimeout(200);
    }
  };

  // The manifest is dropped as the page does it, and the job appears in the open list.
  await page.goto(base);
  const text = MANIFEST.map((line) => `${JSON.stringify(line)}\n`).join('');
  const body = JSON.stringify({ name: 'proof.jsonl', text });
  const headers = { 'Content-Type': 'application/json' };
  const dropped = await fetch(`${base}drop`, { method: 'POST', headers, body });
  assert.equal(dropped.status, 202, await dropped.clone().text());
  const { job } = await dropped.json();
  await page.getByRole('link', { name: job }).click();

  // The proof is seen before it is approved.
  const approve = page.getByRole('button', { name: 'Approve…' });
  await approve.waitFor();
  await until('proof', async () => (await images()) === 2);
  await shoot('review-proof');
  await page.evaluate(() => (window.unchanged = true));
  await approve.click();
  const dialog = page.getByRole('dialog', { name: 'Approve?' });
  assert.match(await dialog.innerText(), /makes the other 3 images\. They cost at most \$/);
  await shoot('review-approve');
  await dialog.getByRole('button', { name: 'Approve' }).click();

  // The other images appear in the same document.
  await until('images of the batch', async () => (await images()) === 5);
  assert.equal(await page.evaluate(() => window.unchanged), true, 'the page was loaded again');
  await page.getByText('complete: 5 images').waitFor();
  assert.equal(await page.evaluate(() => document.querySelectorAll('img[src="x"]').length), 0);
  await shoot('review-done');
  await page.getByRole('link', { name: 'All jobs' }).click();
  await page.getByText('5 of 5').waitFor();
  await shoot('review-list');

  assert.deepEqual(problems, []);
  await browser.close();
  console.log(`${job}: approved in the page; 3 images appeared without a reload.`);
} finally {
  started.forEach((process) => process.kill('SIGINT'));
  const ended = (process) => process.exitCode ?? new Promise((end) => process.on('exit', end));
  await Promise.all(started.map(ended));
  rmSync(out, { recursive: true, force: true });
}

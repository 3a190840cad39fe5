// Opens gallery pages in Chromium, and records everything that a page must not do.

import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:http';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { pathToFileURL } from 'node:url';

import { picture } from './page.mjs';

const { GALLERY_TOOLS: tools = new URL('../../target/tools/gallery', import.meta.url).pathname } =
  process.env;
const { chromium } = createRequire(`${tools}/`)('playwright-core');

const FLAGS = [
  '--headless',
  '--no-sandbox',
  '--disable-gpu',
  '--disable-quic',
  '--no-first-run',
  '--disable-background-networking',
  '--disable-component-update',
  '--disable-sync',
];
const PICTURES = Array.from({ length: 25 }, (_, i) => picture(i));

/** Starts Debian's Chromium. */
export const launch = () =>
  chromium.launch({ executablePath: '/usr/bin/chromium', args: FLAGS, headless: true });

/** Serves one page, and a picture for every path below `images/` and `thumbs/`. */
export async function serve(html) {
  const folder = '/jobs/catalog-9cf4/';
  const site = { html, requests: [] };
  const server = createServer((request, response) => {
    site.requests.push(request.url);
    const send = (type, body) => response.writeHead(200, { 'content-type': type }).end(body);
    if (request.url === `${folder}index.html`) send('text/html; charset=utf-8', site.html);
    else if (/^\/jobs\/catalog-9cf4\/(images|thumbs)\/./.test(request.url)) {
      const number = Number(/(\d*)\.\w+(\.jpg)?$/.exec(request.url)?.[1] ?? 0);
      send('image/png', PICTURES[number % PICTURES.length]);
    } else response.writeHead(404).end();
  });
  await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve));
  site.folder = `http://127.0.0.1:${server.address().port}${folder}`;
  site.url = `${site.folder}index.html`;
  site.close = () => {
    server.closeAllConnections();
    return new Promise((resolve) => server.close(resolve));
  };
  return site;
}

/** Writes one page with its pictures to a new folder, for `file://`. */
export function onDisk(html, rows) {
  const directory = mkdtempSync(join(tmpdir(), 'gallery-'));
  writeFileSync(join(directory, 'index.html'), html);
  rows.forEach((row, number) => {
    for (const path of [row[5], row[9]].filter(Boolean)) {
      mkdirSync(dirname(join(directory, path)), { recursive: true });
      writeFileSync(join(directory, path), PICTURES[number % PICTURES.length]);
    }
  });
  const folder = `${pathToFileURL(directory)}/`;
  const close = () => rmSync(directory, { recursive: true });
  return { folder, url: `${folder}index.html`, close };
}

/**
 * Opens a site in a new browser context. `page.faults` collects errors, refused content, dialogs
 * and requests outside of the page's folder.
 */
export async function open(browser, site, { init, ...options } = {}) {
  const context = await browser.newContext({ viewport: { width: 1280, height: 800 }, ...options });
  const page = await context.newPage();
  page.faults = [];
  const fault = (kind, text) => page.faults.push(`${kind}: ${text}`);
  page.on('console', (message) => {
    if (['error', 'warning'].includes(message.type())) fault('console', message.text());
  });
  page.on('pageerror', (error) => fault('error', error.message));
  page.on('dialog', async (dialog) => {
    fault('dialog', dialog.message());
    await dialog.dismiss();
  });
  page.on('request', (request) => {
    const url = request.url();
    const local = url.startsWith(site.folder) || /^(blob|data):/.test(url);
    if (!local) fault('request outside', url);
  });
  page.on('requestfailed', (request) => {
    // A reload and the end of a test abort the requests that are under way.
    const { errorText } = request.failure();
    if (errorText !== 'net::ERR_ABORTED') fault('request failed', `${errorText} ${request.url()}`);
  });
  page.on('popup', (popup) => fault('window', popup.url()));
  await page.addInitScript(() => {
    document.addEventListener('securitypolicyviolation', (event) => {
      (window.violations ??= []).push(`${event.violatedDirective} ${event.blockedURI}`);
    });
  });
  if (init) await page.addInitScript(init);
  await page.goto(site.url);
  await page.waitForFunction(() => document.querySelector('.tile, #unreadable:not([hidden])'));
  page.end = async () => {
    const violations = await page.evaluate(() => window.violations ?? []).catch(() => []);
    await context.close();
    return [...page.faults, ...violations.map((text) => `policy: ${text}`)];
  };
  return page;
}

/** Returns the name and the bytes of the file that an action saves. */
export async function saved(page, action) {
  // A new browser synchronizes its files before the first download, which takes half a minute while
  // others write a lot to the same disk.
  const timeout = 180_000;
  const [download] = await Promise.all([page.waitForEvent('download', { timeout }), action()]);
  const chunks = [];
  for await (const chunk of await download.createReadStream()) chunks.push(chunk);
  return { name: download.suggestedFilename(), bytes: Buffer.concat(chunks) };
}

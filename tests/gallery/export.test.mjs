// What the gallery page saves: keys, CSV, XMP sidecars and manifests, and that marks survive.

import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { crc32 } from 'node:zlib';

import { launch, onDisk, open, saved, serve } from './browser.mjs';
import { head, page as build, row } from './page.mjs';

let browser;
before(async () => {
  browser = await launch();
});
after(() => browser.close());

const PRO = 'gemini-3-pro-image';
const LONG = 'k'.repeat(255);
const native = (key, config) => ({
  key,
  model: PRO,
  lane: 'interactive',
  request: { contents: [{ role: 'user', parts: [{ text: `Draw ${key}` }] }], ...config },
});
const ROWS = [
  row({ key: 'a/one', prompt: '=1+1;-2\n@3' }),
  row({ key: 'b' }),
  row({ key: 'c', request: null }),
  row({
    key: 'd',
    model: 1,
    size: null,
    prompt: null,
    refs: [],
    request: native('d', { generationConfig: { imageConfig: { aspectRatio: '1:1' } } }),
  }),
  row({ key: 'e', status: 'blocked', code: 'SAFETY', message: 'refused' }),
  row({
    key: 'f',
    request: { custom_id: 'f', prompt: 'f', lane: 'flex', output: { path: 'x/f' } },
  }),
  row({ key: 'g', refs: Array(14).fill('s3://studio/refs/a.png') }),
  row({ key: LONG, image: 'images/k.png', thumb: null }),
  row({ key: '__proto__', image: 'images/proto.png' }),
];
// Marks a, c, d, f, g and the last two as picks, and b and e as rejects.
const KEYS = ['ArrowRight', 'ArrowLeft', 'p', 'x', '1', '2', 'x', '5', 'p', '3', '4'];

/** Opens a page of the rows and marks them by keys. */
async function marked(site) {
  const page = await open(browser, site);
  for (const key of KEYS) await page.keyboard.press(key);
  await page.reload();
  await page.locator('.tile').first().waitFor();
  await page.getByText('Use picks…').click();
  return page;
}
async function on(run) {
  const site = await serve(build({ head: head(), rows: ROWS }));
  try {
    const page = await marked(site);
    await run(page, site);
    assert.deepEqual(await page.end(), []);
  } finally {
    await site.close();
  }
}
const button = (page, name, value) =>
  page.locator(`[name=${name}]${value ? `[value=${value}]` : ''}`);
const file = async (page, name, value) => {
  const { name: title, bytes } = await saved(page, () => button(page, name, value).click());
  return [title, bytes];
};
const manifest = async (page, kind) => {
  const [title, bytes] = await file(page, 'manifest', kind);
  assert.match(title, new RegExp(`^catalog-9cf4-${kind}\\.jsonl$`));
  const lines = bytes.toString().split('\n');
  assert.equal(lines.pop(), '');
  return lines.map((line) => JSON.parse(line));
};

/** Reads a zip archive without compression, by its central directory. */
function unzip(bytes) {
  const end = bytes.length - 22;
  assert.equal(bytes.readUInt32LE(end), 0x06054b50);
  const files = {};
  let at = bytes.readUInt32LE(end + 16);
  assert.equal(at + bytes.readUInt32LE(end + 12), end);
  for (let left = bytes.readUInt16LE(end + 10); left > 0; left--) {
    assert.equal(bytes.readUInt32LE(at), 0x02014b50);
    const nameSize = bytes.readUInt16LE(at + 28);
    const name = bytes.toString('utf8', at + 46, at + 46 + nameSize);
    const local = bytes.readUInt32LE(at + 42);
    assert.equal(bytes.readUInt32LE(local), 0x04034b50);
    assert.deepEqual(bytes.subarray(local + 4, local + 30), bytes.subarray(at + 6, at + 32));
    const start = local + 30 + nameSize;
    const data = bytes.subarray(start, start + bytes.readUInt32LE(at + 20));
    assert.equal(crc32(data), bytes.readUInt32LE(at + 16));
    files[name] = data.toString();
    at += 46 + nameSize;
  }
  return files;
}

test('keys, CSV and XMP have the marks, after a reload', async () => {
  await on(async (page) => {
    const [name, keys] = await file(page, 'keys');
    assert.equal(name, 'catalog-9cf4-picks.txt');
    assert.equal(keys.toString(), `a/one\nc\nd\nf\ng\n${LONG}\n__proto__\n`);

    const [, csv] = await file(page, 'csv');
    const lines = csv.toString().split('\r\n');
    assert.equal(lines[0], 'key,mark,image,prompt');
    assert.equal(lines[1], `"a/one","picked","images/a/one.png","'=1+1;'-2\n'@3"`);
    assert.equal(lines[2], `"b","rejected","images/b.png","Studio packshot of b"`);
    assert.equal(lines[4], `"d","2 stars","images/d.png","Draw d"`);
    assert.equal(lines.length, ROWS.length + 2);

    const [zip, bytes] = await file(page, 'xmp');
    assert.equal(zip, 'catalog-9cf4-xmp.zip');
    const sidecars = unzip(bytes);
    assert.equal(Object.keys(sidecars).length, 8, 'the image that is missing has no sidecar');
    const rating = (path) => /Rating="(-?\d)" xmp:Label="(\w+)"/.exec(sidecars[path]).slice(1);
    assert.deepEqual(rating('images/a/one.xmp'), ['0', 'Green']);
    assert.deepEqual(rating('images/b.xmp'), ['-1', 'Red']);
    assert.deepEqual(rating('images/f.xmp'), ['5', 'Green']);
    assert.match(sidecars['images/f.xmp'], /^<x:xmpmeta [^]*<\/x:xmpmeta>\s*$/);
  });
});

test('picks are promoted to 4K, and the price is on the button', async () => {
  await on(async (page) => {
    // Five at $0.0567, and d at $0.12. The request of c is not in the page.
    await page.getByText('Save manifest: $0.4035 for 6 of 7').waitFor();
    const [header, ...items] = await manifest(page, 'promote');
    const job = { name: 'catalog-9cf4 promote', lane: 'batch' };
    assert.deepEqual(header, { manifest: { version: 1, job } });
    assert.equal(items.length, 6);
    assert.equal(items.at(-1).key, '__proto__-4K');
    assert.ok(items.every((item) => (item.key ?? item.custom_id).length <= 256));
    const [a, d, f] = items;
    assert.deepEqual(a, {
      key: 'a/one-4K',
      prompt: '=1+1;-2\n@3',
      model: 'gemini-nano-banana-2.1',
      aspect_ratio: '4:5',
      image_size: '4K',
      refs: ['refs/side.png'],
    });
    assert.equal(d.key, 'd-4K');
    assert.deepEqual(d.request.generationConfig.imageConfig, {
      aspectRatio: '1:1',
      imageSize: '4K',
    });
    assert.equal(d.lane, undefined, 'the job has the lane');
    assert.deepEqual([f.custom_id, f.output.path, f.lane], ['f-4K', 'x/f-4K', undefined]);
  });
});

test('picks are promoted to another model, lane and reference', async () => {
  await on(async (page) => {
    await page.locator('[name=size]').selectOption('');
    await page.locator('[name=model]').selectOption(PRO);
    await page.locator('[name=lane]').selectOption('flex');
    await page.locator('[name=reference]').check();
    // g has as many references as the model accepts.
    await page.getByText('Save manifest: $0.3350 for 5 of 7').waitFor();
    const [header, a, d] = await manifest(page, 'promote');
    assert.equal(header.manifest.job.lane, 'flex');
    assert.equal(a.key, 'a/one-nano-banana-pro-ref');
    assert.deepEqual([a.model, a.image_size], [PRO, '1K']);
    const image = 's3://studio/refs/catalog-9cf4/images/a/one.png';
    assert.deepEqual(a.refs, [image, 'refs/side.png']);
    assert.deepEqual(d.request.contents[0].parts, [
      { fileData: { mimeType: 'image/png', fileUri: image.replace('a/one', 'd') } },
      { text: 'Draw d' },
    ]);

    // No model but one has the lane.
    await page.locator('[name=model]').selectOption('');
    await page.locator('[name=reference]').uncheck();
    await page.getByText('Save manifest: $0.0670 for 1 of 7').waitFor();
    await page.locator('[name=model]').selectOption('gemini-nano-banana-2.1');
    await page.getByText('Save manifest: $0.00 for 0 of 7').waitFor();
    assert.ok(await button(page, 'manifest', 'promote').isDisabled());
  });
});

test('rejects are redone with edited prompts, under their own keys', async () => {
  await on(async (page) => {
    await button(page, 'edit').click();
    assert.equal(await page.locator('#place').textContent(), '1 / 2');
    await page.keyboard.press('i');
    const prompt = page.getByLabel('Prompt', { exact: true });
    await prompt.fill('A calmer b');
    await prompt.press('p');
    await page.getByLabel('Next image').click();
    await prompt.fill('An e that is not refused');
    await page.reload();
    await page.getByText('Use picks…').click();
    await page.getByText('Save manifest: $0.0336 for 2 of 2').waitFor();
    const [header, ...items] = await manifest(page, 'redo');
    assert.equal(header.manifest.job.name, 'catalog-9cf4 redo');
    const texts = items.map(({ key, prompt, image_size: size }) => [key, prompt, size]);
    assert.deepEqual(texts, [
      ['b', 'A calmer bp', '1K'],
      ['e', 'An e that is not refused', '1K'],
    ]);
  });
});

test('review mode gets the same manifests', async () => {
  await on(async (page) => {
    assert.ok(!(await button(page, 'drop', 'promote').isVisible()));
    const made = await page.evaluate(() => {
      window.dropped = [];
      window.darkroom.onDrop = (manifest) => window.dropped.push(manifest);
      return window.darkroom.manifests.promote({ lane: 'interactive', size: '2K' });
    });
    assert.deepEqual([made.name, made.images], ['catalog-9cf4-promote.jsonl', 6]);
    assert.equal(made.micros, 5 * 50400 + 134000);
    assert.equal(made.text.split('\n').length, 8);
    await page.keyboard.press('Escape');
    await page.getByText('Use picks…').click();
    await button(page, 'drop', 'redo').click();
    const [dropped] = await page.evaluate(() => window.dropped);
    assert.deepEqual([dropped.name, dropped.images], ['catalog-9cf4-redo.jsonl', 2]);
  });
});

test('files are saved from file:// too', async () => {
  const site = onDisk(build({ head: head(), rows: ROWS }), ROWS);
  try {
    const page = await marked(site);
    const [, keys] = await file(page, 'keys');
    assert.match(keys.toString(), /^a\/one\nc\n/);
    assert.equal((await manifest(page, 'promote')).length, 7);
    assert.deepEqual(await page.end(), []);
  } finally {
    site.close();
  }
});

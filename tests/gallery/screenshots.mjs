// Takes screenshots of a page, or of a made-up one: screenshots.mjs FOLDER [PAGE]

import { mkdirSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { pathToFileURL } from 'node:url';

import { launch, open, serve } from './browser.mjs';
import { head, manyRows, page as build } from './page.mjs';

const [folder, file] = process.argv.slice(2);
mkdirSync(folder, { recursive: true });
const browser = await launch();
const served = file ? null : await serve(build({ head: head(), rows: manyRows(300) }));
const url = file && pathToFileURL(resolve(file)).href;
const site = served ?? { url, folder: new URL('.', url).href };
const PHONE = { viewport: { width: 390, height: 844 }, deviceScaleFactor: 2, hasTouch: true };

/** Opens the page, gives a few marks, does something and takes a screenshot. */
async function shot(name, options, action = () => {}) {
  const page = await open(browser, site, options);
  for (const key of ['ArrowRight', 'ArrowLeft', 'p', 'ArrowRight', '5', 'x', 'x', 'p', '3']) {
    await page.keyboard.press(key);
  }
  await action(page);
  await page.waitForFunction(() => [...document.images].every((image) => image.naturalWidth > 0));
  await page.waitForTimeout(300);
  await page.screenshot({ path: join(folder, `${name}.png`) });
  for (const fault of await page.end()) console.error(`${name}: ${fault}`);
}
const group = async (page) => {
  const last = (await page.locator('#group option').count()) - 1;
  await page.locator('#group').selectOption({ index: last });
  await page.evaluate(() => document.getElementById('main').scrollTo(0, 0));
};
const view =
  (...keys) =>
  async (page) => {
    for (const key of keys) await page.keyboard.press(key);
  };

await shot('light', {});
await shot('dark', { colorScheme: 'dark' });
await shot('groups', { colorScheme: 'dark' }, group);
await shot('dense', {}, async (page) => {
  await page.locator('#scale').focus();
  await view('ArrowLeft', 'ArrowLeft')(page);
});
await shot('view', { colorScheme: 'dark' }, view('ArrowLeft', 'ArrowLeft', 'Enter', 'i'));
await shot('compare', { colorScheme: 'dark' }, view('Enter', 'c'));
await shot('use', {}, (page) => page.getByText('Use picks…').click());
await shot('help', {}, view('?'));
await shot('phone', PHONE);
await shot('phone-dark', { ...PHONE, colorScheme: 'dark' });
await shot('phone-view', PHONE, view('Enter'));
await shot('phone-details', PHONE, view('Enter', 'i'));
await shot('phone-use', PHONE, (page) => page.getByText('Use picks…').click());
await browser.close();
await served?.close();

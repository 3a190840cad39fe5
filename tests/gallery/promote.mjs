// Picks the first two images of a page by keyboard and saves the manifest that promotes them to 4K:
// promote.mjs PAGE MANIFEST

import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import { resolve } from 'node:path';
import { pathToFileURL } from 'node:url';

import { launch, open, saved } from './browser.mjs';

const [file, target] = process.argv.slice(2);
const url = pathToFileURL(resolve(file)).href;
const browser = await launch();
const page = await open(browser, { url, folder: new URL('.', url).href });
await page.waitForFunction(() => [...document.images].every((image) => image.naturalWidth > 0));
for (const key of ['ArrowRight', 'ArrowLeft', 'p', '5']) await page.keyboard.press(key);
await page.reload();
await page.locator('.tile').first().waitFor();
assert.match(await page.locator('header [role=status]').textContent(), /2 picked, 0 rejected/);
await page.getByText('Use picks…').click();
const button = page.locator('[name=manifest][value=promote]');
const { bytes } = await saved(page, () => button.click());
writeFileSync(target, bytes);
console.log(`${target}: ${await button.textContent()}`);
assert.deepEqual(await page.end(), []);
await browser.close();

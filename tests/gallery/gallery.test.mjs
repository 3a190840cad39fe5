// The gallery page in Chromium: what it fetches, what it keeps in the document, and its keys.

import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';

import { launch, onDisk, open, serve } from './browser.mjs';
import { head, manyRows, page as build, row, source } from './page.mjs';

let browser;
before(async () => {
  browser = await launch();
});
after(() => browser.close());

/** Runs a test on a served page, which must not do anything that a page must not do. */
async function on(rows, run, options) {
  const site = await serve(build({ head: head({ images: rows.length }), rows }));
  const page = await open(browser, site, options);
  try {
    await run(page, site);
    assert.deepEqual(await page.end(), []);
  } finally {
    await site.close();
  }
}
const images = (page) => page.evaluate(() => document.images.length);
const status = (page) => page.locator('header [role=status]').textContent();
const complete = (page) =>
  page.waitForFunction(() => [...document.images].every((image) => image.naturalWidth > 0));
const focused = (page) =>
  page.evaluate(() => document.activeElement.querySelector('.key')?.textContent);
const press = async (page, ...keys) => {
  for (const key of keys) {
    await page.keyboard.press(key);
    // A dialog announces its end, which returns the focus, in a later task.
    if (key === 'Escape') {
      await page.evaluate(() => new Promise((done) => requestAnimationFrame(() => setTimeout(done))));
    }
  }
};
const isFocused = (page, part) =>
  page.waitForFunction(
    (part) => document.activeElement.querySelector('.key')?.textContent.includes(part),
    part,
  );

test('the sources are below their bounds', () => {
  assert.ok(Buffer.byteLength(source('page.js')) <= 15_000);
  assert.ok(Buffer.byteLength(source('page.css')) <= 8_000);
});

test('the first sheet of 2,000 images takes at most 40 requests', async () => {
  for (const viewport of [
    { width: 1280, height: 800 },
    { width: 2560, height: 1440 },
    { width: 390, height: 844 },
  ]) {
    const run = async (page, site) => {
      await complete(page);
      console.log(`${viewport.width} x ${viewport.height}: ${site.requests.length} requests`);
      assert.ok(site.requests.length <= 40, `${site.requests.length} requests`);
      assert.ok(site.requests.length >= 10, 'the first sheet has images');
    };
    await on(manyRows(2000), run, { viewport });
  }
});

test('at most 500 images are in the document, however far one scrolls', async () => {
  await on(manyRows(2000), async (page) => {
    let most = 0;
    for (const smaller of [0, 3]) {
      await page.locator('#scale').focus();
      await press(page, ...Array(smaller).fill('ArrowLeft'));
      const height = await page.evaluate(() => document.getElementById('main').scrollHeight);
      for (let top = 0; top < height; top += smaller ? 900 : 5000) {
        await page.evaluate((to) => document.getElementById('main').scrollTo(0, to), top);
        await page.evaluate(
          () => new Promise((done) => requestAnimationFrame(() => setTimeout(done))),
        );
        most = Math.max(most, await images(page));
      }
      await page.evaluate(() => document.getElementById('main').scrollTo(0, 1e9));
      await page.getByText('side-1975').waitFor();
      most = Math.max(most, await images(page));
    }
    console.log(`${most} images at most`);
    assert.ok(most <= 500, `${most} images`);
  });
});

test('tiles keep their places while images arrive and lines are filled', async () => {
  await on(manyRows(2000), async (page) => {
    const place = () =>
      page.evaluate(() => {
        const main = document.getElementById('main');
        const { top, left } = document.querySelectorAll('.tile')[8].getBoundingClientRect();
        return [main.scrollHeight, top + main.scrollTop, left];
      });
    const before = await place();
    await complete(page);
    await page.evaluate(() => document.getElementById('main').scrollTo(0, 1500));
    await page.waitForTimeout(200);
    await page.evaluate(() => document.getElementById('main').scrollTo(0, 0));
    await page.waitForTimeout(200);
    assert.deepEqual(await place(), before);
  });
});

test('10,000 rows are searched, filtered and grouped', async () => {
  await on(manyRows(10_000), async (page) => {
    // The time of the processor, because other processes may use the machine.
    const session = await page.context().newCDPSession(page);
    await session.send('Performance.enable', { timeDomain: 'threadTicks' });
    const used = async () => {
      const { metrics } = await session.send('Performance.getMetrics');
      const parts = metrics.filter(({ name }) =>
        /^(Script|Layout|RecalcStyle)Duration$/.test(name),
      );
      return parts.reduce((sum, { value }) => sum + value * 1000, 0);
    };
    for (const [id, value] of [
      ['find', 'navy street'],
      ['find', ''],
      ['status', 'failed'],
      ['status', ''],
      ['group', '1'],
    ]) {
      const before = await used();
      await page.evaluate(
        ([id, value]) => {
          const field = document.getElementById(id);
          field.value = value;
          field.dispatchEvent(new Event('input', { bubbles: true }));
        },
        [id, value],
      );
      const time = (await used()) - before;
      console.log(`${id} "${value}": ${time.toFixed(1)} ms for script, style and layout`);
    }
    await page.evaluate(() => document.getElementById('main').scrollTo(0, 0));
    await page.getByText('side · 2000').waitFor();
    await page.getByLabel('Search key').fill('navy street');
    assert.match(await status(page), /^400 of 10000 shown/);
    await page.getByLabel('Search key').fill('no such image');
    await page.getByText('No image matches').waitFor();
    assert.equal(await images(page), 0);
  });
});

test('images without a result stay in their places, with the reason', async () => {
  const rows = [
    row({ key: 'a' }),
    row({ key: 'b', status: 'blocked', code: 'SAFETY', message: 'refused for safety' }),
    row({ key: 'c', status: 'waiting' }),
    row({ key: 'd', status: 'held' }),
    row({ key: 'e', status: 'failed', code: 'TIMEOUT' }),
    row({ key: 'f', thumb: null }),
  ];
  await on(rows, async (page, site) => {
    const texts = await page
      .locator('.tile')
      .evaluateAll((tiles) => tiles.map((t) => t.textContent));
    assert.deepEqual(texts, [
      'a',
      'blockedrefused for safetyb',
      'waitingc',
      'heldd',
      'failedTIMEOUTe',
      'f',
    ]);
    await complete(page);
    assert.ok(site.requests.some((url) => url.endsWith('/thumbs/a.png.jpg')));
    assert.ok(
      site.requests.some((url) => url.endsWith('/images/f.png')),
      'no thumbnail',
    );
    const attributes = await page
      .locator('.tile img')
      .first()
      .evaluate((image) => ({
        ...Object.fromEntries([...image.attributes].map(({ name, value }) => [name, value])),
        src: null,
      }));
    const expected = {
      loading: 'lazy',
      decoding: 'async',
      width: '928',
      height: '1152',
      src: null,
    };
    assert.deepEqual(attributes, { ...expected, alt: 'Studio packshot of a' });
  });
});

test('everything can be done with the keyboard alone', async () => {
  await on(manyRows(60), async (page) => {
    // Tab leads through the toolbar to one tile only.
    await page.locator('#scale').focus();
    await press(page, 'Tab');
    assert.equal(await focused(page), 'sneaker/white/side-0');
    assert.equal(await page.locator(".tile[tabindex='0']").count(), 1);

    // Arrows move, and a mark moves on.
    await press(page, 'ArrowRight', 'ArrowDown', 'ArrowLeft', 'ArrowUp');
    assert.equal(await focused(page), 'sneaker/white/side-0');
    await press(page, 'p', 'X', '4', 'u');
    assert.match(await status(page), /^sneaker\/rust\/side-3: no mark · 2 picked, 1 rejected$/);
    assert.equal(await focused(page), 'sneaker/rust/side-3');
    const pressed = await page
      .locator('.tile')
      .evaluateAll((tiles) =>
        tiles.slice(0, 4).map((t) => [t.ariaPressed, t.lastChild.textContent]),
      );
    const words = [
      ['true', 'picked'],
      ['false', 'rejected'],
      ['true', '4 stars'],
      ['false', ''],
    ];
    assert.deepEqual(pressed, words);

    // The large view: open, zoom, details, mark, leave.
    await press(page, 'Enter');
    assert.ok(await page.locator('#view').isVisible());
    await press(page, ' ', 'i');
    assert.ok(await page.locator('#zoom').isChecked());
    await page.getByText('Manifest line').waitFor();
    await press(page, 'ArrowRight', 'p');
    assert.equal(await page.locator('#place').textContent(), '6 / 60');
    await press(page, 'Escape');
    assert.ok(!(await page.locator('#view').isVisible()));
    await isFocused(page, 'sneaker/white/top-5');

    // Comparison: the sides swap, and marks apply to the right one.
    await press(page, ' ', 'c');
    const sides = () => page.locator('figcaption').allTextContents();
    assert.deepEqual(await sides(), ['sneaker/white/top-5', 'sneaker/navy/top-6']);
    await press(page, 'ArrowUp');
    assert.deepEqual(await sides(), ['sneaker/navy/top-6', 'sneaker/white/top-5']);
    await press(page, 'ArrowDown', 'ArrowRight');
    assert.deepEqual(await sides(), ['sneaker/white/top-5', 'sneaker/olive/top-7']);
    await press(page, 'x');
    assert.match(
      await page.locator('#view [role=status]').textContent(),
      /^sneaker\/olive\/top-7: rej/,
    );
    await press(page, 'Escape', 'Enter');
    assert.equal(await page.locator('figure').count(), 1, 'leaving ends the comparison');
    await press(page, 'Escape');

    // Search takes letters as text; Escape returns to the tiles.
    await press(page, '/', 'p', 'a', 'i', 'r');
    assert.equal(await page.locator('#find').inputValue(), 'pair');
    await press(page, 'Escape');
    await isFocused(page, 'pair');

    // Help returns the focus, and its switch turns single keys off.
    await press(page, '?');
    assert.ok(await page.locator('#help').isVisible());
    await page.locator('#letters').focus();
    await press(page, ' ', 'Escape');
    await isFocused(page, 'pair');
    const before = await status(page);
    await press(page, 'p', 'x', '3', 'c', '?');
    assert.equal(await status(page), before);
    await page.reload();
    await page.locator('.tile').first().waitFor();
    assert.ok(!(await page.locator('#letters').isChecked()), 'the switch is kept');
  });
});

test('a newer page is shown in place', async () => {
  const older = manyRows(500);
  const newer = manyRows(500).map((values) => {
    return values[4] === 'waiting' ? row({ key: values[0], vars: values[20] }) : values;
  });
  await on(older, async (page) => {
    const waiting = page.locator('.tile', { hasText: 'waiting' });
    await press(page, 'ArrowRight', 'p', 'x');
    await page.evaluate(() => document.getElementById('main').scrollTo(0, 900));
    await page.waitForTimeout(200);
    assert.ok((await waiting.count()) > 0);
    const text = build({
      head: head({ images: 500, closed: false, phase: 'running' }),
      rows: newer,
    });
    await page.evaluate((text) => window.darkroom.replace(text), text);
    assert.equal(await waiting.count(), 0);
    assert.match(await page.locator('#sum').textContent(), /480 succeeded.* running$/);
    assert.equal(await page.evaluate(() => document.getElementById('main').scrollTop), 900);
    assert.equal(await focused(page), 'sneaker/rust/side-3');
    assert.match(await status(page), /1 picked, 1 rejected/);
    const names = ['head', 'panel', 'manifests', 'onDrop', 'replace'];
    assert.deepEqual(await page.evaluate(() => Object.keys(window.darkroom).sort()), names.sort());
  });
});

test('a page from a file shows its images and keeps its marks', async () => {
  const rows = manyRows(30).map((values) => values.map((v) => v));
  const site = onDisk(build({ head: head(), rows }), rows);
  try {
    const page = await open(browser, site);
    await complete(page);
    await press(page, 'ArrowRight', 'p');
    await page.reload();
    await page.locator('.tile').first().waitFor();
    assert.match(await status(page), /1 picked/);
    assert.deepEqual(await page.end(), []);
  } finally {
    site.close();
  }
});

test('a browser that refuses storage or is too old gets a plain explanation', async () => {
  const refuse = () =>
    Object.defineProperty(window, 'localStorage', {
      get: () => {
        throw new Error('refused');
      },
    });
  const note = /does not store marks/;
  await on(
    manyRows(5),
    async (page) => {
      await page.getByText(note).waitFor();
      await press(page, 'ArrowRight', 'p');
      assert.match(await status(page), /1 picked/);
    },
    { init: refuse },
  );
  await on(manyRows(5), (page) => page.getByText(/browser is too old/).waitFor(), {
    init: () => delete window.DecompressionStream,
  });
});

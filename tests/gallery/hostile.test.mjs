// Hostile text in every place of a page: no script runs, no element appears, nothing is requested.
// Pages that are broken on purpose must fail the same checks.

import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';

import { launch, onDisk, open, saved, serve } from './browser.mjs';
import { head, page as build, row } from './page.mjs';

const RUN = 'window.canary=1';
const HOSTILE = [
  `<script>${RUN}</script>`,
  `</script><script>${RUN}</script>`,
  `</SCRIPT ><ScRiPt>${RUN}</sCrIpT>`,
  `<!--<script>`,
  `--><script>${RUN}</script><!--`,
  `]]><script>${RUN}</script>`,
  `<img src=x onerror=${RUN}>`,
  `"><img src=x onerror="${RUN}">`,
  `'><img src=x onerror='${RUN}'>`,
  `" onload="${RUN}" x="`,
  `' onfocus='${RUN}' autofocus='`,
  `" onmouseover=${RUN} style="position:fixed;inset:0" x="`,
  `<svg onload=${RUN}>`,
  `<svg><script>${RUN}</script></svg>`,
  `<svg><animate onbegin=${RUN} attributeName=x dur=1s>`,
  `<math><mtext><script>${RUN}</script></mtext></math>`,
  `<iframe srcdoc="<script>parent.canary=1</script>"></iframe>`,
  `<iframe src="javascript:parent.canary=1"></iframe>`,
  `<object data="javascript:${RUN}"></object>`,
  `<embed src="javascript:${RUN}">`,
  `<a href="javascript:${RUN}" id=job>x</a>`,
  `<form id=main action="javascript:${RUN}"><button>x</button></form>`,
  `<base href="https://example.invalid/">`,
  `<meta http-equiv=refresh content="0;url=https://example.invalid/">`,
  `<link rel=stylesheet href="https://example.invalid/x.css">`,
  `<style>@import "https://example.invalid/x.css"; * { display: none }</style>`,
  `<style></style><script>${RUN}</script>`,
  `</style></title></textarea></template></noscript><script>${RUN}</script>`,
  `<template id=tile><script>${RUN}</script></template>`,
  `<details open ontoggle=${RUN}>`,
  `<input autofocus onfocus=${RUN}>`,
  `<select autofocus onfocus=${RUN}>`,
  `<video><source onerror=${RUN}></video>`,
  `<audio src=x onerror=${RUN}>`,
  `<body onload=${RUN}>`,
  `<marquee onstart=${RUN}>`,
  `<dialog open><form method=dialog><button>x</button></form></dialog>`,
  `<img srcset="https://example.invalid/x.png 1x">`,
  `<x style="background:url(https://example.invalid/x.png)">`,
  `javascript:${RUN}`,
  `data:text/html,<script>${RUN}</script>`,
  `\${window.canary=1}`,
  `{{constructor.constructor('${RUN}')()}}`,
  `&lt;script&gt;${RUN}&lt;/script&gt;`,
  `&#60;img src=x onerror=${RUN}&#62;`,
  `\\u003cscript\\u003e${RUN}\\u003c/script\\u003e`,
  `\u2028<script>${RUN}</script>\u2029`,
  `\u202e<script>${RUN}</script>\u202c`,
  `\0<script>${RUN}</script>`,
  `__proto__`,
  `constructor`,
  `https://example.invalid/x.png`,
  `//example.invalid/x.png`,
  `=HYPERLINK("https://example.invalid/")`,
  `ⓘ${'\u0300'.repeat(300)}`,
  `%3Cscript%3E${RUN}%3C/script%3E`,
];

// Paths that lead out of the folder, and strange ones that don't.
const PATHS = [
  'https://example.invalid/x.png',
  '//example.invalid/x.png',
  '/x.png',
  '../x.png',
  'images/../../x.png',
  'images/./x.png',
  'images//x.png',
  'images',
  'javascript:window.canary=1',
  "data:image/svg+xml,<svg onload='window.canary=1'>",
  'index.html',
  'images\\..\\..\\x.png',
  'images/%2e%2e/%2e%2e/x.png',
  'images/a?b#c&d.png',
  'images/" onerror="window.canary=1.png',
  'images/<b>/ü 雨.png',
];

const ROWS = [
  ...HOSTILE.map((text, i) =>
    row({
      key: text,
      item: text,
      prompt: text,
      status: i % 3 ? 'succeeded' : 'failed',
      image: i % 3 ? `images/${i}.png` : null,
      thumb: null,
      code: text,
      message: text,
      ratio: text,
      lane: text,
      refs: [text, text],
      vars: [text, text],
      provenance: [text],
      warnings: [text],
      extras: [text],
      request: { key: text, prompt: text, model: text, refs: [text], output: { path: text } },
    }),
  ),
  ...PATHS.map((path, i) => row({ key: `path ${i}`, image: path, thumb: null })),
];
const HEAD = head({
  job: `catalog"'><img src=x onerror=window.canary=1></script>`,
  manifest: `s3://"><script>window.canary=1</script>/x`,
  phase: HOSTILE[1],
  variables: [HOSTILE[6], HOSTILE[1]],
});
HEAD.models[0].name = HOSTILE[7];
HEAD.models[1].id = HOSTILE[6];

// Elements that a page makes from rows, apart from those in its markup.
const MADE = [
  'BUTTON',
  'DD',
  'DIV',
  'DT',
  'FIGCAPTION',
  'FIGURE',
  'H2',
  'IMG',
  'OPTION',
  'SPAN',
  'STRONG',
];

/** Lists elements and attributes that should not be there. */
const strangers = (page) =>
  page.evaluate((made) => {
    const markup = new Set(window.markup);
    const strange = [];
    for (const element of document.querySelectorAll('*')) {
      if (!markup.has(element) && !made.includes(element.tagName)) strange.push(element.tagName);
      for (const { name, value } of element.attributes) {
        if (/^on|^srcdoc$|^action$/.test(name)) strange.push(`${element.tagName} ${name}`);
        if (
          /^(src|href)$/.test(name) &&
          !/^(images\/|thumbs\/|blob:|results\.csv|data:,)/.test(value)
        ) {
          strange.push(`${name} ${value}`);
        }
      }
    }
    return strange;
  }, MADE);

/** Uses a page, and returns everything that must not have happened. */
async function attack(browser, site) {
  // The elements of the markup are those of a page without rows.
  const page = await open(browser, site, {
    init: () =>
      document.addEventListener('DOMContentLoaded', () => {
        window.markup = [...document.querySelectorAll('*')];
      }),
  });
  page.setDefaultTimeout(5000);
  const found = new Set();
  const look = async () => {
    for (const stranger of await strangers(page)) found.add(stranger);
    if (await page.evaluate(() => window.canary)) found.add('a script ran');
  };
  try {
    await look();
    await visit(page, look);
  } catch (error) {
    // A page that is broken on purpose may leave, or lose its controls.
    found.add(`stopped: ${error.message}`);
  }
  return [...found, ...(await page.end())];
}

/** Brings every text into every place. */
async function visit(page, look) {
  for (const group of ['0', '1', 'item', 'model', 'lane', 'ratio', 'status', '']) {
    await page.locator('#group').selectOption(group);
    await look();
  }
  await page.getByLabel('Search key').fill('<script>');
  await look();
  await page.getByLabel('Search key').fill('');

  // Every row in the large view with its details, with a mark, and in a comparison.
  await page.getByLabel('Search key').press('Enter');
  await page.keyboard.press('Enter');
  await page.locator('label', { hasText: 'Details' }).click();
  const count = Number((await page.locator('#place').textContent()).split(' / ')[1]);
  for (let i = 0; i < count; i++) {
    await page.keyboard.press(i % 2 ? 'x' : 'p');
    if (i % 8 === 0) await look();
  }
  assert.equal(await page.locator('#place').textContent(), `${count} / ${count}`);
  await page.keyboard.press('c');
  await look();
  await page.keyboard.press('Escape');
  await page.getByText('Use picks…').click();
  for (const name of ['keys', 'csv', 'xmp']) await saved(page, () => page.click(`[name=${name}]`));
  await saved(page, () => page.click('[name=manifest][value=promote]'));
  await look();
}

let browser;
before(async () => {
  browser = await launch();
});
after(() => browser.close());

async function result(options) {
  const site = await serve(build({ head: HEAD, rows: ROWS, ...options }));
  try {
    return [await attack(browser, site), site.requests];
  } finally {
    await site.close();
  }
}

test(`${HOSTILE.length} hostile texts and ${PATHS.length} paths have no effect`, async () => {
  const [found, requests] = await result();
  assert.deepEqual(found, []);
  const images = requests.filter((url) => !url.endsWith('/index.html'));
  assert.ok(images.length >= 30, 'images are fetched');
  assert.ok(images.every((url) => url.startsWith('/jobs/catalog-9cf4/images/')));
  assert.ok(images.includes('/jobs/catalog-9cf4/images/a%3Fb%23c%26d.png'));
  assert.ok(images.includes('/jobs/catalog-9cf4/images/%252e%252e/%252e%252e/x.png'));
});

test('hostile texts have no effect in a page from a file', async () => {
  const safe = ROWS.filter((values) => /^images\/\d+\.png$/.test(values[5] ?? ''));
  const site = onDisk(build({ head: HEAD, rows: safe }), safe);
  try {
    assert.deepEqual(await attack(browser, site), []);
  } finally {
    site.close();
  }
});

// Null controls: the checks find a page that is broken on purpose.
const markup = (script) =>
  script.replace('(node.children[i].textContent = text)', '(node.children[i].innerHTML = text)');
const withoutPolicy = () => "script-src * 'unsafe-inline'; img-src *";

test('null control: text as markup is found behind the policy', async () => {
  const [found] = await result({ change: markup });
  assert.ok(found.includes('SCRIPT') && found.includes('IFRAME') && found.includes('IMG onerror'));
  assert.ok(found.some((text) => /^console: .*Content Security Policy/.test(text)));
  assert.ok(!found.includes('a script ran'), 'the policy holds');
});

test('null control: text as markup runs a script without the policy', async () => {
  const [found] = await result({ change: markup, policy: withoutPolicy });
  assert.ok(found.includes('a script ran'));
});

test('null control: links to other places are found', async () => {
  const [found] = await result({
    change: (script) => script.replace(/const link =[^]*?;\n/, 'const link = (path) => path;\n'),
    policy: withoutPolicy,
  });
  assert.ok(found.some((text) => text.startsWith('request outside: https://example.invalid/')));
  assert.ok(found.includes('src ../x.png'));
});

// Puts a gallery page together from its three sources and made-up rows, as the Rust writer does.
// It makes the pages that no job makes: large ones and hostile ones.

import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { crc32, deflateSync, gzipSync } from 'node:zlib';

const SOURCES = new URL('../../functions/darkroom/src/gallery/', import.meta.url);
const ROWS_IN_SECTION = 500;

/** The source of a part of the page: `page.html`, `page.css` or `page.js`. */
export const source = (name) => readFileSync(new URL(name, SOURCES), 'utf8');

const json = (value) =>
  JSON.stringify(value).replace(
    /[<>&\u2028\u2029]/g,
    (letter) => `\\u${letter.charCodeAt().toString(16).padStart(4, '0')}`,
  );
const hash = (text) => `'sha256-${createHash('sha256').update(text).digest('base64')}'`;
const escaped = (text) => text.replace(/[&<>]/g, (letter) => `&#${letter.charCodeAt()};`);

/**
 * Returns the text of a page. `rows` are positional arrays, `change` edits the script, and `policy`
 * edits the content security policy.
 */
export function page({ head, rows, change = (script) => script, policy = (text) => text }) {
  const script = change(source('page.js'));
  const style = source('page.css');
  const counts = { expected: rows.length };
  for (const row of rows) counts[row[4]] = (counts[row[4]] ?? 0) + 1;
  const cost = rows.reduce((sum, row) => sum + (row[15] ?? 0), 0);
  const sections = [];
  for (let start = 0; start < rows.length; start += ROWS_IN_SECTION) {
    const section = gzipSync(JSON.stringify(rows.slice(start, start + ROWS_IN_SECTION)));
    sections.push(
      `<script type="text/plain" class="rows">${section.toString('base64')}</script>\n`,
    );
  }
  const csp = policy(
    `default-src 'none'; img-src 'self' data:; style-src ${hash(style)}; ` +
      `script-src ${hash(script)}; base-uri 'none'; form-action 'none'`,
  );
  return `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="${csp}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>${escaped(head.job)}</title>
<link rel="icon" href="data:,">
<style>${style}</style>
</head>
<body>
${source('page.html')}
<script type="application/json" id="job">${json(head)}</script>
${sections.join('')}<script type="application/json" id="sums">${json({
    counts,
    cost,
    provenance: { iptc: 0, c2pa: 0, none: rows.length },
  })}</script>
<script>${script}</script>
</body>
</html>
`;
}

/** A head with two models; `members` replace others. */
export const head = (members = {}) => ({
  v: 1,
  job: 'catalog-9cf4',
  manifest: 's3://studio/inbox/catalog.csv',
  phase: 'succeeded',
  updated: '2026-11-27T09:00:00Z',
  images: 0,
  closed: true,
  variables: ['color', 'view'],
  models: [
    {
      id: 'gemini-nano-banana-2.1',
      name: 'nano-banana-2',
      references: 14,
      lanes: ['batch', 'interactive'],
      prices: {
        batch: { '1K': 16800, '2K': 25200, '4K': 56700 },
        interactive: { '1K': 33600, '2K': 50400, '4K': 113400 },
      },
    },
    {
      id: 'gemini-3-pro-image',
      name: 'nano-banana-pro',
      references: 14,
      lanes: ['batch', 'flex', 'interactive'],
      prices: {
        batch: { '1K': 67000, '2K': 67000, '4K': 120000 },
        flex: { '1K': 67000, '2K': 67000, '4K': 120000 },
        interactive: { '1K': 134000, '2K': 134000, '4K': 240000 },
      },
    },
  ],
  ...members,
});

const MEMBERS =
  'key item variant line status image width height bytes thumb model lane ratio size attempts ' +
  'cost code message prompt refs vars request provenance warnings extras';

/** A row of a made image; `members` replace others. */
export function row(members) {
  const { key } = members;
  const prompt = members.prompt === undefined ? `Studio packshot of ${key}` : members.prompt;
  const model = 'gemini-nano-banana-2.1';
  const values = {
    item: key,
    variant: 1,
    line: 2,
    status: 'succeeded',
    image: `images/${key}.png`,
    width: 928,
    height: 1152,
    bytes: 812345,
    thumb: `thumbs/${key}.png.jpg`,
    model: 0,
    lane: 'batch',
    ratio: '4:5',
    size: '1K',
    attempts: 1,
    cost: 16800,
    prompt,
    refs: ['s3://studio/refs/sneaker-side.png'],
    vars: ['white', 'side'],
    request: { key, prompt, model, aspect_ratio: '4:5', image_size: '1K', refs: ['refs/side.png'] },
    provenance: [],
    warnings: [],
    extras: [],
    ...members,
  };
  if (values.status !== 'succeeded' && members.image === undefined) {
    Object.assign(values, { image: null, width: null, height: null, bytes: null, thumb: null });
  }
  return MEMBERS.split(' ').map((name) => values[name] ?? null);
}

const COLORS = ['white', 'navy', 'olive', 'rust', 'black'];
const VIEWS = ['side', 'top', 'pair', 'street', 'detail'];

/** The given number of rows, a few of them without an image. */
export const manyRows = (count) =>
  Array.from({ length: count }, (_, i) => {
    const [color, view] = [COLORS[i % 5], VIEWS[Math.floor(i / 5) % 5]];
    const members = { key: `sneaker/${color}/${view}-${i}`, line: i + 2, vars: [color, view] };
    if (i % 50 === 17) {
      Object.assign(members, {
        status: 'blocked',
        code: 'SAFETY',
        message: 'Gemini refused the prompt: it contains a trademark',
      });
    }
    if (i % 50 === 23) Object.assign(members, { status: 'waiting' });
    if (i % 50 === 31) {
      Object.assign(members, {
        status: 'failed',
        code: 'TIMEOUT',
        message: 'no answer in 60 seconds',
      });
    }
    return row(members);
  });

function chunk(type, data) {
  const body = Buffer.concat([Buffer.from(type), data]);
  const bytes = Buffer.alloc(body.length + 8);
  bytes.writeUInt32BE(data.length);
  body.copy(bytes, 4);
  bytes.writeUInt32BE(crc32(body), body.length + 4);
  return bytes;
}

/** A picture as PNG: an object on a ground, in a color that depends on the number. */
export function picture(number, width = 232, height = 288) {
  const hue = (number * 47) % 360;
  const tone = (shift, level) => {
    const k = (shift + hue / 30) % 12;
    return Math.round(255 * (level - 0.13 * Math.max(-1, Math.min(k - 3, 9 - k, 1))));
  };
  const shades = [0.86, 0.52, 0.34].map((level) => [0, 8, 4].map((shift) => tone(shift, level)));
  const lines = Buffer.alloc(height * (width * 3 + 1));
  const [cx, cy, r] = [
    width / 2,
    height * 0.54,
    Math.min(width, height) * (0.24 + (number % 5) * 0.03),
  ];
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < width; x++) {
      const inside = Math.hypot(x - cx, (y - cy) * 1.25) < r;
      const below = !inside && Math.hypot((x - cx) * 0.8, (y - cy - r * 0.8) * 5) < r;
      const shade = shades[inside ? 1 : below ? 2 : 0];
      const light = 1.06 - (y / height) * 0.18 - (inside ? ((x - cx) / r) * 0.12 : 0);
      const at = y * (width * 3 + 1) + 1 + x * 3;
      for (let i = 0; i < 3; i++) lines[at + i] = Math.max(0, Math.min(255, shade[i] * light));
    }
  }
  const header = Buffer.alloc(13);
  header.writeUInt32BE(width);
  header.writeUInt32BE(height, 4);
  header.set([8, 2], 8);
  return Buffer.concat([
    Buffer.from([0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a]),
    chunk('IHDR', header),
    chunk('IDAT', deflateSync(lines)),
    chunk('IEND', Buffer.alloc(0)),
  ]);
}

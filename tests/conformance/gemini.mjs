// Tests the simulated Gemini with Google's JavaScript SDK: node gemini.mjs URL FOLDER
// It uses no code of the simulation and checks only what the SDK returns.
import assert from 'node:assert/strict';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { ApiError, GoogleGenAI } from '@google/genai';

const [url, folder] = process.argv.slice(2);
const [flash, pro] = ['gemini-nano-banana-2.1', 'gemini-3-pro-image'];
const ended = ['JOB_STATE_SUCCEEDED', 'JOB_STATE_FAILED', 'JOB_STATE_CANCELLED', 'JOB_STATE_EXPIRED'];

/** A request in the form of an input file's line, which differs from that of the SDK's own calls. */
const request = (prompt, aspectRatio) => ({
  contents: [{ role: 'user', parts: [{ text: prompt }] }],
  generationConfig: { responseModalities: ['IMAGE'], imageConfig: { aspectRatio } },
});

const lines = (items) => items.map((item) => JSON.stringify(item) + '\n').join('');

function isJpeg(base64) {
  const bytes = Buffer.from(base64, 'base64');
  return bytes.length > 1000 && bytes.readUInt16BE(0) === 0xffd8 && bytes.readUInt16BE(bytes.length - 2) === 0xffd9;
}

async function wait(ai, job) {
  while (!ended.includes(job.state)) {
    await pause(200);
    job = await ai.batches.get({ name: job.name });
  }
  return job;
}

async function refused(status, call) {
  await assert.rejects(call, (error) => error instanceof ApiError && error.status === status, `not refused with ${status}`);
}

async function all(pager) {
  const items = [];
  for await (const item of await pager) items.push(item);
  return items;
}

async function files(ai) {
  const path = join(folder, 'large.jsonl');
  writeFileSync(path, lines(Array.from({ length: 9000 }, (_, n) => ({ key: `k${n}`, request: request('x'.repeat(1000), '1:1') }))));
  const size = readFileSync(path).length;
  assert.ok(size > 8 << 20, 'the file must be larger than one chunk of an upload');
  const uploaded = await ai.files.upload({ file: path, config: { displayName: 'large', mimeType: 'application/jsonl' } });
  assert.equal(uploaded.state, 'ACTIVE');
  assert.equal(Number(uploaded.sizeBytes), size);
  assert.equal((await ai.files.get({ name: uploaded.name })).displayName, 'large');
  const other = await ai.files.upload({ file: new Blob(['x']), config: { mimeType: 'text/plain' } });
  const listed = (await all(ai.files.list({ config: { pageSize: 1 } }))).map((file) => file.name);
  assert.ok(listed.includes(uploaded.name) && listed.includes(other.name));
  for (const { name } of [uploaded, other]) await ai.files.delete({ name });
  await refused(403, () => ai.files.get({ name: uploaded.name }));
}

async function batchByFile(ai) {
  const wanted = { 'sky/wide': '16:9', 'sky/tall': '9:16', 'sky/square': '1:1' };
  const path = join(folder, 'in.jsonl');
  writeFileSync(path, lines(Object.entries(wanted).map(([key, ratio]) => ({ key, request: request(key, ratio) }))));
  const source = await ai.files.upload({ file: path, config: { mimeType: 'jsonl' } });
  const job = await wait(ai, await ai.batches.create({ model: flash, src: source.name, config: { displayName: 'by file' } }));
  assert.equal(job.state, 'JOB_STATE_SUCCEEDED');
  const downloadPath = join(folder, 'out.jsonl');
  await ai.files.download({ file: job.dest.fileName, downloadPath });
  // The SDK's promise resolves before all bytes are on disk.
  let results = [];
  for (let tries = 0; results.length < 3 && tries < 50; tries += 1) {
    await pause(100);
    const text = readFileSync(downloadPath, 'utf8');
    if (text.endsWith('\n')) results = text.trimEnd().split('\n').map((line) => JSON.parse(line));
  }
  assert.deepEqual(results.map((line) => line.key).sort(), Object.keys(wanted).sort());
  for (const line of results) assert.ok(isJpeg(line.response.candidates[0].content.parts.at(-1).inlineData.data), line.key);
  await ai.batches.delete({ name: job.name });
  await refused(404, () => ai.batches.get({ name: job.name }));
}

async function batchInline(ai) {
  const src = ['lamp', 'chair'].map((key) => ({
    contents: [{ role: 'user', parts: [{ text: `a ${key}` }] }],
    metadata: { key },
    config: { responseModalities: ['IMAGE'], imageConfig: { aspectRatio: '1:1', imageSize: '1K' } },
  }));
  const job = await wait(ai, await ai.batches.create({ model: pro, src, config: { displayName: 'inline' } }));
  assert.equal(job.state, 'JOB_STATE_SUCCEEDED');
  const answers = job.dest.inlinedResponses;
  assert.equal(answers.length, 2);
  for (const { response } of answers) assert.ok(isJpeg(response.candidates[0].content.parts.at(-1).inlineData.data));
}

async function listAndCancel(ai) {
  const src = [{ contents: [{ role: 'user', parts: [{ text: 'a stone' }] }] }];
  const made = [];
  for (const n of [0, 1, 2]) made.push(await ai.batches.create({ model: flash, src, config: { displayName: `list ${n}` } }));
  await ai.batches.cancel({ name: made[0].name });
  assert.equal((await wait(ai, made[0])).state, 'JOB_STATE_CANCELLED');
  const listed = (await all(ai.batches.list({ config: { pageSize: 1 } }))).map((job) => job.name);
  for (const { name } of made) assert.ok(listed.includes(name), name);
}

async function single(ai) {
  const config = { responseModalities: ['IMAGE'], imageConfig: { aspectRatio: '3:2' } };
  const response = await ai.models.generateContent({ model: flash, contents: 'a blue door', config });
  assert.ok(isJpeg(response.data));
  assert.ok(response.usageMetadata.promptTokenCount > 0);
  const streamed = [];
  for await (const piece of await ai.models.generateContentStream({ model: flash, contents: 'a blue door', config })) streamed.push(piece);
  assert.ok(streamed.length === 1 && isJpeg(streamed[0].data));
  const { totalTokens } = await ai.models.countTokens({ model: flash, contents: 'a blue door' });
  assert.equal(totalTokens, response.usageMetadata.promptTokenCount);
  const models = (await all(ai.models.list({ config: { pageSize: 2 } }))).map((model) => model.name);
  assert.ok(models.includes(`models/${flash}`));
  await refused(404, () => ai.models.generateContent({ model: 'gemini-none', contents: 'x' }));
  await refused(404, () => ai.batches.get({ name: 'batches/none' }));
}

const { version } = JSON.parse(readFileSync(new URL('node_modules/@google/genai/package.json', import.meta.url)));
for (const apiVersion of [undefined, 'v1beta']) {
  const ai = new GoogleGenAI({ apiKey: "any", apiVersion, httpOptions: { baseUrl: url } });
  await files(ai);
  await batchByFile(ai);
  await batchInline(ai);
  await listAndCancel(ai);
  await single(ai);
  console.log(`@google/genai ${version}, ${apiVersion ?? 'its own version of the API'}: passed`);
}

// Tests the simulated Gemini with Vercel's AI SDK and Google's previous SDK for JavaScript:
// node clients.mjs URL
//
// It uses no code of the simulation and checks only what the clients return.
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { setTimeout as pause } from 'node:timers/promises';
import { createGoogle } from '@ai-sdk/google';
import { GoogleGenerativeAI } from '@google/generative-ai';
import { GoogleAIFileManager } from '@google/generative-ai/server';
import {
  experimental_cancelBatch as cancelBatch,
  experimental_getBatchResults as getBatchResults,
  experimental_getBatchStatus as getBatchStatus,
  experimental_listBatches as listBatches,
  experimental_startBatch as startBatch,
  generateImage,
  generateText,
  streamText,
  uploadFile,
} from 'ai';

const [url] = process.argv.slice(2);
const model = 'gemini-nano-banana-2.1';
const google = createGoogle({ baseURL: `${url}/v1beta`, apiKey: "any" });
globalThis.AI_SDK_LOG_WARNINGS = false;

/** Width and height, from the first frame header of a JPEG file. */
function jpegSize(bytes) {
  const data = Buffer.from(bytes);
  assert.equal(data.readUInt16BE(0), 0xffd8);
  for (let at = 2; ; at += 2 + data.readUInt16BE(at + 2)) {
    const isFrame = [0xffc0, 0xffc1, 0xffc2].includes(data.readUInt16BE(at));
    if (isFrame) return [data.readUInt16BE(at + 7), data.readUInt16BE(at + 5)];
  }
}

/** A single image, one made from it, and one as a part of a text and of a streamed text. */
async function aiSdkImages() {
  const painter = google.image(model);
  const { image, usage } = await generateImage({ model: painter, prompt: 'a blue door', aspectRatio: '3:2' });
  assert.deepEqual(jpegSize(image.uint8Array), [1264, 848]);
  assert.ok(usage.inputTokens > 0 && usage.outputTokens >= 1120);
  const edited = await generateImage({ model: painter, prompt: { text: 'in red', images: [image.uint8Array] } });
  assert.deepEqual(jpegSize(edited.image.uint8Array), [1264, 848]);

  const options = { google: { responseModalities: ['TEXT', 'IMAGE'], imageConfig: { aspectRatio: '1:1' } } };
  const whole = await generateText({ model: google(model), prompt: 'a blue door', providerOptions: options });
  assert.ok(whole.text.length > 0);
  assert.deepEqual(jpegSize(whole.files[0].uint8Array), [1024, 1024]);
  const streamed = streamText({ model: google(model), prompt: 'a blue door', providerOptions: options });
  const files = await streamed.files;
  assert.deepEqual(jpegSize(files[0].uint8Array), [1024, 1024]);
  assert.equal(await streamed.finishReason, 'stop');
}

/** An uploaded file. */
async function aiSdkFiles() {
  const data = Buffer.from('a red door');
  const { providerReference } = await uploadFile({ api: google.files(), data, mediaType: 'text/plain' });
  assert.match(providerReference.google, /\/files\//);
}

/** A batch of images from its start to its results, the list of batches, and a canceled batch. */
async function aiSdkBatches() {
  const wanted = { lamp: ['1:1', [1024, 1024]], chair: ['16:9', [1376, 768]], desk: ['9:16', [768, 1376]] };
  const image = (id, aspectRatio) => ({ id, type: 'image', model, prompt: `a ${id}`, aspectRatio });
  const requests = Object.entries(wanted).map(([id, [ratio]]) => image(id, ratio));
  const batch = await startBatch({ provider: google, requests });
  let status = batch;
  while (status.status === 'pending') {
    await pause(200);
    status = await getBatchStatus({ provider: google, batch });
  }
  assert.equal(status.status, 'completed');
  assert.equal(status.requestCounts.completed, 3);
  const found = {};
  for await (const result of getBatchResults({ provider: google, batch })) {
    assert.equal(result.status, 'succeeded', JSON.stringify(result.error));
    found[result.id] = jpegSize(result.images[0].uint8Array);
  }
  assert.deepEqual(found, Object.fromEntries(Object.entries(wanted).map(([id, [, size]]) => [id, size])));

  const other = await startBatch({ provider: google, requests: [image('stone', '1:1')] });
  await cancelBatch({ provider: google, batch: other });
  assert.equal((await getBatchStatus({ provider: google, batch: other })).status, 'failed');
  const { batches } = await listBatches({ provider: google, limit: 100 });
  for (const { id } of [batch, other]) assert.ok(batches.some((listed) => listed.id === id), id);
}

/** Google's previous SDK: a multipart upload, an image, a streamed image, and a count of tokens. */
async function oldSdk() {
  const files = new GoogleAIFileManager('judge', { baseUrl: url });
  const bytes = Buffer.from([0x89, 0x50, 0x0d, 0x0a, 0x2d, 0x2d, 0xff, 0x0d, 0x0a]);
  const { file } = await files.uploadFile(bytes, { mimeType: 'image/png', displayName: 'a picture' });
  assert.equal(Number(file.sizeBytes), bytes.length);
  assert.equal((await files.getFile(file.name)).displayName, 'a picture');

  const options = { baseUrl: url };
  const old = new GoogleGenerativeAI('judge').getGenerativeModel({ model, systemInstruction: 'Draw.' }, options);
  const prompt = ['a blue door', { fileData: { mimeType: file.mimeType, fileUri: file.uri } }];
  const imageOf = (response) => Buffer.from(response.candidates[0].content.parts.at(-1).inlineData.data, 'base64');
  const { response } = await old.generateContent(prompt);
  assert.deepEqual(jpegSize(imageOf(response)), [1024, 1024]);
  const streamed = await old.generateContentStream(prompt);
  let pieces = 0;
  for await (const piece of streamed.stream) {
    jpegSize(imageOf(piece));
    pieces += 1;
  }
  assert.equal(pieces, 1);
  const { totalTokens } = await old.countTokens(prompt);
  assert.equal(totalTokens, response.usageMetadata.promptTokenCount);
  await files.deleteFile(file.name);
}

const packageOf = (name) => new URL(`node_modules/${name}/package.json`, import.meta.url);
const version = (name) => JSON.parse(readFileSync(packageOf(name))).version;
await aiSdkImages();
await aiSdkFiles();
await aiSdkBatches();
console.log(`ai ${version('ai')}, @ai-sdk/google ${version('@ai-sdk/google')}, its batches too: passed`);
await oldSdk();
console.log(`@google/generative-ai ${version('@google/generative-ai')}: passed`);

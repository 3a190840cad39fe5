// The image batches of Vercel's AI SDK with @ai-sdk/google, as its guide shows them: node ai_sdk.mjs MANIFEST BUCKET
//
// The AI SDK starts the batch and reads its results; this script polls, and puts each image into S3. The reference of the
// batch is kept in a file, as the guide recommends, so that a second start continues with the same batch. A list of the
// images that were not stored is printed at the end.
//
// Environment: GEMINI_API_KEY, GEMINI_BASE_URL (the default is Google's), AWS_* for the AWS SDK, POLL_SECONDS (default 10).
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { setTimeout as pause } from 'node:timers/promises';
import { createGoogle } from '@ai-sdk/google';
import { PutObjectCommand, S3Client } from '@aws-sdk/client-s3';
import { experimental_getBatchResults as getBatchResults, experimental_getBatchStatus as getBatchStatus,
  experimental_startBatch as startBatch } from 'ai';

const MODEL = 'gemini-nano-banana-2.1';
const REFERENCE = 'batch.json';
const [manifest, bucket] = process.argv.slice(2);
// The manifest has two columns, and its prompts are not quoted.
const rows = readFileSync(manifest, 'utf8').trim().split(/\r?\n/).slice(1);
const prompts = new Map(rows.map((row) => [row.slice(0, row.indexOf(',')), row.slice(row.indexOf(',') + 1)]));
const base = process.env.GEMINI_BASE_URL;
const provider = createGoogle({ apiKey: process.env.GEMINI_API_KEY, baseURL: base && `${base}/v1beta` });
const s3 = new S3Client({ forcePathStyle: true });

async function start() {
  const requests = [...prompts].map(([id, prompt]) => ({ id, type: 'image', model: MODEL, prompt }));
  const batch = await startBatch({ provider, requests });
  writeFileSync(REFERENCE, JSON.stringify(batch));
  return batch;
}

async function put(key, image) {
  const Key = `out/${key}.${image.mediaType === 'image/jpeg' ? 'jpg' : image.mediaType.slice('image/'.length)}`;
  await s3.send(new PutObjectCommand({ Bucket: bucket, Key, Body: image.uint8Array, ContentType: image.mediaType }));
  stored.add(key);
}

const batch = existsSync(REFERENCE) ? JSON.parse(readFileSync(REFERENCE, 'utf8')) : await start();
let { status, error } = await getBatchStatus({ provider, batch });
while (status === 'pending') {
  await pause(1000 * (process.env.POLL_SECONDS ?? 10));
  ({ status, error } = await getBatchStatus({ provider, batch }));
}
if (status === 'failed') throw new Error(error?.message ?? 'the batch failed');

const stored = new Set(), running = new Set();
for await (const item of getBatchResults({ provider, batch })) {
  if (item.type === 'image' && item.status === 'succeeded') {
    for (const image of item.images) {
      while (running.size >= 8) await Promise.race(running);
      const task = put(item.id, image).finally(() => running.delete(task));
      running.add(task);
    }
  } else console.error(item.id, item.status, item.error ?? item.text);
}
await Promise.all(running);
const missing = [...prompts.keys()].filter((key) => !stored.has(key));
if (missing.length) {
  console.error(`${missing.length} images are missing: ${missing.join(' ')}`);
  process.exitCode = 2;
}

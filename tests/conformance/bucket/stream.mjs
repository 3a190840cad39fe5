// Tests the bucket of `darkroom serve` with the AWS SDK for JavaScript and streams of unknown length,
// and drops a manifest: node stream.mjs LARGE_FILE
//
// The endpoint and the credentials are in the environment, as `darkroom serve` prints them.
import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { Readable } from 'node:stream';
import { setTimeout as wait } from 'node:timers/promises';

import {
    DeleteObjectCommand, GetObjectCommand, HeadObjectCommand, paginateListObjectsV2, S3Client,
} from '@aws-sdk/client-s3';
import { Upload } from '@aws-sdk/lib-storage';

const Bucket = 'darkroom';
const client = new S3Client();
const upload = (Key, Body) => new Upload({ client, params: { Bucket, Key, Body } }).done();

const name = `stream-${randomBytes(4).toString('hex')}`;
const line = JSON.stringify({ key: 'door', prompt: `a blue door for ${name}` });
await upload(`inbox/${name}.jsonl`, Readable.from([line, '\n']));

const large = await readFile(process.argv[2]);
const Key = 'large/stream.bin';
await upload(Key, createReadStream(process.argv[2]));
const first = await client.send(new HeadObjectCommand({ Bucket, Key, PartNumber: 1 }));
assert.deepEqual([first.PartsCount, first.ContentEncoding], [2, undefined]);
const parts = [];
for (let PartNumber = 1; PartNumber <= first.PartsCount; PartNumber += 1) {
    const part = await client.send(new GetObjectCommand({ Bucket, Key, PartNumber }));
    parts.push(await part.Body.transformToByteArray());
}
assert.ok(Buffer.concat(parts).equals(large));
await client.send(new DeleteObjectCommand({ Bucket, Key }));

async function keys(Prefix) {
    const found = [];
    for await (const page of paginateListObjectsV2({ client }, { Bucket, Prefix })) {
        found.push(...(page.Contents ?? []).map((object) => object.Key));
    }
    return found;
}

const deadline = Date.now() + 60_000;
let marker;
while (!(marker = (await keys(`jobs/${name}-`)).find((key) => key.endsWith('/_SUCCESS')))) {
    assert.ok(Date.now() < deadline, 'the job has not ended within a minute');
    await wait(300);
}
const image = await client.send(new GetObjectCommand({ Bucket, Key: marker.replace('_SUCCESS', 'images/door.jpg') }));
assert.deepEqual([...(await image.Body.transformToByteArray()).subarray(0, 2)], [0xff, 0xd8]);

const { version } = createRequire(import.meta.url)('@aws-sdk/client-s3/package.json');
console.log(`AWS SDK for JavaScript ${version}: passed`);

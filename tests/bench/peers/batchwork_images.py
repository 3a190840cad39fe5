"""Batchwork for Python (batchwork-ai), as its guides show it: batchwork_images.py MANIFEST BUCKET

Batchwork submits the batch, waits for it and reads its results; this script puts each image into S3. The id of the batch
is kept in a file, from which a second start reopens the job. A list of the images that were not stored is printed at the
end.

Environment: GEMINI_API_KEY and GOOGLE_GENERATIVE_AI_BASE_URL for Batchwork, AWS_* for boto3, POLL_SECONDS (default 15)."""
import asyncio, base64, csv, mimetypes, os, sys
from pathlib import Path
import boto3
from batchwork import BatchImageRequest, BatchRef, Batchwork
from botocore.config import Config

MODEL = "google/gemini-nano-banana-2.1"
ID = Path("batch-id.txt")
manifest, bucket = sys.argv[1:]
with open(manifest, newline="") as file:
    prompts = {row["key"]: row["prompt"] for row in csv.DictReader(file)}
s3 = boto3.client("s3", config=Config(s3={"addressing_style": "path"}, max_pool_connections=16))


async def open_job(client):
    if ID.exists():
        return await client.get_batch(BatchRef(id=ID.read_text(), provider="google"))
    requests = [BatchImageRequest(custom_id=key, prompt=prompt) for key, prompt in prompts.items()]
    job = await client.batch_images(model=MODEL, requests=requests)
    ID.write_text(job.id)
    return job


def put(key, image):
    name = f"out/{key}{mimetypes.guess_extension(image.media_type)}"
    s3.put_object(Bucket=bucket, Key=name, Body=base64.b64decode(image.data), ContentType=image.media_type)


async def main():
    stored, slots = set(), asyncio.Semaphore(8)

    async def store(result):
        async with slots:
            for image in result.images:
                await asyncio.to_thread(put, result.custom_id, image)
        stored.add(result.custom_id)

    async with Batchwork() as client, asyncio.TaskGroup() as tasks:
        job = await open_job(client)
        snapshot = await job.wait(poll_interval=float(os.environ.get("POLL_SECONDS", "15")))
        if snapshot.status != "completed":
            sys.exit(f"the batch ended as {snapshot.status}")
        async for result in job.results():
            if result.images:
                tasks.create_task(store(result))
            else:
                print(f"{result.custom_id}: {result.error or result.text}", file=sys.stderr)
    if missing := [key for key in prompts if key not in stored]:
        print(f"{len(missing)} images are missing: {' '.join(missing)}", file=sys.stderr)
        sys.exit(2)


asyncio.run(main())

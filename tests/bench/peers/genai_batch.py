"""Google's own flow with google-genai, as its page about the Batch API shows it: genai_batch.py MANIFEST BUCKET

Writes the requests to a file, uploads it, creates a batch, polls it, downloads the results, and puts each image into S3.
The name of the batch is kept in a file, so that a second start continues with the same batch. A list of the images that
were not stored is printed at the end.

Environment: GEMINI_API_KEY and GOOGLE_GEMINI_BASE_URL for google-genai, AWS_* for boto3, POLL_SECONDS (default 30)."""
import base64, csv, json, mimetypes, os, sys, time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
import boto3
from botocore.config import Config
from google import genai
from google.genai import types

MODEL = "gemini-nano-banana-2.1"
ENDED = {"JOB_STATE_SUCCEEDED", "JOB_STATE_FAILED", "JOB_STATE_CANCELLED", "JOB_STATE_EXPIRED"}
NAME = Path("batch-name.txt")
manifest, bucket = sys.argv[1:]
with open(manifest, newline="") as file:
    prompts = {row["key"]: row["prompt"] for row in csv.DictReader(file)}
client = genai.Client()
s3 = boto3.client("s3", config=Config(s3={"addressing_style": "path"}, max_pool_connections=16))


def create_batch():
    with open("requests.jsonl", "w") as lines:
        for key, prompt in prompts.items():
            request = {"contents": [{"role": "user", "parts": [{"text": prompt}]}],
                       "generation_config": {"responseModalities": ["IMAGE"]}}
            lines.write(json.dumps({"key": key, "request": request}) + "\n")
    config = types.UploadFileConfig(display_name="requests", mime_type="jsonl")
    uploaded = client.files.upload(file="requests.jsonl", config=config)
    batch = client.batches.create(model=MODEL, src=uploaded.name, config={"display_name": "images"})
    NAME.write_text(batch.name)
    return batch.name


def images(content):
    """Yields the key, the type and the bytes of the image in each result line that has one."""
    for line in content.decode().splitlines():
        if not line:
            continue
        result = json.loads(line)
        key, response = result["key"], result.get("response") or {}
        if result.get("error"):
            print(f"{key}: {result['error']}", file=sys.stderr)
        for candidate in response.get("candidates") or []:
            for part in (candidate.get("content") or {}).get("parts") or []:
                if "inlineData" in part and not part.get("thought"):
                    yield key, part["inlineData"]["mimeType"], base64.b64decode(part["inlineData"]["data"])


def put(key, mime, data):
    name = f"out/{key}{mimetypes.guess_extension(mime)}"
    s3.put_object(Bucket=bucket, Key=name, Body=data, ContentType=mime)
    return key


name = NAME.read_text() if NAME.exists() else create_batch()
batch = client.batches.get(name=name)
while batch.state.name not in ENDED:
    time.sleep(float(os.environ.get("POLL_SECONDS", "30")))
    batch = client.batches.get(name=name)
if batch.state.name != "JOB_STATE_SUCCEEDED":
    sys.exit(f"the batch ended as {batch.state.name}: {batch.error}")
if not (batch.dest and batch.dest.file_name):
    sys.exit("no results found")
content = client.files.download(file=batch.dest.file_name)
with ThreadPoolExecutor(8) as pool:
    stored = set(pool.map(lambda image: put(*image), images(content)))
if missing := [key for key in prompts if key not in stored]:
    print(f"{len(missing)} images are missing: {' '.join(missing)}", file=sys.stderr)
    sys.exit(2)

"""The state machine of the usual batch samples for Step Functions, as one script: step_functions.py MANIFEST BUCKET

The samples for Amazon Bedrock prepare the input, create the job, wait, check its state, and process its output; here for
a Gemini batch. Each task is a function, as for Lambda. Like Step Functions, the script records the state after each
transition, and a second start redrives the execution from the state that failed.

Environment: GEMINI_API_KEY, GEMINI_BASE_URL, AWS_* for boto3, POLL_SECONDS (default 60)."""
import base64, csv, json, mimetypes, os, sys, time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
import boto3, requests
from botocore.config import Config

MODEL, EXECUTION = "gemini-nano-banana-2.1", Path("execution.json")
BASE = os.environ.get("GEMINI_BASE_URL", "https://generativelanguage.googleapis.com")
s3 = boto3.client("s3", config=Config(s3={"addressing_style": "path"}, max_pool_connections=16))
gemini = requests.Session()
gemini.headers["x-goog-api-key"] = os.environ["GEMINI_API_KEY"]


def call(method, url, **arguments):
    response = gemini.request(method, url, timeout=300, **arguments)
    response.raise_for_status()
    return response


def lines_of(data, key):
    return s3.get_object(Bucket=data["bucket"], Key=key)["Body"].read().decode().splitlines()


def prepare_input(data):
    rows = csv.DictReader(lines_of(data, data["manifest"]))
    lines = [{"key": row["key"], "request": {"contents": [{"role": "user", "parts": [{"text": row["prompt"]}]}],
                                             "generationConfig": {"responseModalities": ["IMAGE"]}}} for row in rows]
    body = "".join(json.dumps(line) + "\n" for line in lines).encode()
    s3.put_object(Bucket=data["bucket"], Key="job/input.jsonl", Body=body)
    return "CreateJob", data


def create_job(data):
    body = s3.get_object(Bucket=data["bucket"], Key="job/input.jsonl")["Body"].read()
    start = {"X-Goog-Upload-Protocol": "resumable", "X-Goog-Upload-Command": "start",
             "X-Goog-Upload-Header-Content-Length": str(len(body)), "X-Goog-Upload-Header-Content-Type": "application/jsonl"}
    upload = call("POST", f"{BASE}/upload/v1beta/files", headers=start, json={}).headers["X-Goog-Upload-URL"]
    finish = {"X-Goog-Upload-Offset": "0", "X-Goog-Upload-Command": "upload, finalize"}
    uploaded = call("POST", upload, headers=finish, data=body).json()
    batch = {"display_name": "images", "input_config": {"file_name": uploaded["file"]["name"]}}
    created = call("POST", f"{BASE}/v1beta/models/{MODEL}:batchGenerateContent", json={"batch": batch}).json()
    return "Wait", data | {"batch": created["name"]}


def wait(data):
    time.sleep(float(os.environ.get("POLL_SECONDS", "60")))
    return "CheckState", data


def check_state(data):
    state = call("GET", f"{BASE}/v1beta/{data['batch']}").json()["metadata"]["state"]
    choice = {"BATCH_STATE_SUCCEEDED": "ProcessOutput", "BATCH_STATE_PENDING": "Wait", "BATCH_STATE_RUNNING": "Wait"}
    if state not in choice:
        raise RuntimeError(f"the batch ended as {state}")
    return choice[state], data


def process_output(data):
    output = call("GET", f"{BASE}/v1beta/{data['batch']}").json()["response"]["responsesFile"]
    download = call("GET", f"{BASE}/download/v1beta/{output}:download?alt=media", stream=True)
    with ThreadPoolExecutor(8) as pool:
        stored = set(pool.map(lambda image: put(data["bucket"], *image), images(download.iter_lines(1 << 16))))
    keys = [json.loads(line)["key"] for line in lines_of(data, "job/input.jsonl")]
    return "Done", data | {"missing": [key for key in keys if key not in stored]}


def images(lines):
    for line in filter(None, lines):
        result = json.loads(line)
        for candidate in (result.get("response") or {}).get("candidates") or []:
            for part in (candidate.get("content") or {}).get("parts") or []:
                if "inlineData" in part and not part.get("thought"):
                    yield result["key"], part["inlineData"]["mimeType"], base64.b64decode(part["inlineData"]["data"])


def put(bucket, key, mime, data):
    s3.put_object(Bucket=bucket, Key=f"out/{key}{mimetypes.guess_extension(mime)}", Body=data, ContentType=mime)
    return key


STATES = {"PrepareInput": prepare_input, "CreateJob": create_job, "Wait": wait, "CheckState": check_state,
          "ProcessOutput": process_output}
if EXECUTION.exists():
    state, data = json.loads(EXECUTION.read_text())
else:
    state, data = "PrepareInput", {"bucket": sys.argv[2], "manifest": "job/manifest.csv"}
    s3.upload_file(sys.argv[1], data["bucket"], data["manifest"])
while state != "Done":
    EXECUTION.write_text(json.dumps([state, data]))
    state, data = STATES[state](data)
if data["missing"]:
    print(f"{len(data['missing'])} images are missing: {' '.join(data['missing'])}", file=sys.stderr)
    sys.exit(2)

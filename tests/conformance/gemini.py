"""Tests the simulated Gemini with Google's Python SDK: python gemini.py URL

It uses no code of the simulation and checks only what the SDK returns."""

import base64
import json
import struct
import sys
import tempfile
import time
from pathlib import Path

from google import genai
from google.genai import errors, types

URL = sys.argv[1]
FLASH, PRO = "gemini-nano-banana-2.1", "gemini-3-pro-image"
ENDED = {"JOB_STATE_SUCCEEDED", "JOB_STATE_FAILED", "JOB_STATE_CANCELLED", "JOB_STATE_EXPIRED"}


def request(prompt, ratio):
    """Returns a request in the form of an input file's line, which differs from the SDK's own."""
    config = {"responseModalities": ["IMAGE"], "imageConfig": {"aspectRatio": ratio}}
    return {"contents": [{"role": "user", "parts": [{"text": prompt}]}], "generationConfig": config}


def jpeg_size(data):
    """Returns width and height, from the first frame header of a JPEG file."""
    assert data[:2] == b"\xff\xd8", data[:8]
    at = 2
    while True:
        marker, length = struct.unpack(">xBH", data[at : at + 4])
        if marker in (0xC0, 0xC1, 0xC2):
            height, width = struct.unpack(">HH", data[at + 5 : at + 9])
            return width, height
        at += 2 + length


def wait(client, job):
    while job.state.name not in ENDED:
        time.sleep(0.2)
        job = client.batches.get(name=job.name)
    return job


def refused(code, call):
    try:
        call()
    except errors.APIError as error:
        assert error.code == code, error
        return error
    raise AssertionError(f"not refused with {code}")


def files(client, folder):
    path = folder / "large.jsonl"
    path.write_text("".join(json.dumps({"key": f"k{n}", "request": request("x" * 1000, "1:1")}) + "\n" for n in range(9000)))
    assert path.stat().st_size > 8 << 20, "the file must be larger than one chunk of an upload"
    uploaded = client.files.upload(
        file=path, config=types.UploadFileConfig(display_name="large", mime_type="application/jsonl")
    )
    assert uploaded.state.name == "ACTIVE" and uploaded.size_bytes == path.stat().st_size, uploaded
    kept = client.files.get(name=uploaded.name)
    assert (kept.display_name, kept.sha256_hash) == ("large", uploaded.sha256_hash)
    lifetime = kept.expiration_time - kept.create_time
    assert lifetime.total_seconds() == 48 * 3600, lifetime
    more = [client.files.upload(file=Path(__file__), config={"mime_type": "text/plain"}) for _ in range(2)]
    pager = client.files.list(config={"page_size": 1})
    assert len(pager) == 1
    names = [file.name for file in pager]
    assert {uploaded.name, *(file.name for file in more)} <= set(names) and len(names) == len(set(names)), names
    for file in more:
        client.files.delete(name=file.name)
    refused(403, lambda: client.files.get(name=more[0].name))
    refused(400, lambda: client.files.download(file=uploaded.name))
    client.files.delete(name=uploaded.name)


def batch_by_file(client, folder):
    wanted = {"sky/wide": ("16:9", (1376, 768)), "sky/tall": ("9:16", (768, 1376)), "sky/square": ("1:1", (1024, 1024))}
    path = folder / "in.jsonl"
    path.write_text(
        "".join(json.dumps({"key": key, "request": request(key, ratio)}) + "\n" for key, (ratio, _) in wanted.items())
    )
    source = client.files.upload(file=path, config={"mime_type": "jsonl"})
    job = client.batches.create(model=FLASH, src=source.name, config={"display_name": "by file"})
    assert job.name.startswith("batches/") and job.state.name == "JOB_STATE_PENDING", job
    job = wait(client, job)
    assert job.state.name == "JOB_STATE_SUCCEEDED" and job.dest.file_name, job
    lines = [json.loads(line) for line in client.files.download(file=job.dest.file_name).splitlines()]
    assert sorted(line["key"] for line in lines) == sorted(wanted)
    for line in lines:
        image = line["response"]["candidates"][0]["content"]["parts"][-1]["inlineData"]
        size = jpeg_size(base64.b64decode(image["data"], validate=True))
        assert (image["mimeType"], size) == ("image/jpeg", wanted[line["key"]][1]), line["key"]
        assert line["response"]["usageMetadata"]["candidatesTokenCount"] >= 1120, line["key"]
    refused(400, lambda: client.files.get(name=job.dest.file_name))
    client.batches.delete(name=job.name)
    refused(404, lambda: client.batches.get(name=job.name))


def batch_inline(client):
    source = [
        types.InlinedRequest(
            contents=[types.Content(role="user", parts=[types.Part(text=f"a {what}")])],
            metadata={"key": what},
            config=types.GenerateContentConfig(
                response_modalities=["IMAGE"], image_config=types.ImageConfig(aspect_ratio="1:1", image_size="2K")
            ),
        )
        for what in ("lamp", "chair")
    ]
    job = wait(client, client.batches.create(model=PRO, src=source, config={"display_name": "inline"}))
    assert job.state.name == "JOB_STATE_SUCCEEDED", job
    answers = job.dest.inlined_responses
    assert [answer.metadata["key"] for answer in answers] == ["lamp", "chair"]
    for answer in answers:
        assert jpeg_size(answer.response.candidates[0].content.parts[-1].inline_data.data) == (2048, 2048)


def list_and_cancel(client):
    source = [types.InlinedRequest(contents="a stone", metadata={"key": "stone"})]
    made = [client.batches.create(model=FLASH, src=source, config={"display_name": f"list {n}"}) for n in range(3)]
    client.batches.cancel(name=made[0].name)
    cancelled = wait(client, made[0])
    assert cancelled.state.name == "JOB_STATE_CANCELLED", cancelled
    listed = [job.name for job in client.batches.list(config={"page_size": 1})]
    assert {job.name for job in made} <= set(listed) and len(listed) == len(set(listed)), listed


def single(client):
    response = client.models.generate_content(
        model=FLASH,
        contents="a blue door",
        config=types.GenerateContentConfig(
            response_modalities=["IMAGE"], image_config=types.ImageConfig(aspect_ratio="3:2")
        ),
    )
    image = [part.inline_data for part in response.parts if part.inline_data][-1]
    assert jpeg_size(image.data) == (1264, 848)
    assert response.usage_metadata.prompt_token_count > 0 and response.model_version == FLASH
    reference = types.Part.from_bytes(data=image.data, mime_type="image/jpeg")
    edited = client.models.generate_content(model=FLASH, contents=[reference, "the same in red"])
    assert jpeg_size(edited.parts[-1].inline_data.data) == (1264, 848)
    pieces = list(client.models.generate_content_stream(model=FLASH, contents="a blue door"))
    assert len(pieces) == 1 and jpeg_size(pieces[0].parts[-1].inline_data.data) == (1024, 1024), pieces
    counted = client.models.count_tokens(model=FLASH, contents="a blue door").total_tokens
    assert counted == pieces[0].usage_metadata.prompt_token_count, counted


def models(client):
    names = {model.name: model.supported_actions for model in client.models.list(config={"page_size": 2})}
    assert "batchGenerateContent" in names[f"models/{FLASH}"], names
    assert client.models.get(model=PRO).name == f"models/{PRO}"


def errors_are_understood(client):
    assert refused(404, lambda: client.batches.get(name="batches/none")).status == "NOT_FOUND"
    refused(404, lambda: client.models.generate_content(model="gemini-none", contents="x"))
    bad = refused(400, lambda: client.models.generate_content(
        model=FLASH, contents="x", config={"image_config": {"aspect_ratio": "5:3"}}))
    assert "aspect_ratio must be one of" in bad.message, bad.message
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "bad.jsonl"
        path.write_text('{"key":"a","request":{"content":[]}}\n{"key":"b","request":{"contents":[]},"x":1}\n')
        source = client.files.upload(file=path, config={"mime_type": "application/jsonl"})
        message = refused(400, lambda: client.batches.create(
            model=FLASH, src=source.name, config={"display_name": "bad"})).message
        assert "line 1" in message and "line 2" in message, message


for version in (None, "v1beta"):
    options = types.HttpOptions(base_url=URL, api_version=version, timeout=60_000)
    client = genai.Client(api_key="judge", http_options=options)
    with tempfile.TemporaryDirectory() as folder:
        files(client, Path(folder))
        batch_by_file(client, Path(folder))
    batch_inline(client)
    list_and_cancel(client)
    single(client)
    models(client)
    errors_are_understood(client)
    print(f"google-genai {genai.__version__}, {version or 'its own version of the API'}: passed")

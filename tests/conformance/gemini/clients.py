"""Tests the simulated Gemini with litellm and langchain-google-genai: python clients.py URL

It uses no code of the simulation and checks only what the clients return."""

import base64
import io
import json
import os
import struct
import sys
import time
from importlib.metadata import version

# Without this, litellm downloads prices from the internet when it is imported.
os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"

import litellm
from langchain_google_genai import ChatGoogleGenerativeAI, Modality

URL = sys.argv[1]
MODEL = "gemini-nano-banana-2.1"
TO_GEMINI = {"api_key": "judge", "api_base": URL}


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


def litellm_image():
    made = litellm.image_generation(
        model=f"gemini/{MODEL}", prompt="a blue door", size="1024x1024", api_key="judge", api_base=f"{URL}/v1beta"
    )
    assert jpeg_size(base64.b64decode(made.data[0].b64_json)) == (1024, 1024)
    assert made.usage.output_tokens >= 1120, made.usage


def litellm_batch():
    """Runs a batch from the upload of its file to its results."""
    keys = ["sky/wide", "sky/tall"]
    request = {"contents": [{"parts": [{"text": "the sky"}]}], "generationConfig": {"responseModalities": ["IMAGE"]}}
    lines = "".join(json.dumps({"key": key, "request": request}) + "\n" for key in keys)
    source = litellm.create_file(
        file=("in.jsonl", io.BytesIO(lines.encode()), "application/jsonl"),
        purpose="batch",
        custom_llm_provider="gemini",
        **TO_GEMINI,
    )
    assert source.bytes == len(lines), source
    batch = litellm.create_batch(
        completion_window="24h",
        endpoint="/v1/chat/completions",
        input_file_id=source.id,
        custom_llm_provider="gemini",
        model=MODEL,
        **TO_GEMINI,
    )
    while batch.status in ("validating", "in_progress", "finalizing"):
        time.sleep(0.2)
        batch = litellm.retrieve_batch(batch_id=batch.id, model=MODEL, custom_llm_provider="gemini", **TO_GEMINI)
    assert (batch.status, batch.request_counts.completed) == ("completed", 2), batch
    content = litellm.file_content(file_id=batch.output_file_id, custom_llm_provider="gemini", **TO_GEMINI)
    answers = [json.loads(line) for line in content.text.splitlines()]
    assert sorted(answer["key"] for answer in answers) == sorted(keys)
    for answer in answers:
        data = answer["response"]["candidates"][0]["content"]["parts"][-1]["inlineData"]["data"]
        assert jpeg_size(base64.b64decode(data, validate=True)) == (1024, 1024)


def langchain():
    chat = ChatGoogleGenerativeAI(
        model=MODEL,
        api_key="judge",
        base_url=URL,
        response_modalities=[Modality.TEXT, Modality.IMAGE],
        image_config={"aspect_ratio": "16:9"},
    )

    def image_in(message):
        images = [part for part in message.content if isinstance(part, dict) and part["type"] == "image_url"]
        return base64.b64decode(images[-1]["image_url"]["url"].split(",", 1)[1])

    assert jpeg_size(image_in(chat.invoke("a blue door"))) == (1376, 768)
    streamed = [part for part in chat.stream("a blue door") if isinstance(part.content, list) and part.content]
    assert jpeg_size(image_in(streamed[0])) == (1376, 768)
    assert chat.get_num_tokens("a blue door") == 3


litellm_image()
litellm_batch()
print(f"litellm {version('litellm')}, its batches too: passed")
langchain()
print(f"langchain-google-genai {version('langchain-google-genai')}: passed")

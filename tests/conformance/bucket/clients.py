"""Tests the bucket of `darkroom serve` with minio, and with pandas on s3fs. Each drops a manifest:

    python clients.py LARGE_FILE

The endpoint and the credentials are in the environment, as `darkroom serve` prints them."""

import os
import sys
import time
import uuid
from importlib.metadata import version
from pathlib import Path
from urllib.parse import urlsplit

import pandas
import s3fs
from minio import Minio
from minio.commonconfig import ComposeSource, CopySource

BUCKET = "darkroom"
JPEG = b"\xff\xd8"


def waited_for(look):
    """Calls `look` until it returns a true value, and returns that."""
    deadline = time.monotonic() + 60
    while not (found := look()):
        assert time.monotonic() < deadline, "the job has not ended within a minute"
        time.sleep(0.3)
    return found


def minio(large):
    client = Minio(urlsplit(os.environ["AWS_ENDPOINT_URL"]).netloc, access_key=os.environ["AWS_ACCESS_KEY_ID"],
                   secret_key=os.environ["AWS_SECRET_ACCESS_KEY"], secure=False)
    name = f"minio-{uuid.uuid4().hex[:8]}"
    Path("minio.jsonl").write_text(f'{{"key": "door", "prompt": "a blue door for {name}"}}\n')
    client.fput_object(BUCKET, f"inbox/{name}.jsonl", "minio.jsonl")

    # An upload in parts whose number is not known in advance, then objects composed on the server.
    with large.open("rb") as stream:
        client.put_object(BUCKET, "large/minio.bin", stream, length=-1, part_size=5 << 20)
    client.copy_object(BUCKET, "large/copy.bin", CopySource(BUCKET, "large/minio.bin"))
    sources = [ComposeSource(BUCKET, "large/minio.bin"), ComposeSource(BUCKET, "large/copy.bin")]
    client.compose_object(BUCKET, "large/both.bin", sources)
    assert client.stat_object(BUCKET, "large/both.bin").size == 2 * large.stat().st_size
    client.fget_object(BUCKET, "large/both.bin", "both.bin")
    assert Path("both.bin").read_bytes() == large.read_bytes() * 2
    assert not client.get_object_tags(BUCKET, "large/both.bin")
    for key in ["minio", "copy", "both"]:
        client.remove_object(BUCKET, f"large/{key}.bin")

    def marker():
        return [item.object_name for item in client.list_objects(BUCKET, prefix=f"jobs/{name}-", recursive=True)
                if item.object_name.endswith("/_SUCCESS")]
    root = waited_for(marker)[0].removesuffix("_SUCCESS")
    image = client.get_object(BUCKET, f"{root}images/door.jpg")
    assert image.read().startswith(JPEG)
    image.close()
    print(f"minio {version('minio')}: passed")


def pandas_on_s3fs(large):
    bucket = s3fs.S3FileSystem(use_listings_cache=False)
    name = f"pandas-{uuid.uuid4().hex[:8]}"
    table = pandas.DataFrame({"key": ["door", "lamp"], "prompt": [f"a blue door for {name}", "a green lamp"]})
    table.to_csv(f"s3://{BUCKET}/inbox/{name}.csv", index=False)

    bucket.put_file(str(large), f"{BUCKET}/large/s3fs.bin", chunksize=5 << 20)
    # A copy in parts, by ranges, as for an object of more than 5 GiB.
    bucket.copy(f"{BUCKET}/large/s3fs.bin", f"{BUCKET}/large/copy.bin")
    bucket.merge(f"{BUCKET}/large/both.bin", [f"{BUCKET}/large/s3fs.bin", f"{BUCKET}/large/copy.bin"])
    assert bucket.cat_file(f"{BUCKET}/large/both.bin") == large.read_bytes() * 2
    assert bucket.get_tags(f"{BUCKET}/large/both.bin") == {}
    bucket.rm([f"{BUCKET}/large/{key}.bin" for key in ["s3fs", "copy", "both"]])
    assert not bucket.exists(f"{BUCKET}/large/both.bin")

    root = waited_for(lambda: bucket.glob(f"{BUCKET}/jobs/{name}-*/_SUCCESS"))[0].removesuffix("_SUCCESS")
    results = pandas.read_csv(f"s3://{root}results.csv")
    assert sorted(results["key"]) == ["door", "lamp"], results
    with bucket.open(f"{root}images/lamp.jpg") as image:
        assert image.read().startswith(JPEG)
    print(f"pandas {pandas.__version__}, s3fs {s3fs.__version__}: passed")


minio(Path(sys.argv[1]))
pandas_on_s3fs(Path(sys.argv[1]))

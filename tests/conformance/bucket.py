"""Tests the bucket and the queues of `darkroom serve` with boto3, and drops a manifest:

    python bucket.py FOLDER_OF_REFERENCES

The endpoint and the credentials are in the environment, as `darkroom serve` prints them."""

import base64
import hashlib
import json
import os
import sys
import time
import uuid
from pathlib import Path

import boto3
import botocore
from boto3.s3.transfer import TransferConfig
from botocore.exceptions import ClientError

s3, sqs = boto3.client("s3"), boto3.client("sqs")
BUCKET = "darkroom"


def refused(code, call, **arguments):
    try:
        call(**arguments)
    except ClientError as error:
        assert error.response["Error"]["Code"] == code, error
        return
    raise AssertionError(f"not refused with {code}")


def bucket():
    name = f"judged-{uuid.uuid4().hex[:12]}"
    s3.create_bucket(Bucket=name)
    s3.put_object(Bucket=name, Key="a b+c/ü.txt", Body=b"one", ContentType="text/plain", Metadata={"who": "judge"},
                  ChecksumAlgorithm="SHA256")
    head = s3.head_object(Bucket=name, Key="a b+c/ü.txt", ChecksumMode="ENABLED")
    assert (head["ContentLength"], head["ContentType"], head["Metadata"]) == (3, "text/plain", {"who": "judge"}), head
    assert head["ChecksumSHA256"] == base64.b64encode(hashlib.sha256(b"one").digest()).decode(), head
    refused("PreconditionFailed", s3.put_object, Bucket=name, Key="a b+c/ü.txt", Body=b"two", IfNoneMatch="*")
    s3.put_object(Bucket=name, Key="a b+c/ü.txt", Body=b"two", IfMatch=head["ETag"])
    refused("NoSuchKey", s3.get_object, Bucket=name, Key="none")

    large = os.urandom(11 << 20)
    path = Path("large.bin")
    path.write_bytes(large)
    parts = TransferConfig(multipart_threshold=5 << 20, multipart_chunksize=5 << 20)
    s3.upload_file(str(path), name, "large.bin", Config=parts)
    assert s3.head_object(Bucket=name, Key="large.bin")["ETag"].endswith('-3"')
    piece = s3.get_object(Bucket=name, Key="large.bin", Range="bytes=5242870-5242889")
    assert piece["Body"].read() == large[5242870:5242890]
    s3.copy_object(Bucket=name, Key="copy.bin", CopySource={"Bucket": name, "Key": "large.bin"})
    s3.download_file(name, "copy.bin", str(path))
    assert path.read_bytes() == large
    # A copy in parts, each of which is a range of the original.
    s3.copy({"Bucket": name, "Key": "large.bin"}, name, "in parts.bin", Config=parts)
    assert s3.head_object(Bucket=name, Key="in parts.bin")["ETag"].endswith('-3"')
    s3.download_file(name, "in parts.bin", str(path))
    assert path.read_bytes() == large
    path.unlink()

    for number in range(25):
        s3.put_object(Bucket=name, Key=f"many/{number:02}", Body=b"x")
    pages = s3.get_paginator("list_objects_v2").paginate(Bucket=name, Prefix="many/", PaginationConfig={"PageSize": 10})
    keys = [item["Key"] for page in pages for item in page["Contents"]]
    assert keys == [f"many/{number:02}" for number in range(25)], keys
    folders = s3.list_objects_v2(Bucket=name, Delimiter="/")
    assert [folder["Prefix"] for folder in folders["CommonPrefixes"]] == ["a b+c/", "many/"], folders
    s3.delete_objects(Bucket=name, Delete={"Objects": [{"Key": key} for key in keys]})
    assert s3.list_objects_v2(Bucket=name, Prefix="many/")["KeyCount"] == 0


def queue():
    dead = sqs.create_queue(QueueName=f"judged-{uuid.uuid4().hex[:12]}-dead")["QueueUrl"]
    arn = sqs.get_queue_attributes(QueueUrl=dead, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
    policy = json.dumps({"deadLetterTargetArn": arn, "maxReceiveCount": "1"})
    url = sqs.create_queue(QueueName=f"judged-{uuid.uuid4().hex[:12]}", Attributes={"RedrivePolicy": policy})["QueueUrl"]
    # boto3 verifies the MD5 checksums of the messages that it sends and receives.
    text = {"kind": {"DataType": "String", "StringValue": "test"}}
    sqs.send_message(QueueUrl=url, MessageBody="poison", MessageAttributes=text)
    refused("InvalidParameterValue", sqs.send_message, QueueUrl=url, MessageBody="x", DelaySeconds=901)
    received = sqs.receive_message(QueueUrl=url, MessageAttributeNames=["All"])["Messages"][0]
    assert received["MessageAttributes"] == text, received
    sqs.change_message_visibility(QueueUrl=url, ReceiptHandle=received["ReceiptHandle"], VisibilityTimeout=0)
    assert "Messages" not in sqs.receive_message(QueueUrl=url), "received more often than its policy allows"
    buried = sqs.receive_message(QueueUrl=dead, WaitTimeSeconds=5)["Messages"][0]
    assert buried["Body"] == "poison", buried
    entries = [{"Id": str(number), "MessageBody": f"m{number}"} for number in range(10)]
    assert len(sqs.send_message_batch(QueueUrl=url, Entries=entries)["Successful"]) == 10
    bodies = set()
    while len(bodies) < 10:
        messages = sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=10, WaitTimeSeconds=5)["Messages"]
        bodies |= {message["Body"] for message in messages}
        sqs.delete_message_batch(QueueUrl=url, Entries=[
            {"Id": str(number), "ReceiptHandle": message["ReceiptHandle"]} for number, message in enumerate(messages)])
    counts = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["ApproximateNumberOfMessages"])["Attributes"]
    assert counts == {"ApproximateNumberOfMessages": "0"}, counts


def job(references):
    for path in references.iterdir():
        s3.upload_file(str(path), BUCKET, f"refs/{path.name}")
    name = f"doors-{uuid.uuid4().hex[:8]}"
    prompt = f"a blue door of {name}"
    items = [{"key": f"door/{number}", "prompt": prompt, "refs": ["refs/fox.png"]} for number in range(5)]
    s3.put_object(Bucket=BUCKET, Key=f"inbox/{name}.json", Body=json.dumps(items).encode())
    deadline = time.monotonic() + 60
    while True:
        listed = s3.list_objects_v2(Bucket=BUCKET, Prefix=f"jobs/{name}-").get("Contents", [])
        keys = [item["Key"] for item in listed]
        markers = [key for key in keys if "/_" in key]
        if markers:
            break
        assert time.monotonic() < deadline, keys
        time.sleep(0.3)
    assert markers[0].endswith("/_SUCCESS"), markers
    root = markers[0].removesuffix("_SUCCESS")
    images = sorted(key for key in keys if key.startswith(root + "images/"))
    assert images == [f"{root}images/door/{number}.jpg" for number in range(5)], images
    for key in images:
        assert s3.get_object(Bucket=BUCKET, Key=key)["Body"].read().startswith(b"\xff\xd8"), key
    results = s3.get_object(Bucket=BUCKET, Key=root + "results.jsonl")["Body"].read().splitlines()
    assert [json.loads(line)["key"] for line in results] == [item["key"] for item in items]


bucket()
queue()
job(Path(sys.argv[1]))
print(f"boto3 {boto3.__version__}, botocore {botocore.__version__}: passed")

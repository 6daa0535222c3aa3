"""Makes buckets on an S3 server and tries what the tests rely on: put, get, create-only put.

usage: make_buckets.py ENDPOINT ACCESS_KEY SECRET_KEY REGION BUCKET...
"""

import sys

import boto3
from botocore.config import Config
from botocore.exceptions import ClientError


def main() -> None:
    endpoint, access_key, secret_key, region, *buckets = sys.argv[1:]
    client = boto3.client(
        "s3",
        endpoint_url=endpoint,
        aws_access_key_id=access_key,
        aws_secret_access_key=secret_key,
        region_name=region,
        config=Config(
            s3={"addressing_style": "path"},
            retries={"max_attempts": 5},
            connect_timeout=5,
            read_timeout=30,
        ),
    )
    for bucket in buckets:
        client.create_bucket(Bucket=bucket)
        try_create_only(client, bucket)


def try_create_only(client, bucket: str) -> None:
    key = "tried-by-xtask"
    client.put_object(Bucket=bucket, Key=key, Body=b"first", IfNoneMatch="*")
    try:
        client.put_object(Bucket=bucket, Key=key, Body=b"second", IfNoneMatch="*")
    except ClientError as error:
        if error.response["ResponseMetadata"]["HTTPStatusCode"] != 412:
            raise
    else:
        sys.exit(f"bucket {bucket}: a create-only put over an existing object was not refused")
    body = client.get_object(Bucket=bucket, Key=key)["Body"].read()
    if body != b"first":
        sys.exit(f"bucket {bucket}: put b'first', got {body!r}")
    client.delete_object(Bucket=bucket, Key=key)


if __name__ == "__main__":
    main()

# SPDX-License-Identifier: Apache-2.0
"""The objects of a stream behind its mounts' back: to look at, damage and take away.

A Folder and a Prefix do the same for file:// and s3:// streams; keys are relative to the stream.
"""
import contextlib
import os
import uuid

import s3

STORE = os.environ.get("BW_STORE") or "file"
ON_S3 = STORE != "file"
BUCKET = "batchweave"


def use_engine():
    """Points this process and its children at the engine that tests/run has started."""
    variable = "BW_TEST_" + STORE.upper()
    if not os.environ.get(variable):
        raise SystemExit(f"no {STORE} is running: {variable} is not set; tests/run starts it")
    endpoint, key, secret = os.environ[variable].split()
    for name in [n for n in os.environ if n.startswith("AWS_")]:
        del os.environ[name]
    os.environ.update(AWS_ENDPOINT_URL_S3=endpoint, AWS_ACCESS_KEY_ID=key, AWS_SECRET_ACCESS_KEY=secret,
                      AWS_REGION="us-east-1")


class Folder:
    def __init__(self, folder):
        self.dir = folder
        self.url = "file://" + folder

    def path(self, key):
        return os.path.join(self.dir, key)

    def keys(self, part=""):
        """Sorted; those whose path contains part.  The store's own files begin with a dot."""
        found = []
        for folder, _, names in os.walk(self.dir):
            found += [os.path.relpath(os.path.join(folder, n), self.dir) for n in names]
        return sorted(k for k in found if part in "/" + k and "/." not in "/" + k)

    def read(self, key):
        with open(self.path(key), "rb") as f:
            return f.read()

    def write(self, key, data):
        os.makedirs(os.path.dirname(self.path(key)), exist_ok=True)
        with contextlib.suppress(FileNotFoundError):
            os.chmod(self.path(key), 0o644)
        with open(self.path(key), "wb") as f:
            f.write(data)

    def remove(self, key):
        os.unlink(self.path(key))

    def close(self):
        pass


class Prefix:
    def __init__(self):
        self.name = f"mount/{uuid.uuid4().hex}"
        self.url = f"s3://{BUCKET}/{self.name}"
        self.bucket = s3.Bucket(BUCKET)
        self.dir = None

    def keys(self, part=""):
        skip = len(self.name) + 1
        return [k[skip:] for k in self.bucket.list(self.name + "/") if part in k[skip - 1:]]

    def read(self, key):
        return self.bucket.get(f"{self.name}/{key}")

    def write(self, key, data):
        self.bucket.put(f"{self.name}/{key}", data)

    def remove(self, key):
        self.bucket.delete(f"{self.name}/{key}")

    def close(self):
        self.bucket.close()


def new(folder):
    """Objects of a stream that is not there yet; folder() makes a new empty folder."""
    return Prefix() if ON_S3 else Folder(folder())


if ON_S3:
    use_engine()

# SPDX-License-Identifier: Apache-2.0
"""A bucket seen without BatchWeave: what tests look at, take away or damage behind a mount's back.

Path style, AWS signature V4, one request after the other; a Bucket is used by one thread.
"""
import datetime
import hashlib
import hmac
import http.client
import os
import urllib.parse
import xml.etree.ElementTree

PATIENCE = 60  # seconds for an answer; a net, no test measures time


class Refused(Exception):
    """An answer that is not 2xx."""

    def __init__(self, what, status, body):
        super().__init__(f"{what}: {status}: {body[:300]!r}")
        self.status = status


def quote(text, safe="-._~"):
    return urllib.parse.quote(text, safe=safe)


class Bucket:
    def __init__(self, name, endpoint=None, key=None, secret=None, region=None):
        env = os.environ
        self.name = name
        self.host = urllib.parse.urlsplit(endpoint or env["AWS_ENDPOINT_URL_S3"]).netloc
        self.key = key or env["AWS_ACCESS_KEY_ID"]
        self.secret = secret or env["AWS_SECRET_ACCESS_KEY"]
        self.region = region or env.get("AWS_REGION", "us-east-1")
        self.connection = None

    def close(self):
        if self.connection:
            self.connection.close()
            self.connection = None

    def sign(self, method, path, query, headers, payload_hash):
        now = headers["x-amz-date"]
        scope = f"{now[:8]}/{self.region}/s3/aws4_request"
        names = ";".join(sorted(headers))
        lines = "".join(f"{name}:{headers[name]}\n" for name in sorted(headers))
        request = "\n".join([method, path, query, lines, names, payload_hash])
        text = "\n".join(["AWS4-HMAC-SHA256", now, scope, hashlib.sha256(request.encode()).hexdigest()])
        key = ("AWS4" + self.secret).encode()
        for word in scope.split("/"):
            key = hmac.digest(key, word.encode(), "sha256")
        signature = hmac.digest(key, text.encode(), "sha256").hex()
        return (f"AWS4-HMAC-SHA256 Credential={self.key}/{scope}, SignedHeaders={names}, "
                f"Signature={signature}")

    def request(self, method, key="", body=b"", query=None, headers=None):
        """(status, headers, body) of one request, whatever the status."""
        path = "/" + self.name + ("/" + quote(key, "-._~/") if key else "")
        line = "&".join(f"{quote(k)}={quote(str(v))}" for k, v in sorted((query or {}).items()))
        now = datetime.datetime.now(datetime.timezone.utc).strftime("%Y%m%dT%H%M%SZ")
        payload_hash = hashlib.sha256(body).hexdigest()
        sent = {"host": self.host, "x-amz-date": now, "x-amz-content-sha256": payload_hash,
                **(headers or {})}
        sent["authorization"] = self.sign(method, path, line, sent, payload_hash)
        for last in (False, True):  # a connection that was kept may have been closed meanwhile
            if not self.connection:
                self.connection = http.client.HTTPConnection(self.host, timeout=PATIENCE)
            try:
                self.connection.request(method, path + ("?" + line if line else ""), body, sent)
                answer = self.connection.getresponse()
                return answer.status, dict(answer.getheaders()), answer.read()
            except (http.client.HTTPException, ConnectionError):
                self.close()
                if last:
                    raise

    def ask(self, method, key="", *args, **kwargs):
        status, headers, body = self.request(method, key, *args, **kwargs)
        if status // 100 != 2:
            raise Refused(f"{method} {self.name}/{key}", status, body)
        return headers, body

    def get(self, key):
        return self.ask("GET", key)[1]

    def put(self, key, body, **headers):
        self.ask("PUT", key, body if isinstance(body, bytes) else body.encode(), headers=headers)

    def delete(self, key):
        self.ask("DELETE", key)

    def exists(self, key):
        try:
            self.get(key)
        except Refused as e:
            if e.status != 404:
                raise
            return False
        return True

    def list(self, prefix=""):
        """Every key with the prefix, sorted by the store."""
        found, token = [], None
        while True:
            query = {"list-type": 2, "prefix": prefix}
            if token:
                query["continuation-token"] = token
            root = xml.etree.ElementTree.fromstring(self.ask("GET", query=query)[1])
            space = root.tag[:root.tag.index("}") + 1] if "}" in root.tag else ""
            found += [e.text for e in root.findall(f"{space}Contents/{space}Key")]
            token = root.findtext(f"{space}NextContinuationToken")
            if not token:
                return found

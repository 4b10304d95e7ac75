# SPDX-License-Identifier: Apache-2.0
"""A small S3 server in memory that can break one rule: for tests of what refuses such stores.

    with BrokenS3("no-condition") as s3: ... s3.endpoint ...

It speaks what BatchWeave needs (put, get, head, range, list, delete, delete of many, multipart) with the bucket
in the path, or one named bucket in the host name, and takes any signature.  What it can break is in RULES.
"""
import email.utils
import hashlib
import http.server
import re
import socket
import sys
import threading
import time
import urllib.parse
import xml.sax.saxutils

RULES = {
    "": "nothing: it is a good store",
    "no-condition": "If-None-Match is ignored",
    "no-condition-in-parts": "If-None-Match is ignored when parts are put together",
    "condition-in-parts-refused": "If-None-Match is answered 501 when parts are put together",
    "no-range": "Range is ignored",
    "unordered": "lists in falling order",
    "no-pages": "start-after and the continuation token are ignored",
    "no-list": "listing is answered 501",
    "no-end": "a listing does not say whether it is the last page",
    "no-times": "a GET does not say when the object was written",
    "no-delete-many": "deleting many in one request is answered 501",
    "stale": "a new object is not seen by the next read of it",
    "elsewhere": "it is in the region eu-test-1, and says so to whoever signs for another",
    "denied": "everything is answered 403",
    "read-only": "puts and deletes are answered 403",
    "says STATUS CODE": "everything is answered so",
    "no-bucket": "everything is answered 404 NoSuchBucket",
    "silent": "no answer, ever",
    "stalls": "each name is read in vain the first time: no answer, ever",
    "slow-down": "each name is read in vain the first time: 503 SlowDown",
    "errors": "everything is answered 500",
    "no-data": "puts of batches are answered 500",
    "no-writes": "puts are answered 500",
    "slow-data": "the body of a batch is taken in slowly, for SLOW_S seconds",
}


SLOW_S = 66  # more than any single request has


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *args):
        pass

    # ---- answers ----

    def answer(self, status, body=b"", **headers):
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("x-amz-request-id", "tx0001")
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def error(self, status, code):
        self.answer(status, f"<Error><Code>{code}</Code><Message>no</Message></Error>".encode())

    def xml(self, name, inside, **headers):
        self.answer(200, f'<?xml version="1.0"?><{name} xmlns="http://s3.amazonaws.com/doc/2006-03-01/">{inside}'
                         f"</{name}>".encode(), **headers)

    # ---- requests ----

    def read_slowly(self, length):
        pieces = []
        for at in range(SLOW_S * 10):
            pieces.append(self.rfile.read(length * (at + 1) // (SLOW_S * 10) - length * at // (SLOW_S * 10)))
            time.sleep(0.1)
        return b"".join(pieces)

    def begin(self):
        """Reads the request whole; what every request breaks ends here.  True: go on."""
        length = int(self.headers.get("Content-Length") or 0)
        if self.server.s3.rule == "slow-data" and self.command == "PUT" and "/data/" in self.path:
            self.body = self.read_slowly(length)
        else:
            self.body = self.rfile.read(length)
        url = urllib.parse.urlsplit(self.path)
        self.query = dict(urllib.parse.parse_qsl(url.query, keep_blank_values=True))
        path = urllib.parse.unquote(url.path).lstrip("/")
        in_host = self.headers.get("Host", "").startswith("bucket.")
        self.key = path if in_host else path.partition("/")[2]
        s3, rule = self.server.s3, self.server.s3.rule
        time.sleep(s3.delay)
        with s3.lock:
            s3.holding += self.command in s3.held
        while self.command in s3.held and not s3.over.is_set():
            time.sleep(0.01)
        with s3.lock:
            s3.requests.append((self.command, self.path))
            is_first_get = self.command == "GET" and s3.requests.count(("GET", self.path)) == 1
        s3.before(self.command, self.key)
        if rule == "silent" or (rule == "stalls" and is_first_get):
            s3.over.wait()
            self.close_connection = True
            return False
        if rule == "denied" or self.key in s3.hidden or (rule == "read-only" and self.command in ("PUT", "POST", "DELETE")):
            self.error(403, "AccessDenied")
        elif rule == "elsewhere" and "/eu-test-1/s3/" not in self.headers.get("Authorization", ""):
            s3.sent_away += 1
            self.answer(400, b"<Error><Code>AuthorizationHeaderMalformed</Code></Error>", x_amz_bucket_region="eu-test-1")
        elif rule.startswith("says "):
            self.error(int(rule.split()[1]), rule.split()[2])
        elif rule == "no-bucket":
            self.error(404, "NoSuchBucket")
        elif rule == "slow-down" and is_first_get:
            self.error(503, "SlowDown")
        elif rule == "errors" or (rule == "no-writes" and self.command in ("PUT", "POST")) or (
                rule == "no-data" and self.command == "PUT" and any(d in self.key for d in s3.data)):
            self.error(500, "InternalError")
        else:
            return True
        return False

    def do_PUT(self):
        s3 = self.server.s3
        if not self.begin():
            return
        if "partNumber" in self.query:
            tag = hashlib.md5(self.body).hexdigest()
            with s3.lock:
                s3.uploads[self.query["uploadId"]][int(self.query["partNumber"])] = self.body
            self.answer(200, ETag=f'"{tag}"')
            return
        self.store(self.body, s3.rule == "no-condition")

    def store(self, body, ignore):
        """Puts the object, or says that it is there.  True: it was put."""
        s3 = self.server.s3
        wants = self.headers.get("If-None-Match") == "*" and not ignore
        with s3.lock:
            taken = wants and self.key in s3.objects
            if not taken:
                s3.objects[self.key] = body
                s3.fresh.add(self.key)
        if taken:
            self.error(412, "PreconditionFailed")
        elif self.command == "PUT":
            self.answer(200, ETag='"tag"')
        return not taken

    def do_POST(self):
        s3 = self.server.s3
        if not self.begin():
            return
        if "uploads" in self.query:
            with s3.lock:
                upload = f"upload-{len(s3.requests)}"
                s3.uploads[upload] = {}
            self.xml("InitiateMultipartUploadResult", f"<UploadId>{upload}</UploadId>")
        elif "uploadId" in self.query:
            if self.headers.get("If-None-Match") and s3.rule == "condition-in-parts-refused":
                self.error(501, "NotImplemented")
                return
            with s3.lock:
                parts = s3.uploads[self.query["uploadId"]]
            whole = b"".join(parts[n] for n in sorted(parts))
            if self.store(whole, s3.rule in ("no-condition", "no-condition-in-parts")):
                with s3.lock:
                    s3.uploads.pop(self.query["uploadId"])
                self.xml("CompleteMultipartUploadResult", '<ETag>"tag-1"</ETag>')
        elif "delete" in self.query and s3.rule == "no-delete-many":
            self.error(501, "NotImplemented")
        elif "delete" in self.query:
            for key in re.findall(rb"<Key>([^<]*)</Key>", self.body):
                with s3.lock:
                    s3.objects.pop(xml.sax.saxutils.unescape(key.decode()), None)
            self.xml("DeleteResult", "")
        else:
            self.error(400, "InvalidRequest")

    def do_DELETE(self):
        s3 = self.server.s3
        if not self.begin():
            return
        with s3.lock:
            if "uploadId" in self.query:
                s3.uploads.pop(self.query["uploadId"], None)
            else:
                s3.objects.pop(self.key, None)
        self.answer(204)

    def do_HEAD(self):
        self.do_GET()

    def do_GET(self):
        s3 = self.server.s3
        if not self.begin():
            return
        if not self.key:
            self.list()
            return
        with s3.lock:
            data = s3.objects.get(self.key)
            if s3.rule == "stale" and self.key in s3.fresh:
                s3.fresh.discard(self.key)
                data = None
        if data is None:
            self.error(404, "NoSuchKey")
            return
        span = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range") or "")
        if not span or s3.rule == "no-range":
            times = {} if s3.rule == "no-times" else {"Last_Modified": email.utils.formatdate(usegmt=True)}
            self.answer(200, data, ETag='"tag"', **times)
            return
        first = int(span.group(1))
        last = min(int(span.group(2) or len(data)), len(data) - 1)
        if first >= len(data):
            self.error(416, "InvalidRange")
            return
        self.answer(206, data[first:last + 1], ETag='"tag"',
                    Content_Range=f"bytes {first}-{last}/{len(data)}")

    def list(self):
        s3 = self.server.s3
        if s3.rule == "no-list":
            self.error(501, "NotImplemented")
            return
        prefix = self.query.get("prefix", "")
        after = self.query.get("continuation-token") or self.query.get("start-after") or self.query.get("marker", "")
        limit = int(self.query.get("max-keys", 1000))
        with s3.lock:
            keys = sorted((k for k in s3.objects if k.startswith(prefix)), key=str.encode)
        if s3.rule != "no-pages":
            keys = [k for k in keys if k > after]
        if s3.rule == "unordered":
            keys.reverse()
        page, more = keys[:limit], len(keys) > limit
        encode = urllib.parse.quote if self.query.get("encoding-type") == "url" else xml.sax.saxutils.escape
        inside = "".join(f"<Contents><Key>{encode(k)}</Key><LastModified>2026-01-01T00:00:00.000Z</LastModified>"
                         f"<Size>{len(s3.objects.get(k, b''))}</Size></Contents>" for k in page)
        token = f"<NextContinuationToken>{encode(page[-1])}</NextContinuationToken>" if more else ""
        end = f"<IsTruncated>{str(more).lower()}</IsTruncated>" if s3.rule != "no-end" else ""
        self.xml("ListBucketResult",
                 f"<Name>b</Name><Prefix>{encode(prefix)}</Prefix><KeyCount>{len(page)}</KeyCount>"
                 f"<MaxKeys>{limit}</MaxKeys>{end}{token}{inside}")


class Server(http.server.ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 64

    def server_bind(self):
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 17)  # who takes a body in slowly is sent it slowly
        super().server_bind()

    def handle_error(self, request, client_address):
        if not isinstance(sys.exc_info()[1], ConnectionError):  # who asked has gone
            super().handle_error(request, client_address)


class BrokenS3:
    def __init__(self, rule="", host="127.0.0.1", port=0, share=None):
        if rule not in RULES and not rule.startswith("says "):
            raise ValueError(rule)
        self.rule = rule
        self.lock = share.lock if share else threading.Lock()
        self.objects = share.objects if share else {}
        self.uploads = share.uploads if share else {}
        self.fresh = share.fresh if share else set()
        self.requests = []
        self.sent_away = 0
        self.delay = 0  # seconds before each answer
        self.hidden = ()  # keys that are answered 403
        self.data = ("/data/",)  # no-data is about names with one of these in them
        self.held = ()  # methods that get none until this is empty again
        self.holding = 0  # requests that ever got none because of that
        self.before = lambda method, key: None  # called before each answer, on a thread of its own
        self.over = threading.Event()
        self.server = Server((host, port), Handler)
        self.server.s3 = self
        self.port = self.server.server_address[1]
        self.endpoint = f"http://{host}:{self.port}"

    def __enter__(self):
        threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        return self

    def __exit__(self, *args):
        self.over.set()
        self.server.shutdown()
        self.server.server_close()

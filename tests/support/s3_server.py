"""moto's S3 with what a real S3 does and moto does not, for tests/support/s3_server.ts:

- a condition is checked and the object written in one step: moto's threads race between the two;
- a body that ends early is dropped;
- a body that does not match its CRC32 or its SHA-256 is refused;
- an upload that was ended is answered, not an exception;
- If-Match holds for the last step of an upload in parts, too: moto overlooks it there;
- in buckets whose name begins with "unconditional-" conditions are ignored, as older servers do.

Usage: s3_server.py PORT. Ends when its standard input does.
"""

import base64
import binascii
import hashlib
import io
import logging
import os
import sys
import threading

from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import run_simple

moto = DomainDispatcherApplication(create_backend_app)
one_at_a_time = threading.Lock()
WITHOUT_CONDITIONS = "/unconditional-"


def refuse(start_response, status, code):
    body = f"<?xml version='1.0'?><Error><Code>{code}</Code><Message>{code}</Message></Error>"
    start_response(status, [("Content-Type", "application/xml"), ("Content-Length", str(len(body)))])
    return [body.encode()]


def mismatch(environ, body):
    crc = environ.get("HTTP_X_AMZ_CHECKSUM_CRC32")
    named = environ.get("HTTP_X_AMZ_SDK_CHECKSUM_ALGORITHM")
    if crc and named and base64.b64decode(crc) != binascii.crc32(body).to_bytes(4, "big"):
        return "BadDigest"
    sha = environ.get("HTTP_X_AMZ_CONTENT_SHA256", "UNSIGNED-PAYLOAD")
    if len(sha) == 64 and sha != hashlib.sha256(body).hexdigest():
        return "XAmzContentSHA256Mismatch"
    return None


def etag_of_object(environ):
    """Of the object that a request is for; None: there is none."""
    asked = dict(environ, REQUEST_METHOD="HEAD", QUERY_STRING="", CONTENT_LENGTH="0")
    asked["wsgi.input"] = io.BytesIO()
    for name in ("HTTP_IF_MATCH", "HTTP_CONTENT_LENGTH"):
        asked.pop(name, None)
    answer = {}

    def start_response(status, headers, exc_info=None):
        answer.update(dict((name.lower(), value) for name, value in headers), status=status)

    list(moto(asked, start_response))
    return answer.get("etag") if answer["status"].startswith("200") else None


def misses_match(environ):
    """The refusal of a last step whose If-Match does not hold; None where it does, or there is none."""
    is_last = environ["REQUEST_METHOD"] == "POST" and "uploadId=" in environ.get("QUERY_STRING", "")
    wanted = environ.get("HTTP_IF_MATCH")
    if not is_last or wanted is None:
        return None
    etag = etag_of_object(environ)
    if etag is None:
        return "404 Not Found", "NoSuchKey"
    return None if etag == wanted else ("412 Precondition Failed", "PreconditionFailed")


def application(environ, start_response):
    length = int(environ.get("CONTENT_LENGTH") or 0)
    body = environ["wsgi.input"].read(length) if length else b""
    if len(body) < length:
        return refuse(start_response, "400 Bad Request", "IncompleteBody")
    code = mismatch(environ, body)
    if code:
        return refuse(start_response, "400 Bad Request", code)
    environ["wsgi.input"] = io.BytesIO(body)
    if environ["PATH_INFO"].startswith(WITHOUT_CONDITIONS):
        for name in ("HTTP_IF_MATCH", "HTTP_IF_NONE_MATCH"):
            environ.pop(name, None)
    with one_at_a_time:
        missed = misses_match(environ)
        if missed:
            return refuse(start_response, *missed)
        try:
            return list(moto(environ, start_response))
        except KeyError:
            # moto does not know an upload that was ended, and has no answer for that.
            if "uploadId=" in environ.get("QUERY_STRING", ""):
                return refuse(start_response, "404 Not Found", "NoSuchUpload")
            raise


def end_with_input():
    sys.stdin.buffer.read()
    os._exit(0)


# Its own failures are worth reading, its log of every request is not.
logging.getLogger("werkzeug").setLevel(logging.ERROR)
threading.Thread(target=end_with_input, daemon=True).start()
run_simple("127.0.0.1", int(sys.argv[1]), application, threaded=True)

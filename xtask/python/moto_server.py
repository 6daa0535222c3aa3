"""moto as an S3 server whose create-only put is a true one.

moto looks whether there is an object of that name and then writes it, on one thread for each request: of many who create at once
several may be told that they did. Here creates go one after the other.
"""

import io
import os
import sys
import threading

from moto.moto_server.werkzeug_app import (
    DomainDispatcherApplication,
    MotoRequestHandler,
    create_backend_app,
)
from werkzeug.serving import run_simple

ONE_AT_A_TIME = threading.Lock()


def ordered(application):
    def answer(environ, start_response):
        if "HTTP_IF_NONE_MATCH" not in environ or environ["REQUEST_METHOD"] in ("GET", "HEAD"):
            return application(environ, start_response)
        # Read before the turn comes: a client that is slow to send, or stops, keeps nobody waiting.
        if environ.get("CONTENT_LENGTH"):
            body = environ["wsgi.input"].read(int(environ["CONTENT_LENGTH"]))
            environ["wsgi.input"] = io.BytesIO(body)
        with ONE_AT_A_TIME:
            return list(application(environ, start_response))

    return answer


def main():
    host, port = sys.argv[1], int(sys.argv[2])
    # It builds addresses with it.
    os.environ["MOTO_PORT"] = str(port)
    application = DomainDispatcherApplication(create_backend_app)
    run_simple(host, port, ordered(application), threaded=True, request_handler=MotoRequestHandler)


if __name__ == "__main__":
    main()

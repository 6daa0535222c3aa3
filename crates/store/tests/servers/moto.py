# moto for the tests, one request at a time: `python3 moto.py PORT`. Its create-only PUT looks first and writes
# later, so that with its usual threads several racers win, and the probe refuses it (seen under load). One thread
# will not do either: a connection that a client has opened and does not use yet would block it.
import sys, threading
from moto.server import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import run_simple
app, lock = DomainDispatcherApplication(create_backend_app), threading.Lock()
def one_at_a_time(environ, start_response):
    with lock:
        return list(app(environ, start_response))
run_simple('127.0.0.1', int(sys.argv[1]), one_at_a_time, threaded=True)

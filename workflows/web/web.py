"""An HTTP server on port 80, and what asks it.

usage: web.py serve        counts the requests of each connection; /big is MB megabytes at MB_PER_S
       web.py ping
       web.py ask          REQUESTS requests over one connection: the server must count them without a gap
       web.py download     /big over one connection, with its checksum
"""
import hashlib
import http.client
import http.server
import os
import sys
import time

REQUESTS = int(os.environ.get("REQUESTS") or 2000)  # or until there is a file `stop` beside this one
PAUSE = float(os.environ.get("PAUSE_MS") or 5) / 1000
MB = int(os.environ.get("MB") or 256)
RATE = float(os.environ.get("MB_PER_S") or 40)
STOP = os.path.join(os.path.dirname(os.path.abspath(__file__)), "stop")


def block(n):
    return hashlib.sha256(b"%d" % n).digest() * (1 << 15)  # 1 MB


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    count = 0

    def do_GET(self):
        Handler.big(self) if self.path == "/big" else self.answer()

    def answer(self):
        self.count += 1  # the handler lives as long as the connection
        body = b"%d" % self.count
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def big(self):
        self.send_response(200)
        self.send_header("Content-Length", str(MB << 20))
        self.end_headers()
        for n in range(MB):
            self.wfile.write(block(n))
            time.sleep(1 / RATE)

    def log_message(self, *_):
        pass


def connect():
    c = http.client.HTTPConnection("server", 80, timeout=600)
    c.connect()
    c.auto_open = 0  # an error rather than another connection
    return c


def get(c, path="/"):
    c.request("GET", path)
    return c.getresponse()


def ask():
    c, n = connect(), 0
    print("connected", flush=True)
    ends = c.sock.getsockname(), c.sock.getpeername()
    while n < REQUESTS and not os.path.exists(STOP):
        n += 1
        said = int(get(c).read())
        if said != n:
            print("FAULT request", n, "was counted as", said, flush=True)
            return 1
        time.sleep(PAUSE)
    if ends != (c.sock.getsockname(), c.sock.getpeername()):
        print("FAULT it is not the same connection", flush=True)
        return 1
    print("answer=ok requests=%d" % n, flush=True)
    return 0


def download():
    c, got, have, want = connect(), 0, hashlib.sha256(), hashlib.sha256()
    r = get(c, "/big")
    print("begun", flush=True)
    while data := r.read(100000):
        have.update(data)
        got += len(data)
    for n in range(MB):
        want.update(block(n))
    ok = got == MB << 20 and have.digest() == want.digest()
    print("%s bytes=%d" % ("answer=ok" if ok else "FAULT the file is not what it was", got), flush=True)
    return 0 if ok else 1


what = sys.argv[1]
if what == "serve":
    http.server.ThreadingHTTPServer(("", 80), Handler).serve_forever()
elif what == "ping":
    sys.exit(0 if get(connect()).status == 200 else 1)
else:
    sys.exit(ask() if what == "ask" else download())

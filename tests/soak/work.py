"""A service of the soak that checks itself: `work.py NAME TICKS MB`, `work.py NAME server PORT`, `work.py NAME client HOST PORT TICKS`.

It appends "TOKEN N" to the file NAME at each tick; TOKEN is drawn as it begins, so a second life shows. The last line is "TOKEN end", or
"TOKEN wrong: ..." where its memory or its connection is not what it was.
"""
import hashlib
import os
import signal
import socket
import sys
import time

signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
name = sys.argv[1]
token = os.urandom(8).hex()


def say(what):
    with open("/here/" + name, "a") as f:
        f.write("%s %s\n" % (token, what))


def compute(ticks, megabytes):
    ballast = os.urandom(megabytes << 20)
    digest = hashlib.sha256(ballast).digest()
    for n in range(1, ticks + 1):
        say(n)
        time.sleep(0.2)
    return "" if hashlib.sha256(ballast).digest() == digest else "its memory has changed"


def serve(port):
    listener = socket.create_server(("", port))
    peer = listener.accept()[0].makefile("rwb")
    n = 0
    for n, line in enumerate(peer, 1):
        if line == b"end\n":
            return ""
        if line != b"%d\n" % n:
            return "heard %r as number %d" % (line, n)
        say(n)
        peer.write(line)
        peer.flush()
    return "the connection ended after %d" % n


def ask(host, port, ticks):
    for _ in range(600):
        try:
            peer = socket.create_connection((host, port))
            break
        except OSError:
            time.sleep(0.1)
    peer.settimeout(None)
    peer = peer.makefile("rwb")
    for n in range(1, ticks + 1):
        peer.write(b"%d\n" % n)
        peer.flush()
        if peer.readline() != b"%d\n" % n:
            return "no answer to %d" % n
        say(n)
        time.sleep(0.2)
    peer.write(b"end\n")
    peer.flush()
    return ""


if sys.argv[2] == "server":
    wrong = serve(int(sys.argv[3]))
elif sys.argv[2] == "client":
    wrong = ask(sys.argv[3], int(sys.argv[4]), int(sys.argv[5]))
else:
    wrong = compute(int(sys.argv[2]), int(sys.argv[3]))
say("wrong: " + wrong if wrong else "end")
sys.exit(1 if wrong else 0)

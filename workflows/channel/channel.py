"""The two ends of a redis channel, over plain sockets: a client library would connect again, and nobody would know.

usage: channel.py hear     SUBSCRIBERS connections, each of which must hear 1, 2, 3, ... to the end
       channel.py say      publishes NUMBERS of them; each time redis says how many have been told
"""
import os
import socket
import sys
import threading
import time

NUMBERS = int(os.environ.get("NUMBERS") or 2000)  # or until there is a file `stop` beside this one
PAUSE = float(os.environ.get("PAUSE_MS") or 5) / 1000
SUBSCRIBERS = int(os.environ.get("SUBSCRIBERS") or 3)
STOP = os.path.join(os.path.dirname(os.path.abspath(__file__)), "stop")


class Connection:
    def __init__(self):
        self.socket = socket.create_connection(("redis", 6379))
        self.ends = self.socket.getsockname(), self.socket.getpeername()
        self.lines = self.socket.makefile("rb")

    def send(self, *words):
        out = b"*%d\r\n" % len(words)
        for word in map(str, words):
            out += b"$%d\r\n%s\r\n" % (len(word), word.encode())
        self.socket.sendall(out)

    def reply(self):
        line = self.lines.readline()
        if not line.endswith(b"\r\n"):
            raise ConnectionError("the connection ended")
        kind, rest = line[:1], line[1:-2]
        if kind == b"*":
            return [self.reply() for _ in range(int(rest))]
        if kind == b"$":
            return self.lines.read(int(rest) + 2)[:-2].decode()
        if kind == b"-":
            raise RuntimeError(rest.decode())
        return int(rest) if kind == b":" else rest.decode()

    def same(self):
        return self.ends == (self.socket.getsockname(), self.socket.getpeername())


def hear(number, wrong):
    try:
        c, heard = Connection(), 0
        c.send("SUBSCRIBE", "numbers")
        while True:
            kind, _, data = c.reply()
            if kind == "subscribe":
                continue
            if data == "end":
                break
            heard += 1
            if int(data) != heard:
                raise RuntimeError("heard %s after %d" % (data, heard - 1))
        if not c.same():
            raise RuntimeError("it is not the same connection")
        print("subscriber", number, "heard", heard, flush=True)
    except Exception as e:
        wrong.append(e)
        print("FAULT subscriber", number, type(e).__name__, e, flush=True)


def hear_all():
    wrong = []
    threads = [threading.Thread(target=hear, args=(i + 1, wrong)) for i in range(SUBSCRIBERS)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    print("answer=%s" % ("wrong" if wrong else "ok"), flush=True)
    return 1 if wrong else 0


def say():
    c, n = Connection(), 0
    while True:
        c.send("PUBSUB", "NUMSUB", "numbers")
        if c.reply()[1] == SUBSCRIBERS:
            break
        time.sleep(0.05)
    print("all are there", flush=True)
    while n < NUMBERS and not os.path.exists(STOP):
        n += 1
        c.send("PUBLISH", "numbers", n)
        told = c.reply()
        if told != SUBSCRIBERS:
            print("FAULT", n, "was told to", told, flush=True)
            return 1
        time.sleep(PAUSE)
    c.send("PUBLISH", "numbers", "end")
    c.reply()
    print("said", n, flush=True)
    return 0 if c.same() else 1


sys.exit(hear_all() if sys.argv[1:] == ["hear"] else say())

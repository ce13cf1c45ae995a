"""fill: writes every key. use: reads and overwrites them, one connection a request. verify: is any lost or wrong? Then it ends redis."""
import hashlib
import os
import socket
import sys
import time

keys = int(os.environ.get("KEYS") or 20000)
rounds = int(os.environ.get("ROUNDS") or 2000)
port = int(os.environ.get("PORT") or 20000 + int(os.environ.get("SLURM_JOB_ID", "0")) % 10000)


def key(n):
    return f"key:{n}"


def value(n, age):
    """What key n holds after it was written for the age-th time."""
    return hashlib.sha256(f"{n} {age}".encode()).hexdigest() * 4


def pick(turn):
    return turn * 7919 % keys


def connect():
    return socket.create_connection(("127.0.0.1", port), timeout=5)


def ask(*words):
    """One request over a connection of its own. Every request here may be repeated, so a broken one is."""
    request = b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%s\r\n" % (len(w), w.encode()) for w in words)
    deadline = time.monotonic() + 60
    while True:
        try:
            with connect() as s:
                s.sendall(request)
                return read_reply(s.makefile("rb"))
        except OSError as e:
            if time.monotonic() > deadline:
                sys.exit(f"redis at port {port} does not answer: {e}")
            time.sleep(0.1)


def read_reply(stream):
    line = stream.readline()
    if not line.endswith(b"\r\n"):
        raise ConnectionError("the connection ended in the middle of a reply")
    if line[:1] == b"-":
        raise SystemExit("redis: " + line[1:].decode().strip())
    if line[:1] != b"$":
        return line[1:].decode().strip()
    size = int(line[1:])
    if size < 0:
        return None
    data = stream.read(size + 2)
    if len(data) < size + 2:
        raise ConnectionError("the connection ended in the middle of a reply")
    return data[:-2].decode()


def fill():
    ask("FLUSHALL")
    for n in range(0, keys, 500):
        pairs = [word for k in range(n, min(n + 500, keys)) for word in (key(k), value(k, 0))]
        ask("MSET", *pairs)
    print(f"filled {keys} keys", flush=True)


def use():
    ages = {}
    for turn in range(rounds):
        n = pick(turn)
        got = ask("GET", key(n))
        if got != value(n, ages.get(n, 0)):
            sys.exit(f"turn {turn}: {key(n)} is lost or wrong")
        ages[n] = ages.get(n, 0) + 1
        ask("SET", key(n), value(n, ages[n]))
        if turn % 100 == 0:
            print(f"turn {turn}", flush=True)
        time.sleep(0.02)
    print(f"turn {rounds}, every read was right", flush=True)


def verify():
    ages = {}
    for turn in range(rounds):
        ages[pick(turn)] = ages.get(pick(turn), 0) + 1
    lost = sum(ask("GET", key(n)) != value(n, ages.get(n, 0)) for n in range(keys))
    size = int(ask("DBSIZE"))
    print(f"keys={size} lost={lost}")
    print("answer=" + ("ok" if not lost and size == keys else "wrong"), flush=True)
    with connect() as s:  # it never replies to this, so it must not be repeated
        s.sendall(b"*2\r\n$8\r\nSHUTDOWN\r\n$6\r\nNOSAVE\r\n")
        s.recv(1)
    sys.exit(1 if lost or size != keys else 0)


{"fill": fill, "use": use, "verify": verify}[sys.argv[1]]()

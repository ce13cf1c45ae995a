#!/usr/bin/env python3
"""A smigrated that answers each request with a prepared document, for tests of the commands.

usage: fake_daemon.py SOCKET REPLIES LOG

REPLIES is a JSON object {op: reply}; REPLIES of "nonsense", "garbage" and "hang up" misbehave. A string "@-2.5" anywhere in a reply becomes
the microseconds since 1970 of 2.5 s ago. Each request is appended to LOG as a line.
"""
import json
import os
import socket
import struct
import sys
import time


def fill_times(value):
    if isinstance(value, str) and value.startswith("@"):
        return int((time.time() + float(value[1:])) * 1000000)
    if isinstance(value, list):
        return [fill_times(v) for v in value]
    if isinstance(value, dict):
        return {k: fill_times(v) for k, v in value.items()}
    return value


def read_message(conn):
    data = b""
    while len(data) < 4 or len(data) < 4 + struct.unpack(">I", data[:4])[0]:
        more = conn.recv(65536)
        if not more:
            return None
        data += more
    return json.loads(data[4:])


def answer(conn, replies, log):
    request = read_message(conn)
    if request is None:
        return
    log.write(json.dumps(request, sort_keys=True) + "\n")
    log.flush()
    reply = replies.get(request.get("op"), {"error": {"code": "EINVAL", "message": "no such op"}})
    if reply == "hang up":
        return
    if reply == "nonsense":
        conn.sendall(struct.pack(">I", 9) + b"nonsense!")
        return
    if reply == "huge":
        conn.sendall(struct.pack(">I", 0xFFFFFFFF))
        return
    body = json.dumps(fill_times(reply)).encode()
    conn.sendall(struct.pack(">I", len(body)) + body)


def main():
    path, replies, log = sys.argv[1:]
    with open(replies) as f:
        replies = json.load(f)
    server = socket.socket(socket.AF_UNIX)
    server.bind(path + ".new")
    server.listen(8)
    os.rename(path + ".new", path)
    with open(log, "a") as f:
        while True:
            conn, _ = server.accept()
            with conn:
                answer(conn, replies, f)


main()

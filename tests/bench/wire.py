#!/usr/bin/env python3
"""What a link really carries, by one TCP connection that does nothing else.

usage: wire.py receive PORT            prints bytes and seconds, from the first byte to the last
       wire.py send HOST PORT SECONDS
"""
import socket
import sys
import time


def receive(port):
    server = socket.create_server(("", port))
    server.settimeout(20)
    conn, _ = server.accept()
    conn.settimeout(20)
    room = bytearray(4 << 20)
    got = conn.recv_into(room)
    start = end = time.monotonic()
    total = 0  # what came before the clock ran does not count
    while got:
        got = conn.recv_into(room)
        total += got
        end = time.monotonic() if got else end
    print(total, "%.6f" % (end - start))


def connect(host, port):
    for _ in range(100):
        try:
            return socket.create_connection((host, port), 20)
        except ConnectionRefusedError:
            time.sleep(0.05)
    sys.exit("wire.py: nobody listens")


def send(host, port, seconds):
    data = memoryview(bytes(1 << 20))
    with connect(host, port) as conn:
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            conn.sendall(data)


if sys.argv[1] == "receive":
    receive(int(sys.argv[2]))
else:
    send(sys.argv[2], int(sys.argv[3]), float(sys.argv[4]))

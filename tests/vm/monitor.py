#!/usr/bin/env python3
"""monitor.py SOCKET COMMAND...: commands of QEMU's monitor for people, one after the other; fails with what the first one says."""
import json
import socket
import sys

peer = socket.socket(socket.AF_UNIX)
peer.settimeout(120)
peer.connect(sys.argv[1])
lines = peer.makefile("rw")


def ask(name, **arguments):
    lines.write(json.dumps({"execute": name, "arguments": arguments}) + "\n")
    lines.flush()
    while True:
        answer = json.loads(lines.readline())
        if "error" in answer:
            sys.exit(answer["error"]["desc"])
        if "return" in answer:
            return answer["return"]


json.loads(lines.readline())
ask("qmp_capabilities")
for command in sys.argv[2:]:
    said = ask("human-monitor-command", **{"command-line": command}).strip()
    if said and not command.startswith("info "):
        sys.exit(f"{command}: {said}")
    if said:
        print(said)

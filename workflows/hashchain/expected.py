"""Prints the answer of an undisturbed run, computed directly: expected.py [STEPS]"""
import hashlib
import os
import subprocess
import sys

steps = int(sys.argv[1] if len(sys.argv) > 1 else os.environ.get("STEPS") or 12_000_000)
if len(sys.argv) > 2:  # one chain, for the process that adds up
    x = b"chain " + sys.argv[2].encode()
    for _ in range(steps):
        x = hashlib.sha256(x).digest()
    print(x.hex())
else:
    chains = [subprocess.Popen([sys.executable, __file__, str(steps), str(n)], stdout=subprocess.PIPE) for n in range(1, 5)]
    ends = [bytes.fromhex(chain.communicate()[0].decode().strip()) for chain in chains]
    print("answer=" + hashlib.sha256(b"".join(ends)).hexdigest())

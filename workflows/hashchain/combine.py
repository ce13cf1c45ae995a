"""The answer: the hash of the ends of all chains."""
import hashlib
import os

out = "/work/out-" + os.environ.get("SLURM_JOB_ID", "0")
answer = hashlib.sha256()
for number in range(1, 5):
    with open(f"{out}/chain{number}") as f:
        answer.update(bytes.fromhex(f.read().strip()))
print("answer=" + answer.hexdigest(), flush=True)

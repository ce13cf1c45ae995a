"""One chain: x = sha256(x), STEPS times. Nothing is written before the end, so only a true continuation can go on."""
import hashlib
import os
import sys

number = int(sys.argv[1])
steps = int(os.environ.get("STEPS") or 12_000_000)
out = "/work/out-" + os.environ.get("SLURM_JOB_ID", "0")

sha256 = hashlib.sha256
x = b"chain %d" % number
done = 0
while done < steps:
    now = min(300_000, steps - done)
    for _ in range(now):
        x = sha256(x).digest()
    done += now
    print(f"step {done}", flush=True)

os.makedirs(out, exist_ok=True)
with open(f"{out}/chain{number}.tmp", "w") as f:
    f.write(x.hex() + "\n")
os.rename(f"{out}/chain{number}.tmp", f"{out}/chain{number}")

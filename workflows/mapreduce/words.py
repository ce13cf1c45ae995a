"""The four kinds of task, and `expected`, which counts directly: words.py fetch | split | map N | reduce | expected IMAGE"""
import hashlib
import os
import sys

MAPS = 4
repeat = int(os.environ.get("REPEAT") or 100)
out = "/work/out-" + os.environ.get("SLURM_JOB_ID", "0")


def licenses(root):
    """Real text that lies in every Debian image: the licenses, each once, in the order of their names."""
    folder = root + "/usr/share/common-licenses"
    for name in sorted(os.listdir(folder)):
        if not os.path.islink(f"{folder}/{name}"):
            with open(f"{folder}/{name}", encoding="utf-8", errors="replace") as f:
                yield f.read() + "\n"


def words_of(line):
    return "".join(c if c.isalpha() else " " for c in line.lower()).split()


def count(text, say):
    """Words, and pairs of neighbours in a line: " a" is an a that begins one."""
    counts = {}
    for n, line in enumerate(text.splitlines()):
        before = ""
        for word in words_of(line):
            pair = f"{before} {word}"
            counts[word] = counts.get(word, 0) + 1
            counts[pair] = counts.get(pair, 0) + 1
            before = word
        if say and n % 50000 == 0:
            print(f"line {n}", flush=True)
    return counts


def write(name, text):
    """All or nothing: a task that starts over finds no half of a file."""
    with open(f"{out}/{name}.tmp", "w", encoding="utf-8") as f:
        f.write(text)
    os.rename(f"{out}/{name}.tmp", f"{out}/{name}")


def read(name):
    with open(f"{out}/{name}", encoding="utf-8") as f:
        return f.read()


def tell(counts):
    table = "".join(f"{word} {counts[word]}\n" for word in sorted(counts))
    words = [word for word in counts if " " not in word]
    top = sorted(words, key=lambda word: (-counts[word], word))[:5]
    print("words=%d top=%s" % (sum(counts[word] for word in words), ",".join(f"{word}:{counts[word]}" for word in top)))
    print("answer=" + hashlib.sha256(table.encode()).hexdigest(), flush=True)
    return table


def fetch():
    os.makedirs(out, exist_ok=True)
    write("text", "".join(licenses("")) * repeat)


def split():
    lines = read("text").splitlines(keepends=True)
    share = -(-len(lines) // MAPS)
    for n in range(MAPS):
        write(f"part{n + 1}", "".join(lines[n * share : (n + 1) * share]))


def map_part(number):
    counts = count(read(f"part{number}"), True)
    write(f"counts{number}", "".join(f"{word} {n}\n" for word, n in counts.items()))


def reduce():
    counts = {}
    for number in range(1, MAPS + 1):
        for line in read(f"counts{number}").splitlines():
            word, n = line.rsplit(" ", 1)
            counts[word] = counts.get(word, 0) + int(n)
    write("counts", tell(counts))


def expected(image):
    counts = count("".join(licenses(image)), False)
    tell({word: n * repeat for word, n in counts.items()})


tasks = {"fetch": fetch, "split": split, "map": map_part, "reduce": reduce, "expected": expected}
tasks[sys.argv[1]](*sys.argv[2:])

#!/usr/bin/env python3
"""Workflows that check their own answers, under preemptions, moves, suspensions, drains and faults at random, in a box.

Prints what was done and what came of it; exit 0 only where nothing was lost, doubled or left behind. A seed gives the same choices in
the same order (what they meet is Slurm's and the clock's).
"""
import argparse
import collections
import concurrent.futures
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import threading
import time

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
BOX = os.path.join(ROOT, "tests", "box", "box")
WORK = "/shared/home/user1/soak"
ORDER = "/run/box/faults"
PARTITIONS = ["low", "low", "low2", "low0", "cancel2", "cancel20", "cancel0"]
GRACE_S = 20
PATIENCE_S = 420  # of a job, beyond what it computes, once it is left alone

# What a fault may be ordered at, and as what: acts that may fail, and everything that may die.
FAILS = ["runtime.launch.before", "runtime.freeze.before", "runtime.dump.before", "runtime.dump_pages.before", "runtime.room.before",
         "runtime.net_hold.before", "slurm.job.before", "slurm.requeue.after", "slurm.requeue.before", "slurm.could_start.before",
         "slurm.start_now.after", "slurm.comment.before", "slurm.unhold.after", "peer.call.room.before", "peer.call.claim.before",
         "peer.call.claim.after", "peer.call.release.before", "peer.call.release.after", "peer.call.report.before",
         "peer.call.where.before", "peer.open.stream.before", "stream.block", "stream.dumped", "hold.file", "hold.pages", "hold.received",
         "serve.claim.before", "serve.room.before", "serve.report.before", "journal.commit.before", "state.commit.before"]
DIES = FAILS + ["runtime.launch.after", "runtime.freeze.after", "runtime.thaw.after", "runtime.dump.after", "runtime.dump_pages.after",
                "runtime.dump_seal.after", "runtime.dump_end.before", "runtime.dump_end.after", "runtime.cleanup.before",
                "runtime.cleanup.after", "runtime.adopt.before", "peer.open.after", "peer.fetch.after", "peer.call.room.after",
                "stream.sent", "hold.complete", "serve.claim.after", "serve.release.before", "serve.release.after", "serve.room.after",
                "journal.commit.after", "state.commit.after"]


class Box:
    def __init__(self, name, nodes):
        self.name, self.nodes = name, ["n%d" % n for n in range(1, nodes + 1)]
        self.all = ["ctl"] + self.nodes

    def tool(self, *args, timeout=600):
        return subprocess.run([BOX, "--name", self.name, *args], stdin=subprocess.DEVNULL, capture_output=True, text=True,
                              timeout=timeout, check=False)

    def run(self, node, *cmd, user=None, text=None, timeout=60):
        """(status, output); a status of None: it did not end in time."""
        who = ["--user", user] if user else []
        try:
            r = subprocess.run([BOX, "--name", self.name, "exec", node, *who, "--", *cmd], input=text or "", capture_output=True,
                               text=True, timeout=timeout, check=False)
        except subprocess.TimeoutExpired:
            return None, ""
        return r.returncode, r.stdout + r.stderr

    def sh(self, node, script, **kw):
        return self.run(node, "bash", "-c", script, **kw)


class Job:
    """One workflow with its folder."""

    def __init__(self, number, box, rng):
        self.box, self.number, self.id = box, number, None
        self.dir = "%s/%d" % (WORK, number)
        self.partition = rng.choice(PARTITIONS)
        self.ticks = rng.randrange(100, 400)
        self.kind = rng.choice(["plain", "plain", "fat", "network", "volume", "script"])
        self.expected = {}  # file -> lines but for the last
        self.left_at = None  # when the last thing was done to it
        self.held_since = None
        self.told = []

    def service(self, name, *args, extra=""):
        return ('  %s:\n    image: /images/debian\n    volumes: [".:/here"]\n%s    command: [/usr/bin/python3, /here/work.py, %s]\n'
                % (name, extra or "    network_mode: none\n", ", ".join('"%s"' % a for a in (name,) + args)))

    def workflow(self):
        t = str(self.ticks)
        net = "    network_mode: bridge\n"
        if self.kind == "network":
            self.expected = {"server": self.ticks, "client": self.ticks}
            return (self.service("server", "server", "7000", extra=net) +
                    self.service("client", "client", "server", "7000", t, extra=net + "    depends_on: [server]\n"))
        if self.kind == "fat":
            self.expected = {"one": self.ticks, "fat": self.ticks}
            return self.service("one", t, "1") + self.service("fat", t, "40")
        self.expected = {"one": self.ticks, "two": self.ticks, "three": self.ticks}
        after = "    network_mode: none\n    depends_on: [one]\n"
        return self.service("one", t, "2") + self.service("two", t, "1", extra=after) + self.service("three", t, "1", extra=after)

    def submit(self):
        script = "#!/bin/bash\n#SBATCH --job-name=soak --output=out --open-mode=append --time=60\n"
        args = ["sbatch", "--parsable", "-p", self.partition]
        files = {}
        if self.kind == "script":
            self.expected = {"script": self.ticks}
            script += ("token=$RANDOM$RANDOM$RANDOM\nfor ((n = 1; n <= %d; n++)); do echo \"$token $n\" >>script; sleep 0.2; done\n"
                       "echo \"$token end\" >>script\n" % self.ticks)
            args += ["--migrate", "job.sh"]
        else:
            files["workflow.yaml"] = "services:\n" + self.workflow()
            script += "exec smigrate run\n"
            args += ["--migrate=workflow.yaml", "job.sh"]
        files["job.sh"] = script
        with open(os.path.join(HERE, "work.py"), encoding="utf-8") as f:
            files["work.py"] = f.read()
        self.box.run("ctl", "mkdir", "-p", self.dir, user="user1")
        for name, text in files.items():
            self.box.run("ctl", "tee", "%s/%s" % (self.dir, name), user="user1", text=text)
        for _ in range(30):
            rc, out = self.box.run("ctl", "env", "-C", self.dir, *args, user="user1")
            if rc == 0:
                self.id = int(out.strip().splitlines()[-1].split(";")[0])
                return True
            time.sleep(2)
        return False

    def verdict(self):
        """What is wrong with the answer, one line each."""
        wrong = []
        _, text = self.box.sh("ctl", "cd %s && for f in %s; do echo \"= $f\"; cat $f 2>/dev/null; done" %
                              (self.dir, " ".join(self.expected)), timeout=120)
        parts = dict((p.split("\n", 1) + [""])[:2] for p in text.split("= ")[1:])
        for name, ticks in self.expected.items():
            lines = parts.get(name, "").split("\n")[:-1]
            lives = {l.split(" ")[0] for l in lines}
            want = ["%s %d" % (lines[0].split(" ")[0], n) for n in range(1, ticks + 1)] if lines else []
            if want:
                want.append(want[0].split(" ")[0] + " end")
            if lines != want or not lines:
                at = next((n for n, (a, b) in enumerate(zip(lines, want)) if a != b), min(len(lines), len(want)))
                wrong.append("%s: %d lives, %d lines of %d, line %d is %r" %
                             (name, len(lives), len(lines), ticks + 1, at + 1, lines[at] if at < len(lines) else "missing"))
        return wrong

    def output(self):
        return self.box.run("ctl", "cat", self.dir + "/out")[1]


# Of a node on which something is left.
LEFT = """find /run/smigrate /var/lib/smigrate -ls; grep smigrate /proc/mounts; ps -e -o pid,etimes,stat,args; tail -n 300 /var/log/smigrated.log"""


class Soak:
    def __init__(self, args):
        self.args = args
        self.rng = random.Random(args.seed)
        self.box = Box(args.name, args.nodes)
        self.jobs = []  # alive
        self.number = 0
        self.count = collections.Counter()
        self.failed = set()
        self.forgotten = set()
        self.bad = []  # what must not be
        self.recalls_until = 0  # slurmctld has just been killed, and may say where its jobs were before
        self.stop_at = 0
        self.began = time.time()
        self.lock = threading.Lock()
        self.pool = concurrent.futures.ThreadPoolExecutor(16)
        self.busy = set()  # nodes and daemons that something is done to

    def log(self, text):
        with self.lock:
            print("%7.1f  %s" % (time.time() - self.began, text), flush=True)

    def found(self, text):
        with self.lock:
            self.bad.append(text)
        self.log("BAD: " + text)

    # ---- the box ----

    def up(self):
        conf = "/tmp/soak-%d.conf" % os.getpid()
        with open(conf, "w", encoding="utf-8") as f:
            f.write("KillWait=5\n")
        r = self.box.tool("up", "--nodes", str(self.args.nodes), "--slurm-conf", conf, timeout=1200)
        os.unlink(conf)
        if r.returncode:
            sys.exit("soak: the box does not come up:\n" + r.stdout + r.stderr)
        self.box.run("ctl", "mkdir", "-p", WORK, user="user1")
        for node in self.box.all:
            self.respawn(node)

    def respawn(self, node):
        """As systemd's Restart=always has it; the daemon takes orders."""
        self.box.sh(node, "box-stop smigrated TERM; setsid bash -c '"
                          "while :; do pid=$(cat /run/box/smigrated.pid 2>/dev/null); "
                          "[[ -n $pid && $(cat /proc/$pid/comm 2>/dev/null) == smigrated ]] || "
                          "{ echo died >>/run/box/deaths; SMIGRATE_FAULTS=%s box-start smigrated; }; sleep 0.3; done' "
                          "</dev/null >/dev/null 2>&1 & : >/run/box/deaths" % ORDER)

    def used(self):
        """{node: what there is of ours that must go again}"""
        script = r"""
            echo "files $(find /run/smigrate /var/lib/smigrate -mindepth 1 \( -path '*/images/*' -prune -o -print \) |
                grep -vE '/(smigrated.sock|journal.db.*|state.db.*|images|jobs|c|runc|hold|out|script|w|rates.*|tail|net)$' | wc -l)"
            echo "mounts $(grep -c smigrate /proc/mounts)"
            echo "links $(ip -o link | wc -l)"
            echo "cgroups $(find /sys/fs/cgroup -type d -path '*smigrate*' | wc -l)"
            echo "processes $(pgrep -c 'smigrate-shim|runc|criu')"
            pid=$(cat /run/box/smigrated.pid)
            echo "fds $(ls /proc/$pid/fd | wc -l)"
            echo "threads $(ls /proc/$pid/task | wc -l)"
            echo "rss_kb $(sed -n 's/VmRSS:[^0-9]*\([0-9]*\).*/\1/p' /proc/$pid/status)" """
        out = {}
        for node in self.box.all:
            text = self.box.sh(node, script)[1]
            out[node] = {k: int(v) for k, v in re.findall(r"^(\w+) (\d+)$", text, re.M)}
        return out

    # ---- what is done to jobs ----

    def record(self, job):
        """(status, Slurm's record of the job, or why there is none)"""
        return self.box.run("ctl", "scontrol", "-o", "show", "job", str(job.id))

    def field(self, job, name, record=None):
        return (re.findall(r"\b%s=(\S+)" % name, record or self.record(job)[1]) or [""])[0]

    def act(self, what, job):
        state, node = self.field(job, "JobState"), self.field(job, "BatchHost")
        if state != "RUNNING" or node not in self.box.nodes:
            return
        job.left_at = time.time()
        self.count["acts"] += 1
        self.count[what] += 1
        if what == "preempt":
            self.box.run("ctl", "sbatch", "-p", "high", "-w", node, "--exclusive", "-o", "/dev/null", "--wrap",
                         "sleep %d" % self.rng.randrange(2, 9), user="user2")
        elif what == "move":
            self.box.run("ctl", "smigrate", "move", str(job.id), timeout=180)
        elif what == "requeue":
            self.box.run("ctl", "scontrol", "requeue", str(job.id))
        elif what == "suspend":
            self.box.run("ctl", "scontrol", "suspend", str(job.id))
            time.sleep(self.rng.uniform(1, 8))
            self.retry("ctl", "scontrol", "resume", str(job.id))
        elif what == "drain":
            if not self.claim(node):
                return
            self.box.run("ctl", "smigrate", "drain", node, timeout=60)
            time.sleep(self.rng.uniform(5, 20))
            self.box.run("ctl", "smigrate", "undrain", node, timeout=60)
            self.retry("ctl", "scontrol", "update", "NodeName=" + node, "State=RESUME", tries=1)
            self.free(node)
        job.left_at = time.time()

    def retry(self, node, *cmd, tries=20):
        for _ in range(tries):
            rc, out = self.box.run(node, *cmd)
            if rc == 0 or "not suspended" in out or "Invalid job" in out:
                return
            time.sleep(1)

    def claim(self, what):
        with self.lock:
            if what in self.busy:
                return False
            self.busy.add(what)
            return True

    def free(self, what):
        with self.lock:
            self.busy.discard(what)

    # ---- faults ----

    def fault(self, what):
        node = self.rng.choice(self.box.all)
        wait = self.rng.uniform(1, 6)
        if what in ("slurmctld", "state file"):
            node = "ctl"
        if what in ("slurmd", "link down", "link slow") and node == "ctl":
            node = self.rng.choice(self.box.nodes)
        if not self.claim(node):
            return
        self.count["faults"] += 1
        self.count["fault: " + what] += 1
        if what == "kill":
            self.box.sh(node, "kill -KILL $(cat /run/box/smigrated.pid)")
        elif what in ("crash", "error", "delay"):
            point = self.rng.choice(FAILS if what == "error" else DIES)
            line = "%s %d %s %d\n" % (point, self.rng.randrange(1, 4), what, self.rng.randrange(200, 3000))
            self.box.run(node, "tee", ORDER, text=line)
            time.sleep(15)
            self.box.run(node, "rm", "-f", ORDER)
        elif what in ("slurmd", "slurmctld", "munged"):
            self.box.run(node, "box-stop", what, "KILL")
            time.sleep(wait)
            self.box.run(node, "box-start", what)
            if what == "slurmctld":
                self.recalls_until = time.time() + 30
        elif what == "link down":
            self.box.run(node, "ip", "link", "set", "eth0", "down")
            time.sleep(wait)
            self.box.run(node, "ip", "link", "set", "eth0", "up")
        elif what == "link slow":
            self.box.tool("link", node, "1mbit")
            time.sleep(2 * wait)
            self.box.tool("link", node, "off")
        elif what == "state file":
            self.box.sh(node, "rm -f /var/lib/smigrate/state.db*")
        self.free(node)

    # ---- what is held to be true ----

    def look(self):
        rc, text = self.box.run("ctl", "smigrate", "doctor", "--state", "--json", timeout=90)
        try:
            checks = json.loads(text)["checks"]
        except (ValueError, KeyError):
            return
        self.count["looks at the state"] += 1
        for c in checks:
            # Until its nodes have told it otherwise it says where its jobs ran five seconds before it was killed.
            if c["check"] == "astray" and time.time() < self.recalls_until:
                self.count["astray by what slurmctld recalled"] += 1
            elif c["level"] == "error":
                self.found("doctor --state: %s: %s" % (c["check"], c["text"]))
        # Its workflow may go on for as long as others wait for it.
        rc, text = self.box.run("ctl", "sqlite3", "/var/lib/smigrate/state.db",
                                "SELECT workflow || ' ' || name || ': ' || message FROM services WHERE state = 'failed'")
        for line in text.splitlines() if rc == 0 else ():
            if line not in self.failed:
                self.failed.add(line)
                self.found("a service has failed: " + line)

    def collect(self, job):
        """True: it is over."""
        rc, record = self.record(job)
        # A slurmctld that is killed forgets what was submitted in its last five seconds, and gives the number away again.
        if "Invalid job id" in record or (rc == 0 and self.field(job, "WorkDir", record) != job.dir):
            self.count["submissions that Slurm forgot"] += 1
            self.forgotten.add(job.id)
            return True
        state = self.field(job, "JobState", record) if rc == 0 else ""
        if state == "COMPLETED":
            wrong = job.verdict()
        elif state in ("", "PENDING", "RUNNING", "SUSPENDED", "COMPLETING", "SIGNALING", "REQUEUED", "REQUEUE_HOLD", "PREEMPTED"):
            # Slurm holds what was suspended as it was requeued, until smigrated releases it.
            held = state == "REQUEUE_HOLD" or (state == "PENDING" and self.field(job, "Priority", record) == "0")
            # slurmd refuses a number whose former job it is still ending, and slurmctld holds the new one: a person's to release.
            if held and job.id in self.forgotten and self.field(job, "Reason", record) == "launch_failed_requeued_held":
                self.count["jobs released that had a forgotten one's number"] += 1
                self.box.run("ctl", "scontrol", "release", str(job.id))
                job.left_at = time.time()
                return False
            job.held_since = (job.held_since or time.time()) if held else None
            if held and time.time() - job.held_since > 90:
                wrong = ["it is held"]
            elif state and time.time() - (job.left_at or 0) > job.ticks * 0.2 + PATIENCE_S:
                wrong = ["it does not come to its end: " + state]
            elif state == "PREEMPTED" and not job.verdict():
                wrong = []  # Slurm's own word for a good end after a grace under CANCEL
            else:
                return False
        else:
            wrong = ["the job is " + state]
        self.count["jobs"] += 1
        out = job.output() if job.id else ""
        if wrong:
            self.count["lost"] += 1
            told = [l for l in out.splitlines() if "smigrate" in l and ("cannot" in l or "again" in l or "lost" in l or "fail" in l)]
            self.found("job %s (%s, %s): %s; it was told: %s" % (job.id, job.kind, job.partition, "; ".join(wrong),
                                                                " | ".join(told[-4:]) or "nothing"))
            self.keep(job)
            self.box.run("ctl", "scancel", str(job.id))
        return True

    def note(self, name, *texts):
        """What a person would look at."""
        to = os.path.join(ROOT, "build", "soak-%d" % self.args.seed)
        os.makedirs(to, exist_ok=True)
        with open(os.path.join(to, name), "w", encoding="utf-8") as f:
            f.write("\n".join(texts))

    def keep(self, job):
        log = "grep -hE '(job |\\[|JobId=|/|^| )%s\\b|fault at|smigrated .* serves' /var/log/smigrated.log | tail -n 400" % job.id
        self.note("job-%s" % job.id, self.box.run("ctl", "scontrol", "show", "job", str(job.id))[1],
                  self.box.run("ctl", "smigrate", "show", str(job.id))[1], job.output(),
                  *("= %s\n%s" % (node, self.box.sh(node, log)[1]) for node in self.box.all))

    # ---- the whole ----

    def step(self):
        while len(self.jobs) < self.args.jobs and time.time() < self.stop_at - 60:
            self.number += 1
            job = Job(self.number, self.box, self.rng)
            if job.submit():
                job.left_at = time.time()
                self.jobs.append(job)
            else:
                self.count["not submitted"] += 1
        kind = self.rng.random()
        what = self.rng.choices(["preempt", "move", "suspend", "requeue", "drain"], [6, 3, 2, 1, 1])[0]
        fault = self.rng.choices(["kill", "crash", "error", "delay", "slurmd", "slurmctld", "munged", "link down", "link slow",
                                  "state file"], [4, 8, 5, 2, 1, 1, 1, 1, 1, 1])[0]
        if self.jobs and (kind < 0.6 or self.args.no_faults):
            self.pool.submit(self.act, what, self.rng.choice(self.jobs))
        elif not self.args.no_faults:
            self.pool.submit(self.fault, fault)
        time.sleep(self.rng.uniform(1, 4))
        self.jobs = [j for j in self.jobs if not self.collect(j)]

    def storm(self):
        said = 0
        next_look = time.time() + 10
        while time.time() < self.stop_at:
            self.step()
            if time.time() >= next_look:
                self.look()
                next_look = time.time() + 15
            if time.time() - said > 60:
                said = time.time()
                self.log("%d jobs done, %d at work, %d acts, %d faults, %d bad" % (self.count["jobs"], len(self.jobs),
                                                                                self.count["acts"], self.count["faults"], len(self.bad)))

    def calm(self):
        """No more faults; what is at work comes to its end."""
        self.pool.shutdown(wait=True)
        for node in self.box.nodes:
            self.box.tool("link", node, "off")
            self.retry("ctl", "scontrol", "update", "NodeName=" + node, "State=RESUME", tries=1)
        for node in self.box.all:
            self.box.run(node, "rm", "-f", ORDER)
        self.log("calm: %d jobs are to end" % len(self.jobs))
        until = time.time() + PATIENCE_S + 120
        while self.jobs and time.time() < until:
            time.sleep(3)
            self.jobs = [j for j in self.jobs if not self.collect(j)]
        for job in self.jobs:
            self.found("job %d is still %s" % (job.id, self.field(job, "JobState")))
            self.keep(job)
            self.box.run("ctl", "scancel", str(job.id))
        time.sleep(90)  # what is kept for a job that may come back goes after a minute
        self.look()

    def leaks(self, before):
        after = self.used()
        for node in self.box.all:
            for what, n in after[node].items():
                most = before[node].get(what, 0)
                if what == "rss_kb":
                    most += 20000
                elif what in ("fds", "threads"):
                    most += 8
                if n > most:
                    self.found("left on %s: %s %d, %d before" % (node, what, n, before[node].get(what, 0)))
                    self.note("left-" + node, self.box.sh(node, LEFT)[1])
        return after

    def figures(self, before, after):
        state = self.box.run("ctl", "sqlite3", "/var/lib/smigrate/state.db",
                             "SELECT state, COUNT(*) FROM migrations GROUP BY state; "
                             "SELECT 'attempts beyond the first', COUNT(*) FROM phases WHERE attempt > 1")[1]
        deaths = sum(int(self.box.sh(n, "wc -l </run/box/deaths")[1] or 0) for n in self.box.all)
        print("\nseed %d, %.0f minutes, %d nodes" % (self.args.seed, (time.time() - self.began) / 60, self.args.nodes))
        print("jobs over: %d, lost: %d" % (self.count["jobs"], self.count["lost"]))
        print("migrations on record, by state:\n  " + "\n  ".join(state.split("\n")[:-1]))
        print("deaths of daemons: %d" % deaths)
        for what, n in sorted(self.count.items()):
            if what not in ("jobs", "lost"):
                print("%s: %d" % (what, n))
        for what in ("fds", "threads", "rss_kb", "files", "mounts", "links", "cgroups", "processes"):
            print("%s, all nodes: %d before, %d after" % (what, sum(v.get(what, 0) for v in before.values()),
                                                         sum(v.get(what, 0) for v in after.values())))
        print("bad: %d" % len(self.bad))
        for text in self.bad:
            print("  " + text)

    def run(self):
        self.up()
        try:
            before = self.used()
            self.stop_at = time.time() + self.args.minutes * 60
            self.log("seed %d, %d minutes" % (self.args.seed, self.args.minutes))
            try:
                self.storm()
            except KeyboardInterrupt:
                self.log("interrupted: what is at work comes to its end, and is counted")
            self.calm()
            self.figures(before, self.leaks(before))
        finally:
            if self.bad and self.args.keep:
                print("the box stays: tests/box/box --name %s down" % self.box.name)
            else:
                self.box.tool("down")
        return 1 if self.bad or not self.count["jobs"] else 0


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--minutes", type=int, default=10)
    p.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1, 1 << 31), help="default: another one each time")
    p.add_argument("--nodes", type=int, default=5)
    p.add_argument("--jobs", type=int, default=4, help="at work at one time")
    p.add_argument("--no-faults", action="store_true", help="preemptions, moves, suspensions and drains only")
    p.add_argument("--keep", action="store_true", help="leave the box where something was found")
    p.add_argument("--name", default="soak-%d" % os.getpid(), help="of the box")
    args = p.parse_args()
    if args.minutes < 3:
        sys.exit("soak: --minutes is at least 3: nothing is submitted in the last one")
    if os.geteuid() != 0:
        sys.exit("soak: root is needed for the box")
    for sig in (signal.SIGINT, signal.SIGTERM):  # a shell without job control starts us with SIGINT ignored
        signal.signal(sig, signal.default_int_handler)
    shutil.rmtree(os.path.join(ROOT, "build", "soak-%d" % args.seed), ignore_errors=True)
    return Soak(args).run()


if __name__ == "__main__":
    sys.exit(main())

# shellcheck shell=bash
# For the tests on guests: what the box's tests have, driven through tests/vm/vm. Each file begins with all guests as `vm up` left them.
# shellcheck disable=SC2016,SC2034 # what is expanded in the guest; what the tests use
# shellcheck source=../../lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/../../lib.sh"
export CLUSTER=$ROOT/tests/vm/vm
# shellcheck source=../../box/t/workflow.sh
. "$ROOT/tests/box/t/workflow.sh"

# A service that holds so many megabytes of random bytes and writes to them: `hot` of them, over and over, `rate` MB/s; every pass
# through the hot part is a line of /here/NAME with a checksum of what it should have there. At /here/NAME.stop it checks all it has.
writer_file() {
	program writer.py <<-'PY'
		import hashlib, os, signal, sys, time
		signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
		name, size, hot, rate = sys.argv[1], int(sys.argv[2]) << 20, int(sys.argv[3]) << 20, float(sys.argv[4]) * 2**20
		page = 4096
		memory = bytearray(size)
		for i in range(0, size, 1 << 20):
		    memory[i:i + (1 << 20)] = os.urandom(1 << 20)
		sums = hashlib.blake2b(memoryview(memory)[hot:]).hexdigest()
		began, written, at, passes, beat, gap = time.monotonic(), 0, 0, 0, time.time(), 0
		while not os.path.exists("/here/%s.stop" % name):
		    now = time.time()
		    gap, beat = max(gap, now - beat), now
		    while hot and written < (time.monotonic() - began) * rate:
		        memory[at:at + 8] = passes.to_bytes(8, "little")
		        at, written = at + page, written + page
		        if at >= hot:
		            at, passes = 0, passes + 1
		        if written % (1 << 20) == 0 and time.time() - beat > 0.05:
		            break
		    with open("/here/%s.beat" % name, "a") as f:
		        f.write("%.3f %d\n" % (now, passes))
		    time.sleep(0.02)
		good = hashlib.blake2b(memoryview(memory)[hot:]).hexdigest() == sums
		for i in range(0, hot, page):
		    good = good and int.from_bytes(memory[i:i + 8], "little") == (passes if i < at else max(passes - 1, 0)) or (passes == 0 and i >= at)
		print("%s: %s, longest gap %.2f s, %d passes" % (name, "memory is right" if good else "MEMORY IS WRONG", gap, passes), flush=True)
		sys.exit(0 if good else 1)
	PY
}
# A workflow of one writer; keys of x-migrate, if any, as YAML in braces.
writer() { # NAME MB HOT-MB MB/S [X-MIGRATE]
	writer_file
	{
		printf 'name: wf\nservices:\n  %s:\n    image: /images/debian\n    volumes: [".:/here"]\n    network_mode: none\n' "$1"
		printf '    command: [/usr/bin/python3, /here/writer.py, %s, "%s", "%s", "%s"]\n' "${@:1:4}"
		[[ -z ${5-} ]] || printf '    x-migrate: %s\n' "$5"
	} | in_wf tee workflow.yaml >/dev/null
}
# Such a writer, w, as a job on n1 that may go on on n2; sets $job.
begin() { # COPY MB HOT-MB MB/S
	prepare
	writer w "${@:2}" "{copy: $1}"
	job=$(submit_on n1 n2 -w n1,n2 -N 1 --mem=300M)
	retry 60 box_exec ctl test -s "$WF/w.beat" || fail 'it does not run'
}
ends_well() { # JOB
	in_wf touch w.stop
	wait_job_state "$1" COMPLETED 60
	assert_contains "$(output "$1")" 'memory is right'
}

# ---- how it was copied ----

rounds_of() { state "SELECT COUNT(*) FROM phases WHERE phase = 'precopy' AND migration LIKE '$1.%' AND error IS NULL"; } # JOB
follows() { state "SELECT COUNT(*) FROM phases WHERE phase = 'postcopy' AND end_us > 0 AND migration LIKE '$1.%' AND error IS NULL"; } # JOB
all_here() { [[ $(follows "$1") -ge ${2:-1} ]]; }

# What a node has that a migration could leave behind, one line each.
traces() { # NODE
	box_exec "$1" sh -c '
		find /sys/fs/cgroup -type d | grep -E "job_|smigrate" | grep -v "system.slice/smigrated.service" | sed "s/^/cgroup /"
		sed -nE "s,^[^ ]+ ([^ ]*smigrate[^ ]*) .*,mount \1,p" /proc/mounts
		ip netns list | sed "s/^/netns /"
		pgrep -a "smigrate-shim|runc|criu" | sed "s/^/process /"
		find /var/lib/smigrate/w /var/lib/smigrate/hold /run/smigrate -mindepth 1 ! -name smigrated.lock ! -name "*.sock" 2>/dev/null | sed "s/^/file /"
		echo "descriptors $(ls /proc/$(pidof smigrated)/fd | wc -l)"
		echo "namespaces $(lsns -n -o NS | wc -l)"'
}

#!/bin/bash
# What services print: every line once and in order, across moves, in the job's output and in each service's log file.
# Needs a box that is up (tests/run box).
# shellcheck source=../../lib.sh
. "$(dirname "$0")/../../lib.sh"
# shellcheck source=workflow.sh
. "$(dirname "$0")/workflow.sh"

MILLION=1000000

# A service that runs a python program of the test's, PROGRAM.py, in $WF.
program() { # NAME PROGRAM [ARG...]
	printf '  %s:\n    image: /images/debian\n    volumes: [".:/here"]\n    network_mode: none\n' "$1"
	printf '    command: [/usr/bin/python3, /here/%s.py' "$2"
	shift 2
	[[ $# == 0 ]] || printf ', "%s"' "$@"
	printf ']\n'
}
workflow() { # its services come by standard input
	{
		printf 'name: wf\nservices:\n'
		cat
	} | in_wf tee workflow.yaml >/dev/null
}
script() { # LINE...: of the job's script
	{
		printf '#!/bin/bash\n#SBATCH --job-name=wf --output=wf-%%j.out --time=20\n'
		printf '%s\n' "$@"
	} | in_wf tee job.sh >/dev/null
}
# What is printed when a test fails is not to be a million lines.
output() { box_exec ctl sh -c "grep -hvE ' [|] (line|out|err) ' '$WF/wf-$1.out' 2>/dev/null | cut -c 1-300 | tail -n 100" || true; }
big() { in_wf sh -c "[ \$(stat -c %s '$1' 2>/dev/null || echo 0) -gt $2 ]"; }  # FILE BYTES
wait_big() { retry 30 big "$1" "$2" || fail "$1 does not grow beyond $2 bytes"; }

# `line 1` to `line N`, 100,000 a second, in writes that end anywhere, until there are COUNT and the file `go` is there.
lines_program() {
	in_wf tee lines.py >/dev/null <<-'PY'
		import os, sys, time
		count, n, due = int(sys.argv[1]), 0, 0
		while n < count or not os.path.exists("/here/go"):
		    data = b"".join(b"line %d\n" % i for i in range(n + 1, n + 10001))
		    n += 10000
		    while data:
		        data = data[os.write(1, data[:7777]):]
		    due = max(due, time.monotonic() - 0.2) + 0.1
		    time.sleep(max(0, due - time.monotonic()))
		os.write(1, b"end %d\n" % n)
	PY
}

# All lines that begin with PREFIX are `line 1` to `line N` and `end N`, with N at least COUNT; prints N.
assert_lines() { # FILE PREFIX COUNT
	in_wf awk -v prefix="$2" -v least="$3" '
		index($0, prefix) != 1 { if (prefix == "") { print "line " NR " is foreign: " $0; bad = 1; exit 1 } next }
		{ line = substr($0, length(prefix) + 1) }
		line == "line " (n + 1) { n++; next }
		line == "end " n && !over { over = 1; next }
		{ print "line " NR " is \"" $0 "\" after " n; bad = 1; exit 1 }
		END { if (bad) exit 1; if (!over || n < least) { print "ends at " n ", end said: " over + 0; exit 1 } print n }' "$1" ||
		fail "$1 lacks a line, or has one twice or cut"
}

# The issue's own words: a million numbered lines across five moves.
TIMEOUT_test_a_million_lines_over_five_moves=600
test_a_million_lines_over_five_moves() {
	local job n
	prepare
	lines_program
	in_wf tee both.py >/dev/null <<-'PY'
		import os, time
		n = 0
		while not os.path.exists("/here/go"):
		    n += 1
		    for fd, name in (1, b"out"), (2, b"err"):
		        os.write(fd, b"%s %d\n" % (name, n))
		    time.sleep(0.01)
	PY
	{
		program fast lines "$MILLION"
		program both both
	} | workflow
	job=$(submit)
	wait_big "wf-$job/fast.log" 100000
	for n in 1 2 3 4 5; do
		preempt "$job" 2 >/dev/null
		wait_moved "$job" "$n" 60
		sleep 1
	done
	in_wf touch go
	wait_done "$job" 120
	assert_eq "$(job_field "$job" Restarts)" 5 Restarts
	n=$(assert_lines "wf-$job.out" 'fast | ' "$MILLION")
	assert_eq "$(assert_lines "wf-$job/fast.log" '' "$MILLION")" "$n" 'lines of the log file'
	# both streams of a service: each in order, in the job's output and in the one log file
	for n in out err; do
		in_wf awk -v name="$n" '$1 == name && $2 != ++n { print; bad = 1 } END { exit bad || n < 100 }' "wf-$job/both.log" ||
			fail "$n is not whole in the log file"
		in_wf awk -v name="$n" '$1 == "both" && $3 == name && $4 != ++n { print; bad = 1 } END { exit bad || n < 100 }' "wf-$job.out" ||
			fail "$n is not whole in the job's output"
	done
	assert_eq "$(in_wf stat -c '%U %a' "wf-$job/fast.log")" 'user1 644' 'owner and mode'
	assert_nothing_left "$job"
}

# By way of the disk, too.
test_lines_survive_a_save_to_disk() {
	local job
	prepare
	trap others_back EXIT
	lines_program
	program fast lines 300000 | workflow
	job=$(submit)
	wait_big "wf-$job/fast.log" 100000
	preempt_to_disk "$job" 2
	wait_moved "$job" 1 60
	in_wf touch go
	wait_done "$job" 60
	assert_lines "wf-$job.out" 'fast | ' 300000 >/dev/null
	assert_lines "wf-$job/fast.log" '' 300000 >/dev/null
}

# The shim's share of a core while 100,000 lines a second pass through it.
test_shim_needs_little() {
	local job ticks
	prepare
	lines_program
	program fast lines 500000 | workflow
	job=$(submit -w n1)
	wait_big "wf-$job/fast.log" 3000000
	ticks=$(box_exec n1 sh -c "awk '{ print \$14 + \$15 }' /proc/\$(pgrep -of '/smigrate-shim [^ ]*/$job.wf.fast')/stat")
	echo "the shim has taken $ticks of 100 ticks a second for $(in_wf wc -l "wf-$job/fast.log")"
	in_wf touch go
	wait_done "$job" 60
	assert_lines "wf-$job.out" 'fast | ' 500000 >/dev/null
	((ticks < 300)) || fail "the shim took $ticks hundredths of a second"
}

# A megabyte without a newline, then every byte there is; a move in the middle.
test_binary_output_is_not_mangled() {
	local job
	prepare
	in_wf tee bytes.py >/dev/null <<-'PY'
		import hashlib, os, random, time
		random.seed(7)
		first = bytes(b for b in random.randbytes(1 << 20) if b != 10)
		second = random.randbytes(1 << 20) + bytes(range(256)) + b"no newline at the end"
		print(hashlib.sha256(first + second).hexdigest(), file=open("/here/sum", "w"))
		def write(data):
		    while data:
		        data = data[os.write(1, data[:100000]):]
		write(first)
		open("/here/half", "w")
		while not os.path.exists("/here/go"):
		    time.sleep(0.1)
		write(second)
	PY
	program bytes bytes | workflow
	job=$(submit)
	retry 30 in_wf test -e half || fail "$(output "$job" | tail -c 300)"
	preempt "$job" 2 >/dev/null
	wait_moved "$job" 1 60
	in_wf touch go
	wait_done "$job" 60
	assert_eq "$(in_wf sha256sum "wf-$job/bytes.log" | cut -d ' ' -f 1)" "$(in_wf cat sum)" 'what the log file holds'
}

slow_reader() {
	in_wf tee slow.py >/dev/null <<-'PY'
		import sys, time
		with open("/shared/home/user1/wf/" + sys.argv[1], "ab", buffering=0) as f:
		    while True:
		        data = sys.stdin.buffer.raw.read(65536)
		        if not data:
		            break
		        f.write(data)
		        time.sleep(len(data) / 1e6)
	PY
}

# The reader takes a megabyte a second, the service would write more: it is slowed, and nothing is lost.
test_slow_reader_slows_the_service() {
	local job took
	prepare
	slow_reader
	in_wf tee burst.py >/dev/null <<-'PY'
		import os, time
		began = time.monotonic()
		data = b"".join(b"line %d\n" % i for i in range(1, 300001)) + b"end 300000\n"
		while data:
		    data = data[os.write(1, data[:50000]):]
		print(time.monotonic() - began, file=open("/here/took", "w"))
	PY
	program fast burst | workflow
	script 'set -o pipefail' 'smigrate run | python3 slow.py slow.out'
	job=$(submit)
	wait_done "$job" 90
	assert_lines slow.out 'fast | ' 300000 >/dev/null
	assert_lines "wf-$job/fast.log" '' 300000 >/dev/null
	took=$(in_wf cut -d . -f 1 took)
	((took >= 3)) || fail "the service wrote 5 MB within $took s, the reader took 1 MB a second"
}

# At a move the script's reader dies with what was on its way to it; the log file has everything, and nothing is said twice.
test_reader_that_dies_with_its_script() {
	local job
	prepare
	slow_reader
	lines_program
	program fast lines 200000 | workflow
	script 'smigrate run | python3 slow.py slow.out'
	job=$(submit)
	wait_big "wf-$job/fast.log" 1000000
	preempt "$job" 2 >/dev/null
	wait_moved "$job" 1 60
	in_wf touch go
	wait_done "$job" 120
	assert_lines "wf-$job/fast.log" '' 200000 >/dev/null
	# what the pipe held is lost, and a line may be cut there; what the container had not handed over is not
	in_wf awk '$3 == "line" { if ($4 <= n) twice++; if ($4 > n + 1) { gaps++; lost += $4 - n - 1 } n = $4 }
		END { print gaps + 0 " gaps, " lost + 0 " lines, " twice + 0 " twice"; exit gaps > 1 || lost > 20000 || twice > 1 }' slow.out ||
		fail 'more is lost than a pipe holds'
}

# ---- where the files lie ---------------------------------------------------------------------------------------------

hello() { # [SCRIPT-LINE...]: a service that says a few words
	prepare
	printf 'print("hello", flush=True)\n' | in_wf tee hello.py >/dev/null
	program a hello | workflow
	[[ $# == 0 ]] || script "$@"
}
small_disk_gone() { box_exec n1 sh -c '! mountpoint -q /run/small || umount -l /run/small'; }

# A full disk: it is told, the service waits, and when there is room again nothing is missing.
test_full_disk_is_waited_for() {
	local job
	hello 'exec smigrate run --log-dir /run/small'
	lines_program
	program fast lines 300000 | workflow
	trap small_disk_gone EXIT
	box_exec n1 sh -c 'mkdir -p /run/small && mount -t tmpfs -o size=1m,uid=2001,mode=700 tmpfs /run/small'
	job=$(submit -w n1)
	wait_said "$job" 'service fast: its log file finds no room (No space left on device); it waits' 30
	wait_event "$job" 'its log file finds no room' 10
	sleep 3
	svc_is "$job" fast running || fail "fast is $(svc_state "$job" fast)"
	box_exec n1 mount -o remount,size=64m /run/small
	wait_said "$job" 'service fast: its log file has room again; nothing was lost' 30
	in_wf touch go
	wait_done "$job" 60
	assert_lines "wf-$job.out" 'fast | ' 300000 >/dev/null
	assert_eq "$(output "$job" | grep -c 'finds no room')" 1 'times that it was said'
	box_exec n1 cp "/run/small/wf-$job/fast.log" /shared/small.log
	assert_lines /shared/small.log '' 300000 >/dev/null
	box_exec n1 rm /shared/small.log
}

test_folder_that_cannot_be_written() {
	local job
	hello 'cd /' 'exec smigrate run'
	job=$(submit)
	wait_done "$job" 30
	assert_contains "$(output "$job")" "smigrate: no log files: ./wf-$job Permission denied; the job's output has all lines"
	assert_contains "$(output "$job")" 'a | hello'
}

test_no_log_and_the_users_own_mask() {
	local job
	hello 'exec smigrate run --no-log'
	job=$(submit)
	wait_done "$job" 30
	assert_contains "$(output "$job")" 'a | hello'
	[[ $(in_wf ls) != *"wf-$job"$'\n'* ]] || fail 'a folder was made'
	script 'umask 077' 'exec smigrate run'
	job=$(submit)
	wait_done "$job" 30
	assert_eq "$(in_wf stat -c '%U:%G %a' "wf-$job" "wf-$job/a.log" | xargs)" 'user1:user1 700 user1:user1 600' 'owner and mode'
	assert_eq "$(in_wf cat "wf-$job/a.log")" hello
}

# Root is led nowhere: not by another user's folder, nor by a link in the user's own.
test_folder_of_another_and_a_link() {
	local job
	hello 'exec smigrate run --log-dir /tmp'
	job=$(submit -H -w n1)
	box_as user2 n1 mkdir -m 777 "/tmp/wf-$job"
	box_exec ctl scontrol release "$job"
	wait_done "$job" 30
	assert_contains "$(output "$job")" "smigrate: no log files: /tmp/wf-$job belongs to another user"
	assert_eq "$(box_exec n1 ls "/tmp/wf-$job")" '' 'what lies in the folder of user2'
	box_exec n1 rmdir "/tmp/wf-$job"
	# shellcheck disable=SC2016 # the script's own variable
	script 'mkdir wf-$SLURM_JOB_ID && ln -s /etc/smigrate/made-by-root wf-$SLURM_JOB_ID/a.log' 'exec smigrate run'
	job=$(submit)
	wait_done "$job" 30
	wait_event "$job" 'service a: it has no log file: a.log: Too many levels of symbolic links' 10
	assert_contains "$(output "$job")" 'a | hello'
	for node in $(box_nodes); do assert_status 2 box_exec "$node" ls /etc/smigrate/made-by-root; done
}

run_tests "$@"

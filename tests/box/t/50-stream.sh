#!/bin/bash
# Memory straight to the node where the job will land: no disk in between, nobody else near it, and bad luck of every kind.
# Needs a box that is up (tests/run box).
# shellcheck source=../../lib.sh
. "$(dirname "$0")/../../lib.sh"
# shellcheck source=workflow.sh
. "$(dirname "$0")/workflow.sh"

PEER_PORT=6822

# ---- a job that goes from n1 to n2 -----------------------------------------------------------------------------------

others() { box_nodes | grep -vx 'n[12]' | paste -s -d ,; }
submit_for_n2() {
	local x
	x=$(others)
	submit ${x:+-x "$x"}
}
to_n2() { # JOB: it has moved there
	wait_moved "$1" 1 "${2:-60}"
	assert_eq "$(node_of "$1")" n2 'node that it landed on'
}
phases() { # JOB PHASE: how many of the job's last migration went well
	state "SELECT COUNT(*) FROM phases WHERE phase = '$2' AND error IS NULL AND end_us > 0 AND migration =
		(SELECT id FROM migrations WHERE job = $1 ORDER BY id DESC LIMIT 1)"
}
assert_streamed() { # JOB N: all N services, and none by way of a disk
	assert_eq "$(phases "$1" stream) $(phases "$1" dump) $(phases "$1" send) $(phases "$1" restore)" "$2 0 0 $2" 'streamed, dumped, fetched, restored'
	assert_eq "$(state "SELECT moved || ' ' || restarted FROM migrations WHERE job = $1 ORDER BY id DESC LIMIT 1")" "$2 0" 'moved, restarted'
}
# Each service's phases follow one another, and lie within the whole.
assert_phases_in_order() { # JOB
	OUTPUT=$(state "SELECT f.service FROM migrations m JOIN phases f ON f.migration = m.id AND f.phase = 'freeze'
		JOIN phases s ON s.migration = m.id AND s.service = f.service AND s.phase = 'stream' AND s.error IS NULL
		JOIN phases r ON r.migration = m.id AND r.service = f.service AND r.phase = 'restore' AND r.error IS NULL
		WHERE m.job = $1 AND NOT (m.signal_us <= f.start_us AND f.start_us <= f.end_us AND f.end_us <= s.start_us AND
		s.start_us < s.end_us AND s.end_us <= m.saved_us AND s.end_us <= r.start_us AND r.start_us < r.end_us AND r.end_us <= m.done_us)")
	assert_eq "$OUTPUT" '' 'services whose phases make no sense'
}

# A service of MB megabytes of random memory, as many in /dev/shm as there are tenths of it, and a changed file in its writable
# layer. When `go` is there it looks at all of that and says what it found.
precious() { # NAME MB
	in_wf tee precious.py >/dev/null <<-'PY'
		import hashlib, os, sys, time
		name, mb = sys.argv[1], int(sys.argv[2])
		mark = b"-".join([b"plain", b"text", b"nobody", b"is", b"to", b"read"])
		memory = bytearray(os.urandom(mb << 20))
		for page in range(0, len(memory), 1 << 16):
		    memory[page:page + 200] = (mark + b" %d " % page) * 4 + bytes(200 - 4 * len(mark + b" %d " % page))
		shared, layer = os.urandom(mb << 20 >> 4), os.urandom(1 << 20)
		for path, data in ("/dev/shm/blob", shared), ("/tmp/layer", layer):
		    with open(path, "wb") as f:
		        f.write(data)
		digest = lambda b: hashlib.sha256(b).hexdigest()
		want, life, n = [digest(memory), digest(shared), digest(layer)], os.urandom(8).hex(), 0
		while not os.path.exists("/here/go"):
		    n += 1
		    with open("/here/" + name, "a") as f:
		        f.write("%s %d\n" % (life, n))
		    time.sleep(0.2)
		got = [digest(memory), digest(open("/dev/shm/blob", "rb").read()), digest(open("/tmp/layer", "rb").read())]
		print("all right" if got == want else "wrong: %s %s" % (want, got), flush=True)
	PY
	service "$1" "$2" | sed 's|/here/counter.py|/here/precious.py|'
}
go() { in_wf touch go; }
assert_precious() { # JOB NAME...: they end, each with the memory that it had, in its first life
	local job=$1 name
	shift
	go
	wait_done "$job" 60
	for name in "$@"; do
		assert_contains "$(output "$job")" "$name | all right"
		assert_eq "$(lives "$name")" 1 "lives of $name"
	done
	[[ $(output "$job") != *'| wrong'* ]] || fail "$(output "$job")"
}

# Nothing is begun before n1 sends this much to n2; for streams that are to be met in the middle n1's rate is limited.
slow() { with_conf n1 "MaxRate=${1:-20M}"; } # [RATE]
arriving() { [[ -n $(box_exec n2 find "/run/smigrate/hold/$1.wf" "/var/lib/smigrate/hold/$1.wf" -name 'pages-*.img' -size +1M 2>/dev/null) ]]; }
wait_arriving() { retry 30 arriving "$1" || fail "nothing of job $1 arrives on n2: $(output "$1")"; } # JOB

held() { box_exec "$1" sh -c 'find /run/smigrate/hold /run/smigrate/out /var/lib/smigrate/hold -mindepth 1 2>/dev/null; grep smigrate/hold/ /proc/mounts'; }
nothing_held() {
	local node
	for node in $(box_nodes); do [[ -z $(held "$node") ]] || return 1; done
}
assert_nothing_held() {
	local node
	retry 20 nothing_held || fail "held still: $(for node in $(box_nodes); do held "$node" | sed "s/^/$node: /"; done)"
}
assert_clean() { # JOB
	assert_nothing_left "$1"
	assert_nothing_held
}

# ---- the disk is not touched -----------------------------------------------------------------------------------------

# Every file that is opened or written below StateDir of a node, by whomever, one a line, into FILE; until stop_watching.
watch_disk() { # NODE FILE
	box_exec "$1" rm -f /run/watch-stop
	box exec "$1" -- python3 - >"$2" <<-'PY' &
		import ctypes, os, select, struct, sys
		libc = ctypes.CDLL(None, use_errno=True)
		fd = libc.fanotify_init(0x10, os.O_RDONLY)  # FAN_UNLIMITED_QUEUE
		mask = 0x20 | 0x8 | 0x40000000              # FAN_OPEN, FAN_CLOSE_WRITE, FAN_ONDIR
		if fd < 0 or libc.fanotify_mark(fd, 0x1 | 0x10, ctypes.c_uint64(mask), -100, b"/var/lib/smigrate") < 0:
		    sys.exit("fanotify: errno %d" % ctypes.get_errno())
		print("watching", flush=True)
		while True:
		    stop = os.path.exists("/run/watch-stop")
		    while select.select([fd], [], [], 0.1)[0]:
		        data = os.read(fd, 65536)
		        while data:
		            size, _, _, _, what, at, _ = struct.unpack("=IBBHQii", data[:24])
		            print("write" if what & 0x8 else "open", os.readlink("/proc/self/fd/%d" % at), flush=True)
		            os.close(at)
		            data = data[size:]
		    if stop:
		        break
	PY
	retry 10 grep -qx watching "$2" || fail "no watch on $1: $(cat "$2")"
}
stop_watching() { # NODE...
	local node
	for node in "$@"; do box_exec "$node" touch /run/watch-stop; done
	wait
}
images_on_disk() { grep -hE '/images(/|$)|\.img( |$)|/pages-|/hold/.*/(pagemap|core)' "$@" || true; } # FILE...

# Moves hashchain once; the disk is looked at.
hashchain_by() { # GRACE-SECONDS WHAT-IS-TO-BE-CHECKED
	local job
	example hashchain
	all_nodes_idle
	box_exec ctl scontrol update partitionname=low "GraceTime=$1"
	job=$(in_example hashchain env STEPS=12000000 sbatch --parsable -p low --migrate=workflow.yaml job.sh)
	retry 30 step_said hashchain "$job" 'chain4 | step 300000' || fail 'no step is said'
	assert_eq "$(node_of "$job")" n1
	watch_disk n1 "$TMP/n1"
	watch_disk n2 "$TMP/n2"
	preempt "$job" 3 >/dev/null
	to_n2 "$job"
	stop_watching n1 n2
	"$2" "$job"
	wait_done "$job" 120
	in_example hashchain env STEPS=12000000 ./check "hashchain-$job.out"
	assert_eq "$(in_example hashchain grep -c ' | step 300000$' "hashchain-$job.out")" 4 'first steps'
	assert_clean "$job"
}
grace_back() {
	box_exec ctl scontrol update partitionname=low GraceTime=20
	put_back
}

in_memory_alone() { # JOB
	assert_streamed "$1" 4
	assert_phases_in_order "$1"
	assert_eq "$(images_on_disk "$TMP/n1" "$TMP/n2")" '' 'images that touched a disk'
}
by_the_disk() { # JOB
	assert_streamed "$1" 4
	assert_contains "$(images_on_disk "$TMP/n2")" "/hold/$1.hashchain/chain1/images/pages-"
	assert_eq "$(images_on_disk "$TMP/n1")" '' 'images on the disk of the source'
}

test_the_disk_is_not_touched() {
	trap grace_back EXIT
	hashchain_by 20 in_memory_alone
}

test_the_disk_is_not_touched_without_a_grace() {
	trap grace_back EXIT
	hashchain_by 0 in_memory_alone
}

# Where no memory is allowed it lands on the target's disk; and the watch above is worth something.
test_a_disk_that_is_touched_is_seen() {
	trap grace_back EXIT
	with_conf n2 LandMax=0
	hashchain_by 20 by_the_disk
}

# ---- what arrives, and who sees it on the way --------------------------------------------------------------------------

# What goes over the node's link, until stop_watching: how much of it, and whether the plain text of `precious` is in it.
sniff() { # NODE FILE
	box_exec "$1" rm -f /run/watch-stop
	box exec "$1" -- python3 - >"$2" <<-'PY' &
		import os, select, socket
		s = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
		s.setsockopt(socket.SOL_SOCKET, 33, 512 << 20)  # SO_RCVBUFFORCE
		s.bind(("eth0", 0))
		print("watching", flush=True)
		seen = found = 0
		while True:
		    stop = os.path.exists("/run/watch-stop")
		    while select.select([s], [], [], 0.1)[0]:
		        p = s.recv(1 << 17)
		        seen += len(p)
		        found += p.count(b"plain-text-nobody-is-to-read")
		    if stop:
		        break
		print("seen", seen >> 20, "found", found, flush=True)
	PY
	retry 10 grep -qx watching "$2" || fail "no watch on $1: $(cat "$2")"
}
seen() { awk '$1 == "seen" { print $2 }' "$1"; }   # FILE: MB
found() { awk '$1 == "seen" { print $4 }' "$1"; } # FILE

move_precious() {
	local job
	{ precious big 200; } | counters 300 one -
	job=$(submit_for_n2)
	wait_ticks big 3 60
	wait_ticks one 3 20
	sniff n2 "$TMP/wire"
	preempt "$job" 3 >/dev/null
	to_n2 "$job"
	stop_watching n2
	assert_streamed "$job" 2
	wait_ticks one $(($(ticks one) + 3)) 20
	go
	retry 60 said "$job" 'big | all right' || fail "$(output "$job")"
	box_as user1 ctl scancel "$job"
	assert_eq "$(lives big) $(lives one)" '1 1' lives
	wait_job_state "$job" CANCELLED 30
	assert_clean "$job"
}

test_large_memory_is_right() {
	prepare
	move_precious
	(($(seen "$TMP/wire") > 100)) || fail "the link was not heard: $(cat "$TMP/wire")"
	(($(found "$TMP/wire") > 0)) || fail "without Encrypt this should be seen, or the next test shows nothing: $(cat "$TMP/wire")"
}

test_large_memory_is_right_and_hidden() {
	local node
	prepare
	trap put_back EXIT
	for node in ctl $(box_nodes); do with_conf "$node" Encrypt=yes; done
	move_precious
	(($(seen "$TMP/wire") > 100)) || fail "the link was not heard: $(cat "$TMP/wire")"
	assert_eq "$(found "$TMP/wire")" 0 'times that the plain text was seen on the link'
}

# ---- nobody else ---------------------------------------------------------------------------------------------------

# All sockets that listen for connections on a node, with the programs behind them, until stop_watching.
watch_listeners() { # NODE FILE
	box_exec "$1" rm -f /run/watch-stop
	box exec "$1" -- bash >"$2" <<-'SH' &
		echo watching
		while [[ ! -e /run/watch-stop ]]; do ss -ltnpH; ss -lxpH; done
	SH
	retry 10 grep -qx watching "$2" || fail "no watch on $1"
}
# user1 knocks at every port that listens, as often as he can: connects, sends a byte, closes at once.
knock() { # NODE FILE
	box exec "$1" --user user1 -- python3 - >"$2" <<-'PY' &
		import os, socket, subprocess
		print("watching", flush=True)
		doors, knocks = {}, 0
		while not os.path.exists("/run/watch-stop"):
		    for line in subprocess.run(["ss", "-ltnH"], stdout=subprocess.PIPE).stdout.decode().splitlines():
		        host, port = line.split()[3].rsplit(":", 1)
		        doors[(host.strip("[]").replace("*", "127.0.0.1"), int(port))] = True
		    for door in doors:
		        for byte in b"\x00", b"{", b"":
		            try:
		                s = socket.create_connection(door, 2)
		                s.sendall(byte)
		                s.close()
		                knocks += 1
		            except OSError:
		                pass
		print("knocks", knocks)
	PY
	retry 10 grep -qx watching "$2" || fail "no knocking on $1"
}

test_nobody_reaches_memory_on_its_way() {
	local job node before
	prepare
	trap put_back EXIT
	slow 30M
	precious big 200 | counters 600 one -
	job=$(submit_for_n2)
	wait_ticks big 3 60
	before=$(box_exec n2 cat /run/box/smigrated.pid)
	for node in n1 n2; do
		watch_listeners "$node" "$TMP/listen.$node"
		knock "$node" "$TMP/knock.$node"
	done
	preempt "$job" 3 >/dev/null
	to_n2 "$job" 90
	stop_watching n1 n2
	assert_streamed "$job" 2
	for node in n1 n2; do
		(($(awk '$1 == "knocks" { print $2 }' "$TMP/knock.$node") > 50)) || fail "$node was not knocked at: $(cat "$TMP/knock.$node")"
		# what listens is the peer port, Slurm's own, munge's; no one else, above all no page server
		OUTPUT=$(sort -u "$TMP/listen.$node" | grep -vE "watching|:$PEER_PORT .*\"smigrated\"|\"(slurmd|slurmstepd|slurmctld|munged)\"|smigrated.sock |\"smigrate-" || true)
		assert_eq "$OUTPUT" '' "what else listens on $node"
		assert_contains "$(cat "$TMP/listen.$node")" ":$PEER_PORT"
		# nor can he look into the folders
		assert_status 2 box_as user1 "$node" ls /run/smigrate/hold
		assert_status 2 box_as user1 "$node" ls /run/smigrate/out
	done
	assert_eq "$(box_exec n2 cat /run/box/smigrated.pid)" "$before" 'pid of smigrated'
	assert_eq "$(lives one)" 1 'lives of one'
	go
	retry 60 said "$job" 'big | all right' || fail "$(output "$job")"
	box_as user1 ctl scancel "$job"
	assert_clean "$job"
}

# ---- bad luck --------------------------------------------------------------------------------------------------------

two_precious() { # prints the job: two services of 80 MB on n1, and a slow link
	{ precious big 80; service small 0 | sed 's|/here/counter.py|/here/precious.py|; s|"0"|"8"|'; } | counters 0 -
	submit_for_n2
}
begin_two() { # sets job
	prepare
	job=$(two_precious)
	wait_ticks big 3 60
	wait_ticks small 3 30
	assert_eq "$(node_of "$job")" n1
}
# However it went: it runs again, somewhere.
goes_on() { [[ $(state "SELECT COUNT(*) FROM services WHERE workflow = '$1.wf' AND state = 'running'") == 2 ]] && (($(ticks big) > $2)); } # JOB TICKS
wait_goes_on() { # JOB SECONDS
	local before
	before=$(ticks big)
	retry "$2" goes_on "$1" $((before + 3)) ||
		fail "job $1 does not go on: $(box_exec ctl smigrate show "$1"); $(job_state "$1") on $(node_of "$1"); $(output "$1")"
}

# The target's daemon dies with half of it in its hands.
test_target_is_killed_in_the_middle() {
	local job
	trap put_back EXIT
	slow 20M
	begin_two
	preempt "$job" 20 >/dev/null
	wait_arriving "$job"
	stop_daemon n2 KILL
	wait_event "$job" "could not be streamed to n2" 60
	start_daemon n2
	wait_moved "$job" 1 90
	wait_goes_on "$job" 60
	assert_contains "$(box_exec ctl smigrate show "$job")" dump
	assert_precious "$job" big small
	assert_clean "$job"
}

# Its whole node goes down, with the memory that it held, and comes back empty.
test_target_node_dies_in_the_middle() {
	local job
	trap node_back EXIT
	slow 20M
	begin_two
	preempt "$job" 30 >/dev/null
	wait_arriving "$job"
	box_exec n2 sh -c 'kill -9 $(cat /run/box/slurmd.pid) $(cat /run/box/smigrated.pid) $(cat /run/box/munged.pid); rm -f /run/box/*.pid
		for m in $(grep -o "/run/smigrate/hold/[^ ]*" /proc/mounts); do umount -l $m; rmdir $m; done'
	wait_event "$job" "could not be streamed to n2" 90
	start_n2
	wait_moved "$job" 1 120
	wait_goes_on "$job" 60
	assert_precious "$job" big small
	assert_clean "$job"
}
start_n2() {
	local daemon
	for daemon in munged slurmd smigrated; do box_exec n2 box-start "$daemon" >/dev/null 2>&1 || true; done
}
node_back() {
	start_n2
	put_back
}

link_n2() { ip -n "smigrate-box.$BOX.switch" link set n2 "$1"; } # up|down
link_back() { # Slurm may hold the node for down by now, until it registers again
	link_n2 up
	box_exec n2 sh -c 'box-stop slurmd; box-start slurmd' || true
	put_back
}

# For a moment: TCP goes on by itself.
test_link_is_cut_for_a_moment() {
	local job
	trap link_back EXIT
	slow 20M
	begin_two
	preempt "$job" 3 >/dev/null
	wait_arriving "$job"
	link_n2 down
	sleep 3
	link_n2 up
	to_n2 "$job" 120
	assert_streamed "$job" 2
	assert_precious "$job" big small
	assert_clean "$job"
}

# For longer than anybody waits.
TIMEOUT_test_link_is_cut_and_comes_back=400
test_link_is_cut_and_comes_back() {
	local job
	trap link_back EXIT
	slow 20M
	with_conf n2 LandKeep=60 # nobody can tell it that its room is not used any more
	begin_two
	preempt "$job" 30 >/dev/null
	wait_arriving "$job"
	link_n2 down
	wait_event "$job" "could not be streamed to n2" 120
	retry 120 saved_here "$job" || fail "not saved on n1: $(box_exec n1 smigrate show "$job"); $(output "$job")"
	link_n2 up
	wait_moved "$job" 1 150
	wait_goes_on "$job" 60
	assert_precious "$job" big small
	retry 90 nothing_held || fail 'n2 keeps its room'
	assert_clean "$job"
}
saved_here() { box_exec n1 test -e "/var/lib/smigrate/w/$1.wf/big/images/inventory.img"; }

# The target has granted memory that it has not got any more.
test_target_runs_out_of_memory() {
	local job
	trap put_back EXIT
	slow 20M
	begin_two
	preempt "$job" 3 >/dev/null
	wait_arriving "$job"
	box_exec n2 mount -o remount,size=30m "/run/smigrate/hold/$job.wf"
	wait_event "$job" "could not be streamed to n2" 60
	wait_moved "$job" 1 90
	wait_goes_on "$job" 60
	assert_contains "$(events "$job")" 'no room for the memory of the service'
	assert_precious "$job" big small
	assert_clean "$job"
}

test_target_allows_too_little_memory() {
	local job
	trap put_back EXIT
	with_conf n2 LandMax=10M
	begin_two
	preempt "$job" 3 >/dev/null
	to_n2 "$job"
	assert_streamed "$job" 2
	assert_contains "$(events "$job")" 'on the disk of n2'
	assert_precious "$job" big small
	assert_clean "$job"
}

test_target_has_neither_memory_nor_disk() {
	local job
	trap 'box_exec n2 sh -c "box-stop smigrated; while findmnt -n -t tmpfs /var/lib/smigrate >/dev/null; do umount -l /var/lib/smigrate; done"; put_back' EXIT
	stop_daemon n2
	box_exec n2 mount -t tmpfs -o size=30m,mode=700 tmpfs /var/lib/smigrate
	with_conf n2 LandMax=0
	begin_two
	preempt "$job" 3 >/dev/null
	wait_event "$job" "could not be streamed to n2" 60
	retry 60 saved_or_gone "$job" || fail "$(output "$job")"
	# the disk of n2 has no room for it when it lands there either
	box_exec n2 mount -o remount,size=400m /var/lib/smigrate
	wait_moved "$job" 1 90
	wait_goes_on "$job" 60
	assert_precious "$job" big small
	assert_nothing_held
}
saved_or_gone() { saved_here "$1" || [[ $(node_of "$1") == n2 ]]; }

# One is killed, say for want of memory, while it is being streamed: it has ended, the other moves.
test_a_service_dies_in_the_stream() {
	local job
	trap put_back EXIT
	slow 20M
	begin_two
	preempt "$job" 3 >/dev/null
	wait_arriving "$job"
	box_exec n1 pkill -KILL -f '[/]here/precious.py big'
	wait_moved "$job" 1 60
	retry 10 svc_is "$job" big exited || fail "big is $(svc_state "$job" big): $(output "$job")"
	go
	wait_job_state "$job" FAILED 60
	assert_eq "$(job_field "$job" ExitCode)" 137:0 ExitCode
	assert_contains "$(output "$job")" 'small | all right'
	assert_eq "$(lives big) $(lives small)" '1 1' lives
	assert_clean "$job"
}

# It ends by itself, and well, in the moment of the save, again and again.
test_a_service_ends_in_the_save() {
	local job n
	prepare
	{ for n in 1 2 3 4 5 6; do service "s$n" $((12 + n)); done; } | counters 100 one -
	job=$(submit_for_n2)
	wait_ticks one 3 30
	wait_ticks s6 11 30
	preempt "$job" 3 >/dev/null
	to_n2 "$job"
	wait_done "$job" 90
	assert_exact one 100
	for n in 1 2 3 4 5 6; do assert_exact "s$n" $((12 + n)); done
	assert_clean "$job"
}

run_tests "$@"

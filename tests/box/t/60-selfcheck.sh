#!/bin/bash
# What a service may hold, each thing in a container of its own that looks at it all the time: moved twice, and nothing changes
# but what workflows/SURVIVES.md says. Needs a box that is up (tests/run box).
# shellcheck source=../../lib.sh
. "$(dirname "$0")/../../lib.sh"
# shellcheck source=workflow.sh
. "$(dirname "$0")/workflow.sh"

W=/var/lib/smigrate/sc # the services' own folders, and what became of them: on a plain file system
TOP=/shared/selfcheck  # bin: the programs; image: a root file system with nothing in it but selfcheck, and files of user1's

# Nothing changes.
MOVES=(
	flock posix-lock ofd-lock lease append shared-position path-only proc-file devices unlinked-small unlinked-big tmpfile renamed
	other-name-left replaced folder mapped-shared mapped-private mapped-gone
	hard-links sparse whiteout opaque other-kinds changed xattrs acl modes times symlinks names
	pipe pipe-full fifo pty pty-in-flight
	unix-stream unix-dgram unix-seqpacket unix-dgram-named unix-named unix-abstract unix-pending passed-descriptor
	tcp tcp-full tcp-half-closed tcp-options udp netlink
	shared-anonymous posix-shm sysv-shm sysv-sem sysv-msg memfd memfd-sealed mappings
	eventfd epoll inotify pidfd
	children stopped threads threads-looked-at pi-mutex robust-mutex rlimits umask cwd cwd-gone scheduling prctl seccomp environment oom-score credentials
	pending-signal queued-signals thread-signal signalfd handlers
	timerfd posix-timer itimer clock-monotonic clock-realtime deadline
)
# It goes on, but this: once a move.
declare -A LOSES=(
	[unix-empty-message]='an empty message that was not read is gone'
	[tcp-pending]='a connection that was not accepted yet is gone'
	[udp-in-flight]='a datagram that was not read is gone'
	[sysv-undo]='what a dead process had taken with SEM_UNDO does not come back'
	[inotify-in-flight]='what was told and not read is gone'
	[affinity]='it was bound to a CPU and is not any more'
	[io-priority]='the priority of its I/O is not what it was'
	[timer-slack]='its timer slack is not what it was'
	[personality]='its personality is not what it was'
	[cpu-time]='the CPU time that it has used is less than before'
)
# It is not moved, is told why, and runs on as if nothing had been.
declare -A REFUSED=(
	[pipe-packets]='EUNSUP it holds a pipe of packets'
	[unix-pending-bytes]='ESYS a connection to one of its UNIX sockets has sent something, or was closed, before it was accepted'
	[unix-pending-closed]='ESYS a connection to one of its UNIX sockets has sent something, or was closed, before it was accepted'
	[posix-mqueue]='EUNSUP it has a POSIX message queue open'
	[posix-mqueue-closed]='EUNSUP it has a POSIX message queue, which CRIU cannot save'
	[eventfd-semaphore]='EUNSUP it holds an eventfd with EFD_SEMAPHORE'
	[io-uring]='EUNSUP it holds an io_uring'
	[userfaultfd]='EUNSUP it holds a userfaultfd'
	[perf-event]='EUNSUP it holds a perf event'
	[inotify-gone]='EUNSUP it watches (inotify) a file or folder that is deleted'
	[mptcp]='EUNSUP it has a socket of MPTCP'
	[vsock]='EUNSUP it has a socket of a kind that CRIU cannot save'
	[namespace]='EUNSUP a process in it has made namespaces of its own'
	[threads-file]='EUNSUP it keeps /proc/1/task/'
	[traced]='EUNSUP a debugger or tracer is attached'
)

# Runs in the node: starts an object's service, moves it, or tries to. Leaves NAME.out, what the service said, with a line MOVED
# for each move; NAME.log, what else there is to say; and NAME.status.
write_case() {
	box_exec n1 tee "$TOP/bin/case.sh" >/dev/null <<'SH'
dir=$1 top=$2 how=$3 name=$4 run=/run/smigrate-sc user=(uid=2001 gid=2001 group=2100)
out=$dir/$name.out
drive() { "$top/bin/drive_runtime" "$run" "$top/bin/smigrate-shim" "$@"; }
launch() {
	drive "$1" "$name" "$dir/$name" "$top/image" "${user[@]}" out="$out" net=none env=SELFCHECK='a value' -- /selfcheck "$name"
}
count() { sed -n "s/^$name | \([0-9]*\)\$/\1/p" "$out" | tail -n 1; }
counts_on() { # three times more
	local want=$(($(count) + 3)) i
	for ((i = 0; i < 600; i++)); do
		(($(count) + 0 < want)) || return 0
		sleep 0.05
	done
	echo "it stands still: $(tail -n 3 "$out")"
	return 1
}
# CRIU restores it as on a node that has been up for so much longer.
move() { # SECONDS
	local path=$PATH
	drive dump "$name" "$dir/$name/images" && drive cleanup "$name" || return 1
	mkdir -p "$dir/$name/bin"
	printf '#!/bin/sh\nexec unshare --time --monotonic %s --boottime %s %s "$@"\n' "$1" "$1" "$(command -v criu)" >"$dir/$name/bin/criu"
	chmod 755 "$dir/$name/bin/criu"
	PATH=$dir/$name/bin:$PATH
	if ! launch restore; then
		grep -h Error "$run/c/$name/work/restore.log" | head -n 5
		return 1
	fi
	PATH=$path
	counts_on && echo MOVED >>"$out"
}
moves() { echo MOVED >>"$out" && move 1000000 && move -100; }
refuses() { ! drive dump "$name" "$dir/$name/images" && counts_on; }

exec >"$dir/$name.log" 2>&1
drive cleanup "$name"
rm -rf "${dir:?}/$name" "$out"
mkdir -p -m 700 "$dir/$name"
launch run && counts_on && "$how"
echo $? >"$dir/$name.status"
drive cleanup "$name"
rm -rf "${dir:?}/$name"
SH
}

test_00_build() {
	box_exec n1 sh -ec "rm -rf /tmp/sc-src $TOP $W; mkdir -p /tmp/sc-src $TOP/bin $W"
	tar -C "$ROOT" -cf - Makefile core tests/box | box_exec n1 tar -C /tmp/sc-src -xf -
	box_exec n1 sh -ec "cd /tmp/sc-src; make -s -j2 BUILD=b b/smigrate-shim b/smigrate-post-dump b/tests/box/drive_runtime b/tests/box/selfcheck/selfcheck
		cp b/smigrate-shim b/smigrate-post-dump b/tests/box/drive_runtime b/tests/box/selfcheck/selfcheck $TOP/bin; rm -rf /tmp/sc-src"
	box exec n1 -- bash -es "$TOP" <<-'SH'
		image=$1/image
		mkdir -p "$image"/{proc,sys,dev,tmp,etc,w/image/tree}
		chmod 1777 "$image/tmp"
		cp "$1/bin/selfcheck" "$image"
		for file in gone kept tree/a tree/b; do printf old >"$image/w/image/$file"; done
		printf script >"$image/w/image/script"
		chmod 755 "$image/w/image/script"
		chown -R user1:user1 "$image/w"
		chmod -R a+rX "$1"
	SH
	write_case
}

test_01_nothing_is_left_out() {
	assert_eq "$(box_exec n1 "$TOP/bin/selfcheck" --list | sort | xargs)" \
		"$(printf '%s\n' "${MOVES[@]}" "${!LOSES[@]}" "${!REFUSED[@]}" | sort | xargs)" 'objects, and what is said of them'
}

# Three at a time; the tests that follow look at what became of each.
test_02_run_all() {
	box exec n1 -- xargs -P 3 -L 1 bash "$TOP/bin/case.sh" "$W" "$TOP" < <(
		printf 'moves %s\n' "${MOVES[@]}" "${!LOSES[@]}"
		printf 'refuses %s\n' "${!REFUSED[@]}"
	)
}

said() { sed -n "s/^$1 | //p; /^MOVED/p" "$TMP/out"; } # NAME
# One life: every number once, in its order.
assert_one_life() { # NAME LINES
	said "$1" | grep -vE '^(FAULT: .*|MOVED)$' | awk -v n="$2" '$0 != NR { print "line " NR " is " $0; bad = 1; exit } END { exit bad || NR < n }' ||
		fail "$1 did not go on exactly: $(said "$1" | tail -n 5)"
}
assert_faults() { # NAME WANTED
	assert_eq "$(said "$1" | grep -E '^(FAULT|MOVED)' || true)" "$2" "$1"
}
outcome() { # HOW NAME: its output in $TMP/out
	box_exec n1 test -e "$W/$2.status" || box_exec n1 bash "$TOP/bin/case.sh" "$W" "$TOP" "$1" "$2"
	box_exec n1 cat "$W/$2.log"
	box_exec n1 cat "$W/$2.out" >"$TMP/out"
	assert_eq "$(box_exec n1 cat "$W/$2.status")" 0 "status of $2"
}
moves() { # NAME
	outcome moves "$1"
	assert_one_life "$1" 9
	assert_faults "$1" $'MOVED\nMOVED\nMOVED'
}
# Told once after each move, but for one that came while it looked, and had just let go of what it would have lost.
assert_loss() { # NAME
	local faults
	faults=$(said "$1" | grep '^FAULT' || true)
	assert_eq "$(sort -u <<<"$faults")" "FAULT: ${LOSES[$1]}" "$1"
	(($(wc -l <<<"$faults") <= 2)) || fail "$1 is told more than once a move: $faults"
}
loses() { # NAME
	outcome moves "$1"
	assert_one_life "$1" 9
	assert_eq "$(said "$1" | grep -c '^MOVED')" 3 'MOVED'
	assert_loss "$1"
}
refuses() { # NAME
	outcome refuses "$1"
	assert_contains "$(box_exec n1 cat "$W/$1.log")" "error ${REFUSED[$1]}"
	assert_one_life "$1" 6
	assert_faults "$1" ''
}

define() { eval "test_${2//-/_}() { $1 $2; }"; } # HOW NAME
for object in "${MOVES[@]}"; do define moves "$object"; done
for object in "${!LOSES[@]}"; do define loses "$object"; done
for object in "${!REFUSED[@]}"; do define refuses "$object"; done

# ---- all at once, as services of one job, through the network and from node to node -------------------------------------

GRACE=20
grace_back() { box_exec ctl scontrol update partitionname=low "GraceTime=$GRACE"; }

all_services() {
	local name
	printf 'name: wf\nservices:\n'
	for name in "${MOVES[@]}" "${!LOSES[@]}"; do
		printf '  %s:\n    image: %s\n    network_mode: none\n    environment: {SELFCHECK: a value}\n    command: [/selfcheck, %s]\n' \
			"$name" "$TOP/image" "$name"
	done
}
least() { # JOB: the smallest number that any service has come to
	output "$1" | awk -v all="$((${#MOVES[@]} + ${#LOSES[@]}))" '$2 == "|" && $3 ~ /^[0-9]+$/ { n[$1] = $3 }
		END { for (s in n) { k++; if (!min || n[s] < min) min = n[s] }; print k == all ? min + 0 : 0 }'
}
most() { output "$1" | awk '$2 == "|" && $3 ~ /^[0-9]+$/ && $3 > max { max = $3 } END { print max + 0 }'; } # JOB
all_beyond() { (($(least "$1") > $2)); }                                                        # JOB NUMBER
wait_all_beyond() { retry 60 all_beyond "$1" "$2" || fail "a service does not go on: $(output "$1" | tail -n 20)"; }
streamed() { # JOB: how many services, and how many by way of a disk
	state "SELECT SUM(phase = 'stream' AND error IS NULL) || ' ' || SUM(phase = 'dump') FROM phases
		WHERE migration = (SELECT id FROM migrations WHERE job = $1 ORDER BY id DESC LIMIT 1)"
}
move_all() { # JOB N
	local before n=$((${#MOVES[@]} + ${#LOSES[@]}))
	before=$(most "$1")
	preempt "$1" 3 >/dev/null
	wait_moved "$1" "$2" 150
	wait_all_beyond "$1" $((before + 3))
	assert_eq "$(state "SELECT moved || ' ' || restarted FROM migrations WHERE job = $1 ORDER BY id DESC LIMIT 1")" "$n 0" 'moved, restarted'
	assert_eq "$(streamed "$1")" "$n 0" 'streamed, dumped'
}

test_zz_all_at_once_between_nodes() {
	local job name bad=()
	trap grace_back EXIT
	prepare
	box_exec ctl scontrol update partitionname=low GraceTime=120
	all_services | in_wf tee workflow.yaml >/dev/null
	job=$(submit)
	retry 90 all_beyond "$job" 3 || fail "not all services run: $(output "$job" | tail -n 20)"
	move_all "$job" 1
	move_all "$job" 2
	box_as user1 ctl scancel "$job"
	output "$job" >"$TMP/out"
	for name in "${MOVES[@]}"; do
		(assert_one_life "$name" 9 && assert_faults "$name" '') || bad+=("$name")
	done
	for name in "${!LOSES[@]}"; do
		(assert_one_life "$name" 9 && assert_loss "$name") || bad+=("$name")
	done
	assert_eq "${bad[*]}" '' 'services that found something changed'
	wait_job_state "$job" CANCELLED 30
	assert_nothing_left "$job"
}

test_zz_zz_nothing_is_left() {
	clear_jobs
	assert_eq "$(box_exec n1 ls /run/smigrate-sc/c)" '' bundles
	assert_eq "$(box_exec n1 sh -c 'grep -c smigrate-sc /proc/mounts' || true)" 0 mounts
	box_exec n1 sh -c "rm -rf $W $TOP /run/smigrate-sc"
}

run_tests "$@"

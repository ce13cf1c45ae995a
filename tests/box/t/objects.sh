# shellcheck shell=bash
# The objects of tests/box/selfcheck, what becomes of each in a move, and how what its program has said is judged: source it after
# workflow.sh. What they said is in $TMP/out.
# shellcheck disable=SC2034 # for the tests

TOP=/shared/selfcheck # bin: the programs; image: a root file system with nothing in it but selfcheck, and files of user1's

# From the program in $TOP/bin.
object_image() {
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
}

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

told() { sed -n "s/^$1 | //p; /^MOVED/p" "$TMP/out"; } # NAME
# One life: every number once, in its order.
assert_one_life() { # NAME LINES
	told "$1" | grep -vE '^(FAULT: .*|MOVED)$' | awk -v n="$2" '$0 != NR { print "line " NR " is " $0; bad = 1; exit } END { exit bad || NR < n }' ||
		fail "$1 did not go on exactly: $(told "$1" | tail -n 5)"
}
assert_faults() { # NAME WANTED
	assert_eq "$(told "$1" | grep -E '^(FAULT|MOVED)' || true)" "$2" "$1"
}
# Told once after each move, but for one that came while it looked, and had just let go of what it would have lost.
assert_loss() { # NAME
	local faults
	faults=$(told "$1" | grep '^FAULT' || true)
	assert_eq "$(sort -u <<<"$faults")" "FAULT: ${LOSES[$1]}" "$1"
	(($(wc -l <<<"$faults") <= 2)) || fail "$1 is told more than once a move: $faults"
}

# ---- those of OBJECTS at once, as services of one job --------------------------------------------------------------------

object_services() { # [X-MIGRATE]: a workflow of them, each with these keys, as YAML in braces
	local name
	printf 'name: wf\nservices:\n'
	for name in "${OBJECTS[@]}"; do
		printf '  %s:\n    image: %s\n    network_mode: none\n    environment: {SELFCHECK: a value}\n    command: [/selfcheck, %s]\n' \
			"$name" "$TOP/image" "$name"
		[[ -z ${1-} ]] || printf '    x-migrate: %s\n' "$1"
	done
}
least() { # JOB: the smallest number that any service has come to
	output "$1" | awk -v all="${#OBJECTS[@]}" '$2 == "|" && $3 ~ /^[0-9]+$/ { n[$1] = $3 }
		END { for (s in n) { k++; if (!min || n[s] < min) min = n[s] }; print k == all ? min + 0 : 0 }'
}
most() { output "$1" | awk '$2 == "|" && $3 ~ /^[0-9]+$/ && $3 > max { max = $3 } END { print max + 0 }'; } # JOB
all_beyond() { (($(least "$1") > $2)); }                                                        # JOB NUMBER
wait_all_beyond() { retry 60 all_beyond "$1" "$2" || fail "a service does not go on: $(output "$1" | tail -n 20)"; }
assert_objects() { # LINES: each went on, and found nothing changed but what it may
	local name bad=()
	for name in "${OBJECTS[@]}"; do
		if [[ -n ${LOSES[$name]-} ]]; then
			(assert_one_life "$name" "$1" && assert_loss "$name") || bad+=("$name")
		else
			(assert_one_life "$name" "$1" && assert_faults "$name" '') || bad+=("$name")
		fi
	done
	assert_eq "${bad[*]}" '' 'services that found something changed'
}

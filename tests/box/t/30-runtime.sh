#!/bin/bash
# Containers on one node, by the driver of the runtime: each of its calls is a daemon that adopts, acts and dies.
# shellcheck source=../../lib.sh
. "$(dirname "$0")/../../lib.sh"

W=/var/lib/smigrate/rt      # the services' own folders: on a plain file system
RUN=/run/smigrate-rt
BIN=/shared/rt-bin

# The tree's sources are built in the node, with the node's own compiler and libraries.
test_00_build_the_driver() {
	box_exec n1 sh -ec "rm -rf /tmp/rt-src $BIN; mkdir -p /tmp/rt-src $BIN"
	tar -C "$ROOT" -cf - Makefile core tests/box | box_exec n1 tar -C /tmp/rt-src -xf -
	box_exec n1 sh -ec "cd /tmp/rt-src; make -s -j2 BUILD=b b/smigrate-shim b/smigrate-post-dump b/tests/box/drive_runtime b/tests/box/drive_hold
		cp b/smigrate-shim b/smigrate-post-dump b/tests/box/drive_runtime b/tests/box/drive_hold $BIN; chmod -R a+rX $BIN; rm -rf /tmp/rt-src"
	box_exec n1 "$BIN/drive_runtime" "$RUN" "$BIN/smigrate-shim" check
}

drive() { box_exec n1 "$BIN/drive_runtime" "$RUN" "$BIN/smigrate-shim" "$@"; }
fresh() { # ID
	drive cleanup "$1"
	box_exec n1 sh -c "rm -rf $W/$1 /tmp/out.$1; mkdir -p -m 700 $W/$1"
}
USER1=(uid=2001 gid=2001 group=2100)
launch() { # ID CMD-AND-OPTIONS...
	drive run "$1" "$W/$1" /images/debian "${USER1[@]}" out="/tmp/out.$1" vol="$BIN:/rt:ro" "${@:2}"
}
restore() {
	drive restore "$1" "$W/$1" /images/debian "${USER1[@]}" out="/tmp/out.$1" vol="$BIN:/rt:ro" "${@:2}" -- true
}
output() { box_exec n1 cat "/tmp/out.$1"; }
has_output() { output "$1" | grep -q -- "$2"; }
expect_output() { retry 10 has_output "$1" "$2" || fail "no '$2' in: $(output "$1")"; }
counts_on() { # ID
	local before
	before=$(output "$1" | wc -l)
	sleep 0.5
	(($(output "$1" | wc -l) > before)) || fail "$1 stands still"
}
# Every number once, in order, each line whole.
assert_exact_count() {
	output "$1" | sed "s/^$1 | //" | awk '$0 != NR { print "line " NR " is " $0; exit 1 }' || fail "the count is broken: $(output "$1" | tail -n 5)"
}

test_a_user_and_nothing_more() {
	fresh a
	launch a -- sh -c 'id; grep -E "^(Cap|NoNewPrivs|Groups)" /proc/self/status; mount | grep " on / "; cp /bin/id /tmp/id; chmod u+s /tmp/id; /tmp/id; hostname; pwd; echo $PATH
		touch /etc/x; echo mine >/tmp/x && cat /tmp/x; echo oops >&2; exit 3'
	expect_output a oops
	retry 5 box_exec n1 test -e "$RUN/c/a/exit" || fail "no exit status"
	OUTPUT=$(output a)
	assert_contains "$OUTPUT" 'a | uid=2001(user1) gid=2001(user1) groups=2001(user1),2100(lab)'
	assert_eq "$(grep -c 'Cap[A-Za-z]*:.*0000000000000000' <<<"$OUTPUT")" 5 "empty capability sets"
	assert_contains "$OUTPUT" $'NoNewPrivs:\t1'
	assert_contains "$OUTPUT" nosuid
	assert_contains "$OUTPUT" "touch: cannot touch '/etc/x'"
	assert_contains "$OUTPUT" 'a | mine'
	[[ $OUTPUT != *euid=* ]] || fail "setuid has an effect"
	box_exec n1 test ! -e /images/debian/tmp/x || fail "the image was written to"
	assert_contains "$(drive wait a || true)" "gone status=3"
	drive cleanup a
}

test_setuid_root_in_a_volume_has_no_effect() {
	fresh b
	box_exec n1 sh -c 'mkdir -p /tmp/suid; cp /usr/bin/id /tmp/suid/id; chmod 4755 /tmp/suid/id'
	launch b vol=/tmp/suid:/suid -- /suid/id
	expect_output b 'uid=2001(user1)'
	[[ $(output b) != *euid=0* ]] || fail "root by a setuid program"
	drive cleanup b
}

expect_error() { # CODE WORDS CMD...
	local status=0
	OUTPUT=$("${@:3}" 2>&1) || status=$?
	[[ $status != 0 ]] || fail "no error from: ${*:3}"
	assert_contains "$OUTPUT" "error $1 "
	assert_contains "$OUTPUT" "$2"
	box_exec n1 test ! -e "$RUN/c/e" || fail "a failed launch left its bundle"
}

test_errors_name_what_the_user_wrote() {
	fresh e
	box_exec n1 sh -c 'mkdir -p -m 711 /tmp/closed; mkdir -p -m 700 /tmp/closed/in; ln -sfn /proc/1/root /tmp/magic; ln -sfn /images/debian /tmp/ln; : >/tmp/file'
	expect_error ENOENT "the image /images/none does not exist" drive run e "$W/e" /images/none "${USER1[@]}" -- true
	expect_error EINVAL "the image /tmp/file is not a folder" drive run e "$W/e" /tmp/file "${USER1[@]}" -- true
	expect_error ENOENT "the volume source /tmp/none does not exist" launch e vol=/tmp/none:/x -- true
	expect_error EPERM "the volume source /tmp/closed/in cannot be read by uid 2001" launch e vol=/tmp/closed/in:/x -- true
	expect_error EPERM "the volume source /tmp/magic/etc leads through a link of /proc" launch e vol=/tmp/magic/etc:/x -- true
	expect_error EINVAL "neither a folder, nor a file" launch e vol=/dev/null:/x -- true
	expect_error ENOENT "the command no-such-thing does not exist in the image /images/debian (in no folder of PATH)" launch e -- no-such-thing
	expect_error ENOENT "the command /bin/none does not exist" launch e -- /bin/none
	expect_error EPERM "the command /etc/passwd in the image cannot be run by uid 2001" launch e -- /etc/passwd
	expect_error ENOENT "the working directory /none does not exist" launch e cwd=/none -- true
	drive run e "$W/e" /tmp/ln "${USER1[@]}" -- true # a plain link is as good as a folder
	drive cleanup e
}

# What the user sees in his own mount namespace is what counts, and only what he may see.
test_volumes_of_the_users_own_namespace() {
	local pid
	fresh v
	box_exec n1 sh -c 'mkdir -p /tmp/own; unshare -m sh -c "mount -t tmpfs none /tmp/own; echo mine >/tmp/own/x; mkdir /tmp/own/sub; mount -t tmpfs none /tmp/own/sub; echo deep >/tmp/own/sub/y; echo \$\$ >/tmp/own.pid; exec sleep 60" >/dev/null 2>&1 &'
	retry 5 box_exec n1 test -s /tmp/own.pid
	pid=$(box_exec n1 cat /tmp/own.pid)
	launch v client="$pid" vol=/tmp/own:/own -- sh -c 'cat /own/x /own/sub/y; /rt/drive_hold count'
	expect_output v 'v | mine'
	expect_output v 'v | deep'
	expect_output v 'v | 5$'
	drive dump v "$W/v/images"
	restore v client="$pid" vol=/tmp/own:/own
	counts_on v
	drive cleanup v
	box_exec n1 kill "$pid"
}

test_count_goes_on_exactly() {
	local i
	fresh c
	launch c -- /rt/drive_hold count
	for i in 1 2 3; do
		expect_output c "c | $((i * 10))\$"
		drive freeze c
		drive freeze c
		drive dump c "$W/c/images"
		box_exec n1 test ! -e "/sys/fs/cgroup/smigrate/job_77/c/cgroup.procs" || fail "the cgroup is still there after a dump"
		drive cleanup c
		restore c
	done
	expect_output c 'c | 40$'
	drive kill c 15
	retry 5 box_exec n1 test -e "$RUN/c/c/exit" || drive kill c 9
	drive cleanup c
	assert_exact_count c
}

test_half_a_line_is_not_cut() {
	fresh p
	launch p -- sh -c 'echo begin; printf "half of "; printf "err half " >&2; while [ ! -e /tmp/go ]; do sleep 0.05; done; echo a line; echo "of err" >&2; sleep 100'
	expect_output p begin
	sleep 0.2
	drive dump p "$W/p/images"
	assert_eq "$(output p)" "p | begin"
	restore p
	drive exec p 5000 touch /tmp/go
	expect_output p 'p | half of a line'
	expect_output p 'p | err half of err'
	drive cleanup p
}

test_exit_statuses() {
	local id want cmd
	while read -r id want cmd; do
		fresh "$id"
		launch "$id" -- sh -c "$cmd"
		retry 5 box_exec n1 test -e "$RUN/c/$id/exit" || fail "$id does not end"
		assert_contains "$(drive wait "$id" || true)" "gone status=$want"
		drive cleanup "$id"
	done <<'END'
x0 0 true
x7 7 exit 7
x139 139 kill -SEGV $$; sh -c "kill -SEGV \$\$"; exit 139
END
}

test_exec_runs_as_the_user_and_is_bounded() {
	fresh x
	launch x -- sleep 1000
	assert_contains "$(drive exec x 5000 sh -c '[ "$(id -u)" = 2001 ] && grep -q "CapEff:.*0000000000000000" /proc/self/status')" 'ok status=0'
	assert_contains "$(drive exec x 5000 sh -c 'exit 5')" 'ok status=5'
	expect_one_sleep() { [[ $(box_exec n1 sh -c 'cat /sys/fs/cgroup/smigrate/job_77/x/cgroup.procs | wc -l') == 1 ]]; }
	assert_contains "$(drive exec x 300 sh -c 'setsid sleep 777 & setsid sleep 777' || true)" 'error ETIME'
	retry 3 expect_one_sleep || fail "an exec that timed out left processes"
	box_exec n1 pgrep -f '^sleep 777' && fail "an exec that timed out left processes"
	# One that is under way when a dump begins is killed, and the dump succeeds.
	drive exec x 60000 sleep 778 >/dev/null 2>&1 &
	sleep 0.5
	drive dump x "$W/x/images"
	restore x
	drive cleanup x
}

cannot() { # WHAT CODE WORDS
	fresh h
	launch h -- /rt/drive_hold "$1"
	expect_output h 'h | 3$'
	drive freeze h
	OUTPUT=$(drive dump h "$W/h/images" || true)
	assert_contains "$OUTPUT" "error $2 $3"
	box_exec n1 test ! -e "$W/h/images" || fail "a failed dump left images"
	counts_on h
	assert_contains "$(drive exec h 5000 true)" 'ok status=0'
	drive kill h 9
	drive cleanup h
	assert_exact_count h
}

test_io_uring_says_so_and_runs_on() { cannot io_uring EUNSUP 'it holds an io_uring, which CRIU cannot save'; }
test_inotify_on_deleted_says_so_and_runs_on() { cannot inotify-deleted EUNSUP 'it watches (inotify)'; }

test_no_space_says_so_and_runs_on() {
	fresh h
	launch h -- /rt/drive_hold count
	expect_output h 'h | 3$'
	box_exec n1 sh -c 'mkdir -p /tmp/small; mount -t tmpfs -o size=64k none /tmp/small'
	OUTPUT=$(drive dump h /tmp/small/images || true)
	box_exec n1 umount /tmp/small
	assert_contains "$OUTPUT" 'error ENOSPC no space left for its images'
	counts_on h
	drive dump h "$W/h/images"
	drive cleanup h
}

# CRIU does not notice when the process that it forks for the namespaces finds no room: it must not end the container then.
test_an_image_that_is_cut_off_is_noticed_before_the_end() {
	fresh h
	launch h -- /rt/drive_hold count
	expect_output h 'h | 3$'
	box_exec n1 sh -ec "mv $BIN/smigrate-post-dump $BIN/real
		cat >$BIN/smigrate-post-dump <<-'SH'
			#!/bin/sh
			[ \"\$CRTOOLS_SCRIPT_ACTION\" != post-dump ] || : >\"\$(ls \$CRTOOLS_IMAGE_DIR/utsns-*.img)\"
			exec $BIN/real
		SH
		chmod +x $BIN/smigrate-post-dump"
	OUTPUT=$(drive dump h "$W/h/images" || true)
	box_exec n1 mv "$BIN/real" "$BIN/smigrate-post-dump"
	assert_contains "$OUTPUT" 'error ENOSPC no space left for its images'
	assert_contains "$OUTPUT" 'utsns-'
	box_exec n1 test ! -e "$W/h/images" || fail "a failed dump left images"
	counts_on h
	drive dump h "$W/h/images"
	restore h
	counts_on h
	drive kill h 9
	drive cleanup h
	assert_exact_count h
}

# Another dump fills the disk, fails and frees it again, at any moment of this one: until both have been seen, a dump that was refused and
# runs on, and one that can be restored; ROOM_TRIES: at least so many.
stop_filling() { box_exec n1 sh -c 'kill $(cat /tmp/filler) 2>/dev/null; sleep 0.3; umount -l /tmp/small 2>/dev/null; rm -rf /tmp/small'; }
test_room_that_comes_and_goes() {
	local i saved=0 refused=0
	trap stop_filling EXIT
	fresh h
	launch h -- /rt/drive_hold count
	expect_output h 'h | 3$'
	box_exec n1 bash -c 'mkdir -p /tmp/small; mount -t tmpfs -o size=4m none /tmp/small
		while sleep "0.$((RANDOM % 3))$((RANDOM % 10))"; do head -c 4m /dev/zero >/tmp/small/other; sleep "0.0$((RANDOM % 8))"; rm -f /tmp/small/other; done >/dev/null 2>&1 &
		echo $! >/tmp/filler'
	for ((i = 0; i < ${ROOM_TRIES:-8} || (i < 100 && (saved == 0 || refused == 0)); i++)); do
		OUTPUT=$(drive dump h /tmp/small/images || true)
		if [[ $OUTPUT == *error* ]]; then
			assert_contains "$OUTPUT" ENOSPC
			refused=$((refused + 1))
		else
			saved=$((saved + 1))
			box_exec n1 sh -ec "rm -rf $W/h/images; cp -a /tmp/small/images $W/h/images"
			restore h
		fi
		counts_on h
	done
	echo "saved $saved times, refused $refused times"
	((saved > 0 && refused > 0)) || fail "saved $saved times, refused $refused times: one of both was not tried"
	drive kill h 9
	drive cleanup h
	assert_exact_count h
}

test_frozen_ancestor_is_refused() {
	fresh f
	launch f -- /rt/drive_hold count
	expect_output f 'f | 3$'
	box_exec n1 sh -c 'echo 1 >/sys/fs/cgroup/smigrate/job_77/cgroup.freeze'
	OUTPUT=$(drive dump f "$W/f/images" || true)
	box_exec n1 sh -c 'echo 0 >/sys/fs/cgroup/smigrate/job_77/cgroup.freeze'
	assert_contains "$OUTPUT" 'error EBUSY it cannot be saved while the cgroup above it is frozen'
	counts_on f
	drive cleanup f
}

holds_and_moves() { # WHAT...
	fresh m
	launch m -- /rt/drive_hold "$@"
	expect_output m 'm | 3$'
	drive dump m "$W/m/images"
	restore m
	counts_on m
	drive cleanup m
	assert_exact_count m
}
test_rights_hold_after_a_restore() {
	local status
	fresh o
	launch o -- /rt/drive_hold count
	expect_output o 'o | 3$'
	drive dump o "$W/o/images"
	# Images of one user are not restored for another.
	OUTPUT=$(drive restore o "$W/o" /images/debian uid=2002 gid=2002 vol="$BIN:/rt:ro" -- true || true)
	assert_contains "$OUTPUT" "error EPERM the image core-1.img would restore a process with another user's id: refused"
	OUTPUT=$(drive restore o "$W/o" /images/debian uid=2001 gid=2001 vol="$BIN:/rt:ro" -- true || true)
	assert_contains "$OUTPUT" "a group that the user is not in: refused"
	restore o
	status=$(box_exec n1 sh -c "cat /proc/\$(cat $RUN/c/o/pid)/status")
	assert_contains "$status" $'NoNewPrivs:\t1'
	assert_eq "$(grep -c '^Cap[A-Za-z]*:.*0000000000000000' <<<"$status")" 5 "empty capability sets"
	drive exec o 5000 sh -c '! touch /rt/x && ! touch /etc/x && touch /tmp/x' | grep -q 'status=0' || fail "mounts are not as before"
	box_exec n1 grep -q ' / rw,nosuid,nodev' "/proc/$(box_exec n1 cat "$RUN/c/o/pid")/mountinfo" || fail "the root file system is not nosuid, nodev"
	drive cleanup o
	assert_exact_count o
}
test_inotify_moves() { holds_and_moves inotify; }
test_deleted_file_moves() { holds_and_moves deleted 5000000; }

# All that can be told of a file, but for the times of the top folder, where CRIU makes names for a moment.
list_shm() { # ID: into $OUTPUT
	drive exec "$1" 20000 sh -ec 'cd /dev/shm
		find . -printf "%p %y %m %U:%G %s %b %n %l\n" | sort >/tmp/list
		find . -mindepth 1 ! -name named ! -name "sem.*" ! -name socket -printf "%p %T@\n" | sort >>/tmp/list
		sha256sum big d/holes >>/tmp/list
		grep " /dev/shm " /proc/self/mountinfo | cut -d " " -f 4-6 >>/tmp/list' | grep -q 'status=0' || fail "no list of /dev/shm"
	OUTPUT=$(box_exec n1 cat "$W/$1/upper/tmp/list")
}
tmpfs_images() { # ID: those that CRIU made
	box_exec n1 sh -c "cd $W/$1/images; ls | grep tmpfs-dev || true"
}

# Of everything two processes can share there, and of every kind of file; twice, since what was restored has names of CRIU's.
test_dev_shm_moves_by_us() {
	local before i
	fresh s
	launch s -- sh -ec 'cd /dev/shm; head -c 104857600 /dev/urandom >big; mkdir -m 2750 d; touch -d "2001-02-03 04:05:06.789" d/old; ln big d/hard
		ln -s ../big d/soft; mkfifo -m 620 d/fifo; truncate -s 1G d/holes; echo end | dd of=d/holes bs=1 seek=536870912 conv=notrunc status=none
		chgrp 2100 d/old; chmod 3640 d/old; mkdir -m 0 "d/a name
with a break"; exec /rt/drive_hold shm'
	expect_output s 's | 3$'
	list_shm s
	before=$OUTPUT
	assert_contains "$before" './d/old f 3640 2001:2100 0 0 1'
	assert_contains "$before" '/ /dev/shm rw,nosuid,nodev,noexec'
	for i in 1 2; do
		assert_contains "$(drive dump s "$W/s/images")" 'ok status=0'
		box_exec n1 test -s "$W/s/images/tmpfs-0.tar" || fail "no archive of /dev/shm"
		box_exec n1 grep -q sem.pace "$W/s/tmpfs-0.links" || fail "the semaphore has no name to come back by"
		assert_eq "$(tmpfs_images s | wc -l)" 1 "tmpfs file systems that CRIU packed (/dev)"
		box_exec n1 sh -c "tar -tzf $W/s/images/tmpfs-dev-*.img" | grep big && fail "CRIU has packed /dev/shm"
		restore s
		counts_on s
		list_shm s
		assert_eq "$OUTPUT" "$before" "/dev/shm after move $i"
	done
	drive kill s 9
	drive cleanup s
	assert_exact_count s
}

test_empty_dev_shm_costs_nothing() {
	fresh s
	launch s -- sh -c 'rm -f /dev/shm/x; exec /rt/drive_hold count'
	expect_output s 's | 3$'
	drive dump s "$W/s/images"
	box_exec n1 sh -c "ls $W/s/images $W/s" | grep 'tmpfs-0' && fail "an empty /dev/shm left files"
	restore s
	counts_on s
	drive cleanup s
}

test_no_space_for_dev_shm_says_so_and_runs_on() {
	fresh s
	launch s -- sh -c 'head -c 50000000 /dev/urandom >/dev/shm/big; exec /rt/drive_hold shm'
	expect_output s 's | 3$'
	box_exec n1 sh -c 'mkdir -p /tmp/small; mount -t tmpfs -o size=20m none /tmp/small'
	OUTPUT=$(drive dump s /tmp/small/images || true)
	box_exec n1 umount /tmp/small
	assert_contains "$OUTPUT" 'error ENOSPC no space left for its images'
	counts_on s
	drive dump s "$W/s/images"
	# Half an archive is no contents.
	box_exec n1 sh -c "truncate -s 1000 $W/s/images/tmpfs-0.tar"
	OUTPUT=$(restore s || true)
	assert_contains "$OUTPUT" 'error ESYS the contents of its /dev/shm cannot be unpacked'
	box_exec n1 test ! -e "$RUN/c/s" || fail "a failed restore left its bundle"
	assert_exact_count s
}

test_killed_shim_is_reported() {
	fresh k
	launch k -- sleep 1234
	drive wait k >/dev/null 2>&1 &
	(sleep 1; box_exec n1 sh -c "kill -9 \$(sed 's/.*\"pid\": \\([0-9]*\\).*/\\1/' $RUN/c/k/shim | grep -E '^[0-9]+$')") &
	OUTPUT=$(drive wait k)
	assert_contains "$OUTPUT" 'exit id=k status=-1 reason=its shim was killed'
	box_exec n1 pgrep -f '^sleep 1234$' && fail "the container lives on"
	drive cleanup k
}

# The daemon that asked for the checkpoint dies in the middle of it: the next one finds the container saved, or running.
test_daemon_killed_during_a_dump() {
	local i status
	for i in 0.02 0.05 0.08; do
		fresh d
		launch d -- /rt/drive_hold count
		expect_output d 'd | 3$'
		box_exec n1 timeout -s KILL "$i" "$BIN/drive_runtime" "$RUN" "$BIN/smigrate-shim" dump d "$W/d/images" || true
		status=$(drive exec d 5000 true || true)
		if [[ $status == *"gone status=-2"* ]]; then
			drive cleanup d
			restore d
		else
			assert_contains "$status" 'ok status=0'
			drive thaw d
		fi
		counts_on d
		drive cleanup d
		assert_exact_count d
	done
}

# The daemon that asked for the restore dies before it knows whom it has started: the next one finds what goes on, and the container
# does not count on from one copy twice.
test_daemon_killed_as_it_starts_a_shim() {
	local act found
	for act in crash error; do
		fresh d
		launch d -- /rt/drive_hold count
		expect_output d 'd | 3$'
		drive dump d "$W/d/images"
		box_exec n1 sh -c "echo 'shim.spawned 1 $act' >/tmp/order"
		box_exec n1 env SMIGRATE_FAULTS=/tmp/order "$BIN/drive_runtime" "$RUN" "$BIN/smigrate-shim" restore d "$W/d" /images/debian \
			"${USER1[@]}" out=/tmp/out.d vol="$BIN:/rt:ro" -- true && fail "there was no $act"
		found=$(drive find d || true)
		sleep 0.5 # what goes on unseen counts on meanwhile
		if [[ $act == crash ]]; then
			assert_contains "$found" 'found'
		else
			assert_contains "$found" 'gone'
			restore d
		fi
		counts_on d
		drive cleanup d
		assert_exact_count d
	done
}

test_redis_on_the_hosts_network() {
	fresh r
	launch r cwd=/tmp -- redis-server --port 7711 --bind 127.0.0.1 --save ''
	cli() { box_exec n1 chroot /images/debian redis-cli -p 7711 "$@"; }
	retry 10 cli ping >/dev/null
	cli eval 'for i = 1, 20000 do redis.call("set", "k" .. i, i) end' 0
	box_exec n1 sh -c 'chroot /images/debian redis-cli -p 7711 subscribe x >/tmp/sub 2>&1 &'
	retry 5 box_exec n1 grep -q subscribe /tmp/sub
	drive dump r "$W/r/images"
	restore r
	retry 5 cli ping >/dev/null
	assert_eq "$(cli dbsize)" 20000
	assert_eq "$(cli get k777)" 777
	box_exec n1 grep -q 'Server closed the connection' /tmp/sub || fail "the client never heard of its end"
	drive cleanup r
}

test_connections_inside_a_private_network_live_on() {
	fresh n
	launch n net=none cwd=/tmp -- sh -c 'redis-server --port 7711 --save "" >/dev/null & sleep 0.5; redis-cli -p 7711 subscribe x & wait'
	expect_output n 'n | subscribe'
	sleep 0.3
	drive dump n "$W/n/images"
	restore n net=none
	assert_contains "$(drive exec n 5000 redis-cli -p 7711 publish x after)" 'ok status=0'
	expect_output n 'n | after'
	drive cleanup n
}

test_zz_nothing_is_left() {
	local id
	for id in $(box_exec n1 ls "$RUN/c"); do drive cleanup "$id"; done
	assert_eq "$(box_exec n1 ls "$RUN/c" "$RUN/runc" | grep -v : | xargs)" ''
	assert_eq "$(box_exec n1 sh -c "grep -c $RUN /proc/mounts" || true)" 0 mounts
	box_exec n1 pgrep -x smigrate-shim && fail "a shim is left"
	drive rmcgroup /smigrate/job_77
	box_exec n1 test ! -e /sys/fs/cgroup/smigrate/job_77 || fail "a cgroup is left: $(box_exec n1 find /sys/fs/cgroup/smigrate -type d)"
	box_exec n1 sh -c "rm -rf $W $BIN $RUN"
}

run_tests "$@"

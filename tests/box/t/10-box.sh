#!/bin/bash
# The cluster in a box itself: what every other test in the box stands on. Needs a box that is up (tests/run box).
# shellcheck source=../../lib.sh
. "$(dirname "$0")/../../lib.sh"

test_exec_passes_input_output_and_status() {
	local out
	out=$(echo hello | box exec n1 -- sh -c 'cat; hostname; echo oops >&2' 2>"$TMP/err")
	assert_eq "$out" $'hello\nn1' stdout
	assert_eq "$(cat "$TMP/err")" oops stderr
	assert_status 7 box_exec n1 sh -c 'exit 7'
	assert_status 143 box_exec n1 sh -c 'kill -TERM $$'
	assert_status 127 box_exec n1 no-such-command
	out=$(head -c 5000000 /dev/zero | box exec n2 -- cat | wc -c)
	assert_eq "$out" 5000000 "bytes through exec"
}

test_exec_as_a_user() {
	assert_eq "$(box_as user1 n1 id -u)" 2001
	assert_contains "$(box_as user1 n1 id -Gn)" lab
	assert_eq "$(box_as user2 n3 pwd)" /shared/home/user2
	assert_status 1 box_as user2 n1 touch /shared/home/user1/x
	box_as user1 n1 touch /shared/home/user1/seen
	box_exec n4 test -O /shared/home/user1/seen && fail "user1's file belongs to root"
	box_exec n4 test -e /shared/home/user1/seen
}

# The daemon keeps the pipe's end open for longer than the test may take.
TIMEOUT_test_exec_does_not_wait_for_a_daemon=20
test_exec_does_not_wait_for_a_daemon() {
	local out
	out=$(box_exec n1 sh -c 'sleep 1000 & echo started')
	assert_eq "$out" started
	box_exec n1 pkill -f '[s]leep 1000'
}

test_killed_exec_leaves_no_command() {
	local status=0
	timeout 1 "$ROOT/tests/box/box" exec n1 -- sleep 1001 || status=$?
	assert_eq "$status" 124
	retry 5 no_such_process n1 'sleep 1001' || fail "the command outlived exec"
}
no_such_process() { ! box_exec "$1" pgrep -x -f "$2" >/dev/null; }

test_errors_say_what_to_do() {
	assert_status 1 box exec n99 -- true
	assert_contains "$OUTPUT" "no node 'n99'"
	assert_status 1 box up
	assert_contains "$OUTPUT" "stands already"
	assert_status 1 box link n1 sideways
	assert_status 1 box up --cpus 0
	assert_contains "$OUTPUT" "--cpus wants a number"
	assert_status 1 box up --slurm oldest
	assert_contains "$OUTPUT" "stable (Debian 13's) or newest"
	assert_status 1 env BOX_SLURM=2 "$ROOT/tests/box/box" list
	assert_contains "$OUTPUT" "stable (Debian 13's) or newest"
	assert_status 1 box frobnicate
	assert_contains "$OUTPUT" "--help"
}

test_nodes_are_a_cluster() {
	assert_eq "$(box_as user1 n1 srun -N4 hostname | sort | xargs)" "n1 n2 n3 n4"
	box_exec n1 sh -c 'echo from-n1 >/shared/word'
	assert_eq "$(box_exec n4 cat /shared/word)" from-n1
	assert_eq "$(box_exec n1 findmnt -n -o FSTYPE -T /var/lib/smigrate | grep -c overlay || true)" 0
}

test_container_root_is_read_only() {
	assert_status 1 box_exec n1 touch /images/debian/x
	assert_contains "$OUTPUT" "Read-only"
	box_exec n1 chroot /images/debian redis-server --version
}

# A minute is three of the controller's pings: whatever a test before has left on its way to n3 is said again by then.
TIMEOUT_test_daemons_stop_and_start=120
test_daemons_stop_and_start() {
	retry 20 node_idle n3 || fail "n3 is not idle before: $(show_node n3)"
	box_exec n3 box-stop slurmd
	box_exec n3 sh -c '! pgrep -x slurmd'
	box_exec n3 box-start slurmd
	retry 60 node_idle n3 || fail "n3 does not come back: $(show_node n3)"
}
show_node() {
	box_exec ctl scontrol show node "$1" || true
	box_exec ctl tail -n 20 /var/log/slurmctld.log || true
	box_exec "$1" tail -n 20 /var/log/slurmd.log || true
}
node_idle() { [[ $(box_exec ctl sinfo -h -p low -n "$1" -o %T) == idle ]]; }

test_link_is_shaped() {
	box link n2 80mbit
	assert_contains "$(box status)" "link=80Mbit"
	# 5 MB at 10 MB/s: half a second, where an unshaped link takes hundredths
	box_exec n2 sh -c 'ncat -l 7777 --recv-only >/tmp/got' &
	retry 5 box_exec n2 sh -c 'ss -ltn | grep -q :7777'
	local start=$EPOCHREALTIME
	head -c 5000000 /dev/urandom | box exec n1 -- ncat --send-only n2 7777
	wait $!
	local took
	took=$(awk -v a="$start" -v b="$EPOCHREALTIME" 'BEGIN { print (b - a) * 1000 }')
	box link n2 off
	[[ ${took%.*} -ge 400 ]] || fail "5 MB at 80 Mbit/s took only $took ms"
	assert_contains "$(box status | grep '^n2 ')" "link=off"
}

test_preempted_job_is_requeued() {
	local low high
	clear_jobs
	low=$(submit_as user1 -p low -w n1 --exclusive --open-mode=append --wrap 'sleep 300')
	wait_job_state "$low" RUNNING 20
	high=$(submit_as user2 -p high -w n1 --exclusive --wrap 'sleep 2')
	wait_job_state "$high" RUNNING 40
	assert_eq "$(job_field "$low" Restarts)" 1 Restarts
	retry 20 job_is "$low" PENDING
	box_exec ctl scontrol update "jobid=$low" StartTime=now
	wait_job_state "$low" RUNNING 20
	clear_jobs
}

test_job_has_a_cgroup() {
	[[ $(box status) == *proctrack/cgroup* ]] || skip "this box tracks processes without cgroups"
	local job
	job=$(submit_as user1 -w n1 --wrap 'cat /proc/self/cgroup; sleep 60')
	wait_job_state "$job" RUNNING 20
	retry 5 box_exec n1 grep -qE "^0::(/init)?/system.slice/n1_slurmstepd.scope/$(job_cgroup_name "$job")/step_batch/" "/shared/home/user1/slurm-$job.out" ||
		fail "not in a cgroup of the job's: $(box_exec n1 cat "/shared/home/user1/slurm-$job.out")"
	box_exec n1 sh -c 'grep -q "populated 1" "/sys/fs/cgroup$(sed -n "s/^0:://; s|/step_batch/.*||p" /shared/home/user1/slurm-"$1".out)/cgroup.events"' sh "$job"
	clear_jobs
}

# The way smigrate keeps containers: an overlay over the image, processes of a user, a cgroup of their own.
test_container_is_dumped_and_restored() {
	box exec n2 -- bash -s <"$ROOT/tests/box/t/container.sh"
}

test_two_boxes_side_by_side_and_nothing_left() {
	local other=$BOX-b
	box --name "$other" up --nodes 1 --memory 1234 --cpus 50 --plain --proctrack linuxproc
	assert_eq "$(box --name "$other" exec n1 --user user1 -- srun hostname)" n1
	assert_eq "$(box --name "$other" exec ctl -- sinfo -h -p low -o '%m %c')" '1234 50' 'memory and processors'
	assert_contains "$(box list)" "$other"
	box --name "$other" exec n1 -- sh -c 'setsid sleep 1002 >/dev/null 2>&1 &'
	# Half of it dies without a word, as after a kill -9 from the host: down cleans all the same.
	kill -KILL "$(box --name "$other" status | sed -n 's/^n1 .* pid=\([0-9]*\) .*/\1/p')"
	box --name "$other" down
	box --name "$other" down
	assert_eq "$(leftovers "$other")" "" leftovers
	assert_eq "$(box_exec n1 hostname)" n1 "the first box"
}

leftovers() { # BOX
	ip netns list | grep "^smigrate-box\.$1\." || true
	grep -s "smigrate-box/clusters/$1/" /proc/mounts || true
	find "$(findmnt -n -t cgroup2 -o TARGET | head -n 1)/smigrate-box/$1" -maxdepth 0 2>/dev/null || true
	find /run/smigrate-box -maxdepth 1 -type d -name "$1"
	pgrep -a -f "sleep 1002" | grep -v pgrep || true
}

run_tests "$@"

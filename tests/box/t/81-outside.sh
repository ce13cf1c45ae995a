#!/bin/bash
# Faults from outside: a node without power, a link that carries one way only, files of ours that are damaged, a disk that can be read
# only, another cluster's munge key, a slurmctld that has forgotten. Needs a box that is up (tests/run box).
# shellcheck source=../../lib.sh
. "$(dirname "$0")/../../lib.sh"
# shellcheck source=workflow.sh
. "$(dirname "$0")/workflow.sh"

TICKS=60

begin() { # sets job: on n1, with n2 to go to
	prepare
	counters "$TICKS" one two
	job=$(submit_on n1 n2 -w n1,n2 -N 1)
	wait_ticks one 3 40
	wait_ticks two 3 40
}
ends_right() {
	wait_job_state "$job" COMPLETED 120
	assert_exact one "$TICKS"
	assert_exact two "$TICKS"
}

# ---- a node is lost ----

power_back() { # NODE
	box power "$1" on 2>/dev/null || true
	retry 30 daemon_answers "$1"
	put_back
}

test_source_loses_its_power_once_it_has_let_go() {
	local job
	trap 'power_back n1' EXIT
	begin
	preempt "$job" 20 n1 >/dev/null
	retry 30 is_off || fail "the job does not leave" # while it is COMPLETING, Slurm waits for the node
	box power n1 off
	sleep 10
	box power n1 on
	wait_moved "$job" 1 60
	ends_right
	retry 60 daemon_answers n1
	assert_nothing_left "$job"
}

is_off() { [[ $(job_state "$job") == PENDING || $(node_of "$job") == n2 ]]; }

# Nothing that has run on it can have survived; but the job is not stuck, what is told is true, and what a service had is not mixed.
test_source_loses_its_power_before() {
	local job
	trap 'power_back n1' EXIT
	begin
	box power n1 off
	sleep 2
	box power n1 on
	retry 60 daemon_answers n1
	wait_event "$job" 'it was lost with the node' 20
	# A node of the box has its host's time of boot, by which Slurm knows one that was started anew.
	box_exec ctl scontrol requeue "$job"
	wait_job_state "$job" COMPLETED 120
	assert_eq "$(lives one)" 2 'lives of one'
	assert_eq "$(box_exec ctl sh -c "tail -n $TICKS $WF/one | cut -d ' ' -f 2 | head -n 1")" 1 'the last life begins at'
	assert_nothing_left "$job"
}

# ---- slurmctld comes back with what it knew before ----

STATE_DIR=/var/lib/slurm/slurmctld
remember() {
	sleep 6 # until what it knows is on its disk
	box_exec ctl sh -c "rm -rf /root/before && cp -a $STATE_DIR /root/before"
}
forget() { box_exec ctl sh -c "box-stop slurmctld KILL; rm -rf $STATE_DIR && mv /root/before $STATE_DIR && box-start slurmctld"; }

# It starts the job again at once, maybe on the very node that is still at work on the run that it has forgotten.
test_slurmctld_has_forgotten_a_start() {
	local job
	trap put_back EXIT
	begin
	submit_as user2 -p high -w n2 --no-requeue --exclusive -o /dev/null --wrap 'sleep 20' >/dev/null
	preempt "$job" 60 n1 >/dev/null
	wait_wf "$job" saved 30
	wait_job_state "$job" PENDING 20
	remember
	wait_moved "$job" 1 60
	forget
	wait_event "$job" 'Slurm has forgotten a run of this job' 60
	ends_right
	assert_nothing_left "$job"
}

# The job's very first start: its next one is a first start, too, and on another node.
test_slurmctld_has_forgotten_a_first_start() {
	local job first
	trap put_back EXIT
	prepare
	counters "$TICKS" one two
	job=$(submit -H)
	remember
	box_exec ctl scontrol release "$job"
	wait_ticks one 3 40
	wait_ticks two 3 40
	first=$(node_of "$job")
	forget
	wait_event "$job" 'Slurm has forgotten a run of this job' 60
	box_exec ctl scontrol update "JobId=$job" "ExcNodeList=$first"
	box_exec ctl scontrol release "$job"
	wait_moved "$job" 1 60
	ends_right
	assert_nothing_left "$job"
}

# slurmctld tells the node a moment after it has answered scontrol; killed before that, it would have nothing to forget.
heard_term() { box_exec n1 grep -q "job $job: step batch heard signal 15" /var/log/smigrated.log; }
forget_requeue() {
	box_exec ctl scontrol requeue "$job"
	retry 20 heard_term || fail "n1 has not heard of the requeue: $(events "$job")"
	box_exec ctl sh -c "box-stop slurmctld KILL; rm -rf $STATE_DIR && mv /root/before $STATE_DIR; sleep 3; box-start slurmctld"
}
slurmctld_out_of_reach() { box_exec n1 nft "add table ip away; add chain ip away out { type filter hook output priority 0; }; add rule ip away out tcp dport 6817 reject with tcp reset"; }
slurmctld_in_reach() { box_exec n1 nft delete table ip away 2>/dev/null || true; }

# A step that ends while there is no slurmctld sleeps for 60 s before it tells it again (_one_step_complete_msg of slurmstepd/mgr.c), and
# the node's epilog waits for it.
LATE=150

# Its services are saved, and its script is killed, as a requeue wants; but of that Slurm knows nothing any more: the job has failed.
test_slurmctld_has_forgotten_a_requeue() {
	local job
	trap 'slurmctld_in_reach; put_back' EXIT
	begin
	remember
	slurmctld_out_of_reach # that the script has ended, the next one is told
	forget_requeue
	slurmctld_in_reach
	wait_event "$job" 'Slurm has forgotten that this job was to be requeued, and let it end' "$LATE"
	ends_right
	assert_nothing_left "$job"
}

# Likewise; but that its script has ended is forgotten, too.
test_slurmctld_has_forgotten_a_requeue_and_takes_it_to_run() {
	local job
	trap put_back EXIT
	begin
	remember
	forget_requeue
	wait_event "$job" 'Slurm has forgotten that this job was to be requeued, and takes it to run on n1' "$LATE"
	ends_right
	assert_nothing_left "$job"
}

# The next job gets the number of one that is forgotten altogether, and has a workflow of that name: not its services.
test_slurmctld_gives_a_number_away() {
	local job
	trap put_back EXIT
	prepare
	counters "$TICKS" one two
	remember
	job=$(submit -w n1)
	wait_ticks one 3 40
	wait_ticks two 3 40
	forget
	assert_eq "$(submit -w n2)" "$job" 'its number' # on n1 slurmd would refuse it: credential revoked
	wait_job_state "$job" COMPLETED 120
	assert_eq "$(two_lives one)" '2 lives, each in its order, one to its end' one
	assert_eq "$(two_lives two)" '2 lives, each in its order, one to its end' two
	assert_nothing_left "$job"
}
two_lives() { # FILE: what is to be said of it; Slurm may end the forgotten job soon, late, or never
	box_exec ctl cat "$WF/$1" | awk -v last="$TICKS" '$2 != ++n[$1] { bad = 1 }
		END { for (life in n) { lives++; whole = whole || n[life] == last }
		print lives " lives, " (bad ? "in disorder" : "each in its order") (whole ? ", one to its end" : "") }'
}

# ---- a link that carries one way only ----

one_way() { box_exec n2 nft "add table ip oneway; add chain ip oneway out { type filter hook output priority 0; }; add rule ip oneway out ip daddr $(address n1) drop"; }
both_ways() { box_exec n2 nft delete table ip oneway 2>/dev/null || true; }
address() { box_exec ctl sh -c "getent hosts $1 | cut -d ' ' -f 1"; }

test_a_link_carries_one_way_only() {
	local job
	trap 'both_ways; put_back' EXIT
	begin
	one_way
	preempt "$job" 30 n1 >/dev/null
	wait_event "$job" 'n2' 60 # room there is asked for in vain, and that is told
	both_ways
	ends_right
	assert_nothing_left "$job"
}

# ---- another key ----

other_key() { box_exec n2 sh -c 'cp -p /etc/munge/munge.key /etc/munge/right.key; head -c 128 /dev/urandom >/etc/munge/munge.key; box-stop munged; box-start munged'; }
right_key() { box_exec n2 sh -c '[ ! -e /etc/munge/right.key ] || { mv /etc/munge/right.key /etc/munge/munge.key; box-stop munged; box-start munged; }'; }

test_the_target_has_another_munge_key() {
	local job
	trap 'right_key; put_back' EXIT
	begin
	other_key
	preempt "$job" 40 n1 >/dev/null
	wait_event "$job" munge 60
	right_key
	ends_right
	assert_nothing_left "$job"
}

# ---- damage ----

# What is kept is kept, and nothing wrong is restored from it.
test_an_image_is_cut_short() {
	local job
	trap others_back EXIT
	begin
	others_away
	preempt "$job" 8 n1 >/dev/null
	wait_wf "$job" saved 30
	box_exec n1 sh -c "truncate -s 5000 /var/lib/smigrate/w/$job.wf/one/images/pages-1.img"
	others_back
	wait_job_state "$job" FAILED 120
	OUTPUT=$(output "$job")
	assert_contains "$OUTPUT" 'service one could not be restored after 3 tries: pages-1.img is cut off: it has 5000 bytes of'
	assert_contains "$OUTPUT" "sbatch --migrate-from=$job"
	assert_exact two "$TICKS"
}

# ---- a disk that can be read only ----

# What is open for writing stays so: as where a file system turns read-only under a daemon, and sqlite cannot make its files.
read_only() { box_exec n1 sh -c 'for d in w hold; do mkdir -p /var/lib/smigrate/$d && mount --bind /var/lib/smigrate/$d /var/lib/smigrate/$d && mount -o remount,bind,ro /var/lib/smigrate/$d; done'; }
writable() { box_exec n1 sh -c 'for d in w hold; do umount -l /var/lib/smigrate/$d 2>/dev/null; done; true'; }

test_the_state_folder_cannot_be_written() {
	local job
	trap 'writable; put_back' EXIT
	begin
	read_only
	preempt "$job" 30 n1 >/dev/null
	sleep 8
	OUTPUT=$(box_exec n1 smigrate doctor || true)
	assert_contains "$OUTPUT" '/var/lib/smigrate'
	writable
	ends_right
	box_exec n1 rm -rf "/var/lib/smigrate/w/$job.wf" # it could not be dropped; `smigrate gc` tells of it
}

run_tests "$@"

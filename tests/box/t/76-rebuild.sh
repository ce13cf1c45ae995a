#!/bin/bash
# The cluster's state is lost, kept, and made anew. Needs a box that is up (tests/run box).
# shellcheck source=../../lib.sh
. "$(dirname "$0")/../../lib.sh"
# shellcheck source=workflow.sh
. "$(dirname "$0")/workflow.sh"

DB=/var/lib/smigrate/state.db
all_back() { start_daemon ctl || true; put_back; clear_jobs; }
# Of the jobs: what history says, but for how long it took as a copy has it.
past() { box_exec ctl smigrate history --json | jq -c --argjson jobs "[$(IFS=,; echo "$*")]" \
	'[.migrations[] | select(.job as $j | $jobs | index($j)) | {id, job, cause, state, from_node, to_node, signal_us, done_us, moved, restarted}] | sort_by(.id)'; }
# Begins there, and may go on anywhere.
begin_on() { # NODE; prints the job's id
	local job
	job=$(submit_on "$1" "$(box_nodes | grep -vx "$1" | paste -sd ,)")
	wait_ticks one 3 20
	echo "$job"
}
alive() { box_exec ctl smigrate status --json | jq -r '[.workflows[] | select(.state == "running") | .job] | sort | join(" ")'; }

# Three jobs, each with a past; one leaves its node at that moment.
test_the_file_is_removed_while_jobs_run_and_one_moves() {
	local jobs=() folders=() before after n
	prepare
	trap all_back EXIT
	for n in 1 2 3; do
		WF=/shared/home/user1/wf$n
		folders+=("$WF")
		work_files
		counters 400 one
		jobs+=("$(begin_on "n$n")")
	done
	WF=${folders[0]}
	box_as user1 n1 smigrate move "${jobs[0]}" --to n4 >/dev/null
	box_as user1 n1 smigrate move "${jobs[0]}" --to n1 >/dev/null
	box_as user1 n1 smigrate move "${jobs[1]}" --to n4 >/dev/null
	before=$(past "${jobs[@]}")
	assert_eq "$(jq length <<<"$before")" 3 'moves before'
	preempt "${jobs[2]}" 4 n3 >/dev/null
	box_exec ctl sh -c "rm -f $DB $DB-wal $DB-shm"
	wait_moved "${jobs[2]}" 1 60
	retry 60 alive_are "${jobs[@]}" || fail "alive for the state: $(alive)"
	assert_status 0 box_exec n2 smigrate rebuild
	assert_contains "$OUTPUT" 'of 5 nodes'
	after=$(past "${jobs[@]}")
	assert_eq "$(jq -c --argjson j "${jobs[2]}" '[.[] | select(.job != $j)]' <<<"$after")" "$before" 'history'
	assert_eq "$(jq --argjson j "${jobs[2]}" '[.[] | select(.job == $j and .state == "done")] | length' <<<"$after")" 1 'moves of the one that moved meanwhile'
	assert_status 0 box_exec ctl smigrate doctor --state
	for n in 0 1 2; do
		WF=${folders[n]}
		wait_done "${jobs[n]}" 120
		assert_exact one 400
		assert_nothing_left "${jobs[n]}"
	done
}
alive_are() { [[ $(alive) == "$*" ]]; }

# The daemon comes back and finds nothing, while a node is away: that is asked again.
test_no_file_at_the_start_and_a_node_away() {
	local job before
	prepare
	trap 'start_daemon n2 || true; all_back' EXIT
	counters 200 one
	job=$(begin_on n2)
	stop_daemon n2
	stop_daemon ctl
	box_exec ctl sh -c "rm -f $DB $DB-wal $DB-shm"
	start_daemon ctl
	assert_status 75 box_exec ctl smigrate rebuild
	assert_contains "$OUTPUT" 'n2 does not answer'
	assert_eq "$(alive)" '' alive
	start_daemon n2
	retry 60 alive_are "$job" || fail "alive: $(alive)"
	wait_done "$job" 100
	assert_exact one 200
}

# Whoever damages the file: the daemon says what to do, and the copy serves.
test_a_damaged_file_and_a_copy() {
	local job
	prepare
	trap 'box_exec ctl rm -rf /tmp/aside /tmp/copy; all_back' EXIT
	box_exec ctl rm -rf /tmp/aside /tmp/copy
	counters 300 one
	job=$(begin_on n1)
	box_as user1 n1 smigrate move "$job" --to n3 >/dev/null
	assert_status 0 box_exec ctl smigrate backup /tmp/copy
	assert_status 2 box_exec ctl smigrate backup /tmp/copy
	stop_daemon ctl
	box_exec ctl sh -c "rm -f $DB-wal $DB-shm; dd if=/dev/urandom of=$DB bs=4096 count=2 conv=notrunc status=none"
	start_daemon ctl
	assert_contains "$(box_exec ctl tail -n 20 /var/log/smigrated.log)" "it is kept as $DB.damaged-"
	stop_daemon ctl
	box_exec ctl sh -c "mkdir /tmp/aside && mv $DB* /tmp/aside/ && cp /tmp/copy $DB"
	start_daemon ctl
	assert_status 0 box_exec ctl smigrate rebuild
	assert_eq "$(past "$job" | jq length)" 1 moves
	wait_done "$job" 100
	assert_exact one 300
	retry 20 wf_is "$job" "done" || fail "the workflow is $(wf_state "$job") for the state"
}

# Its workflows run on, and are found again by what the state host knows.
test_a_node_loses_its_journal() {
	local job
	prepare
	trap all_back EXIT
	counters 200 one two
	job=$(begin_on n1)
	retry 10 wf_is "$job" running
	stop_daemon n1 KILL
	box_exec n1 sh -c 'rm -f /var/lib/smigrate/journal.db-wal; dd if=/dev/urandom of=/var/lib/smigrate/journal.db bs=4096 count=2 conv=notrunc status=none'
	start_daemon n1
	assert_contains "$(box_exec n1 tail -n 30 /var/log/smigrated.log)" 'the journal is made anew'
	box_exec n1 rm -f /var/lib/smigrate/journal.db.damaged-*
	box_as user1 n1 smigrate move "$job" --to n3 >/dev/null
	wait_done "$job" 100
	assert_exact one 200
	assert_exact two 200
	assert_nothing_left "$job"
}

run_tests "$@"

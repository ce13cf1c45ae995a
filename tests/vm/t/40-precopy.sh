#!/bin/bash
# Pre-copy on a kernel that tracks changes: memory is sent while the service runs, and it stands still for what is left.
# shellcheck source=guests.sh
. "$(dirname "$0")/guests.sh"

moves_by_hand() { # JOB
	box_exec ctl smigrate move "$1" --to n2
	assert_eq "$(node_of "$1")" n2 'its node'
}

test_an_idle_service_is_sent_while_it_runs() {
	local job
	begin auto 120 0 0
	moves_by_hand "$job"
	(($(rounds_of "$job") > 0)) || fail "no rounds: $(events "$job")"
	ends_well "$job"
	assert_nothing_left "$job"
}

test_a_writer_keeps_its_memory() {
	local job
	begin auto 120 16 8
	sleep 2
	moves_by_hand "$job"
	(($(rounds_of "$job") > 0)) || fail "no rounds: $(events "$job")"
	ends_well "$job"
	assert_nothing_left "$job"
}

test_who_wants_to_be_stopped_is() {
	local job
	begin stop 60 0 0
	moves_by_hand "$job"
	assert_eq "$(rounds_of "$job")" 0 rounds
	ends_well "$job"
}

test_in_the_grace_of_a_preemption() {
	local job
	begin auto 120 0 0
	preempt "$job" 20 n1 >/dev/null
	wait_moved "$job" 1 90
	(($(rounds_of "$job") > 0)) || fail "no rounds: $(events "$job")"
	ends_well "$job"
	assert_nothing_left "$job"
}

run_tests "$@"

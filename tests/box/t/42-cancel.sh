#!/bin/bash
# PreemptMode=CANCEL: Slurm means to end the job, and it goes on elsewhere all the same. Needs a box that is up (tests/run box).
# shellcheck source=../../lib.sh
. "$(dirname "$0")/../../lib.sh"
# shellcheck source=workflow.sh
. "$(dirname "$0")/workflow.sh"

causes() { state "SELECT GROUP_CONCAT(cause) FROM (SELECT cause FROM migrations WHERE job = $1 ORDER BY id)"; } # JOB

# Twice, with a job that waits for its good end; then Slurm itself counts the first as preempted where there was a grace.
twice_with_dependant() { # PARTITION
	local job after
	prepare
	counters 60 one two
	job=$(submit -p "$1")
	after=$(submit_as user1 -d "afterok:$job" -o /dev/null --wrap true)
	wait_ticks two 3 20
	preempt "$job" 2 >/dev/null
	wait_moved "$job" 1 40
	preempt "$job" 2 >/dev/null
	wait_moved "$job" 2 40
	job_is "$after" PENDING || fail "the dependant is $(job_state "$after")"
	wait_wf "$job" 'done' 60
	assert_exact one 60
	assert_exact two 60
	wait_done "$after" 30
	assert_eq "$(causes "$job")" preempt,preempt causes
	assert_eq "$(job_field "$job" Restarts)" 2 Restarts
	assert_eq "$(job_field "$job" ExitCode)" 0:0 ExitCode
	assert_nothing_left "$job"
}

test_without_a_grace() { twice_with_dependant cancel0; }
test_with_a_grace() { twice_with_dependant cancel20; }
test_with_a_short_grace() { twice_with_dependant cancel2; }

# A job of ours that is really cancelled stays so, and what depends on it too.
test_scancel_is_heard_as_that() {
	local job after
	prepare
	counters 600 one
	job=$(submit -p cancel20)
	after=$(submit_as user1 -d "afterok:$job" -o /dev/null --wrap true)
	wait_ticks one 3 20
	box_as user1 ctl scancel "$job"
	wait_job_state "$job" CANCELLED 30
	wait_wf "$job" stopped 20
	assert_contains "$(events "$job")" 'the job was cancelled'
	job_is "$after" PENDING || fail "the dependant is $(job_state "$after")"
	box_exec ctl scancel "$after"
	assert_nothing_left "$job"
}

# An admin has taken its right to be requeued meanwhile.
test_what_may_not_be_requeued_is_cancelled() {
	local job
	prepare
	counters 600 one
	job=$(submit -p cancel0)
	wait_ticks one 3 20
	box_exec ctl scontrol update jobid="$job" Requeue=0
	preempt "$job" 2 >/dev/null
	wait_job_state "$job" PREEMPTED 60
	wait_event "$job" 'Slurm preempted the job and cancelled it' 20
	assert_nothing_left "$job"
}

run_tests "$@"

#!/bin/bash
# Jobs that smigrate cannot protect: the user is told, and told why. Needs a box that is up (tests/run box).
# shellcheck source=../../lib.sh
. "$(dirname "$0")/../../lib.sh"
# shellcheck source=workflow.sh
. "$(dirname "$0")/workflow.sh"

test_a_script_that_never_calls_smigrate_run() {
	local job
	prepare
	counters 5 one
	in_wf tee job.sh >/dev/null <<-'SH'
		#!/bin/bash
		#SBATCH --output=wf-%j.out --time=5
		sleep 1
	SH
	job=$(submit)
	wait_done "$job" 30
	wait_event "$job" 'never called `smigrate run`' 20
	assert_nothing_left "$job"
}

# Found when the job starts: at submit it could still be requeued.
test_a_job_that_lost_its_requeue() {
	local job
	prepare
	counters 10 one
	job=$(submit --hold)
	box_exec ctl scontrol update jobid="$job" Requeue=0
	box_exec ctl scontrol release "$job"
	wait_done "$job" 40
	assert_contains "$(output "$job")" 'not protected'
	assert_contains "$(output "$job")" 'requeue'
	wait_event "$job" 'cannot be requeued' 20
	assert_exact one 10
}

# Runs all the same, says so, and is cleaned up after.
test_run_without_migrate() {
	local job
	prepare
	counters 600 one
	in_wf tee job.sh >/dev/null <<-'SH'
		#!/bin/bash
		#SBATCH --output=wf-%j.out --time=5
		exec smigrate run workflow.yaml
	SH
	job=$(in_wf sbatch --parsable -p low job.sh)
	wait_ticks one 3 30
	wait_said "$job" 'not submitted with --migrate' 5
	box_as user1 ctl scancel "$job"
	wait_wf "$job" stopped 30
	assert_nothing_left "$job"
}

# SIGTERM to `smigrate run` that is the user's own, while the job goes on: the services stop, the script goes on.
test_told_to_end() {
	local job
	prepare
	counters 600 one
	in_wf tee job.sh >/dev/null <<-'SH'
		#!/bin/bash
		#SBATCH --output=wf-%j.out --time=5
		timeout 4 smigrate run
		echo "status $?"
	SH
	job=$(submit)
	wait_done "$job" 60
	wait_said "$job" 'status 124' 5
	wait_wf "$job" stopped 20
	assert_nothing_left "$job"
}

test_outside_a_job() {
	prepare
	counters 5 one
	assert_status 2 box_as user1 n1 smigrate run "$WF/workflow.yaml"
	assert_contains "$OUTPUT" 'sbatch --migrate'
}

run_tests "$@"

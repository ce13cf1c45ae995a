#!/bin/bash
# What is kept of a job that failed goes on in another: `sbatch --migrate-from=JOB`. Needs a box that is up (tests/run box).
# shellcheck source=../../lib.sh
. "$(dirname "$0")/../../lib.sh"
# shellcheck source=workflow.sh
. "$(dirname "$0")/workflow.sh"
# shellcheck source=script.sh
. "$(dirname "$0")/script.sh"

breaks() { # NODE POINT: what is done there fails, nine times
	stop_daemon "$1"
	box exec "$1" -- tee /run/box/faults >/dev/null < <(printf "$2 %d error\n" {1..9})
	box_exec "$1" env SMIGRATE_FAULTS=/run/box/faults box-start smigrated
	retry 10 daemon_answers "$1"
}
is_well() { # NODE
	box_exec "$1" rm -f /run/box/faults
	stop_daemon "$1"
	start_daemon "$1"
}
# The option's refusals come before the job is started or by its first word.
refused() { # JOB TEXT
	wait_job_state "$1" FAILED 40
	wait_said "$1" "$2" 5
	[[ $(output "$1") != *begins* ]] || fail "job $1 began from the beginning"
}

test_workflow_goes_on() {
	local first second third
	prepare
	trap 'is_well n2; clear_jobs' EXIT
	counters 120 one
	first=$(submit_on n1 n2 -x n3,n4)
	wait_ticks one 4 20
	breaks n2 runtime.launch.before # as one that lacks what a program needs
	preempt "$first" 4 n1 >/dev/null
	wait_job_state "$first" FAILED 90
	is_well n2
	assert_eq "$(job_field "$first" ExitCode)" 125:0 ExitCode
	wait_said "$first" "\`sbatch --migrate-from=$first\`" 5
	assert_contains "$(box_exec n2 smigrate gc --dry-run)" "$first.wf"
	second=$(submit -w n3 --migrate-from="$first")
	wait_said "$second" 'resuming on n3 what was saved on n2' 40
	wait_said "$second" 'all services run again on n3' 20
	assert_contains "$(box_as user1 ctl smigrate show "$second")" resume
	third=$(submit --migrate-from="$first")
	refused "$third" "nothing of workflow $first.wf is kept on n2 any more"
	# It is a job's workflow as any: it moves.
	preempt "$second" 3 n3 >/dev/null
	box_exec ctl scontrol update "jobid=$second" ReqNodeList= 2>/dev/null || true
	wait_done "$second" 120
	assert_exact one 120
	assert_nothing_left "$first"
	assert_nothing_left "$second"
}

# Slurm cancels it, and does not take our requeue.
test_script_goes_on() {
	local first second
	trap 'is_well "$NODE"; clear_jobs' EXIT
	script <<-'SH'
		#!/bin/bash
		echo begins
		for n in $(seq 60); do echo "$n" >>numbers; sleep 0.3; done
	SH
	first=$(submit_script --migrate -p cancel0 job.sh)
	retry 30 in_wf grep -q '^4$' numbers
	NODE=$(node_of "$first")
	breaks "$NODE" slurm.reclaim.before
	preempt "$first" 4 "$NODE" >/dev/null
	wait_job_state "$first" PREEMPTED 60
	wait_event "$first" "\`sbatch --migrate-from=$first\`" 30
	is_well "$NODE"
	second=$(submit_script --migrate --migrate-from="$first" -w n4 job.sh)
	wait_done "$second" 90
	assert_counted numbers 60
	assert_nothing_left "$second"
}

test_refusals() {
	local job
	prepare
	counters 5 one
	OUTPUT=$(in_wf sbatch -p low --migrate-from=7 job.sh 2>&1) && fail "taken without --migrate: $OUTPUT"
	assert_contains "$OUTPUT" 'give --migrate, too'
	OUTPUT=$(in_wf sbatch -p low --migrate=workflow.yaml --migrate-from=last job.sh 2>&1) && fail "taken: $OUTPUT"
	assert_contains "$OUTPUT" 'must be the number of a job'
	job=$(submit --migrate-from=4000000)
	refused "$job" 'there is no workflow 4000000.wf'
	job=$(submit)
	wait_done "$job" 40
	refused "$(submit --migrate-from="$job")" "workflow $job.wf is done: nothing of it is kept"
	# An sbatch in a job does not inherit it.
	job=$(in_wf sbatch --parsable -p low -o wf-%j.out --migrate=workflow.yaml --migrate-from=4000000 --wrap \
		'env -u SMIGRATE_FILE sbatch --parsable -o inner.out --wrap "echo from=\$SMIGRATE_FROM" >inner.id')
	wait_job_state "$job" COMPLETED 40
	wait_job_state "$(in_wf cat inner.id)" COMPLETED 40
	assert_eq "$(in_wf cat inner.out)" 'from='
}

run_tests "$@"

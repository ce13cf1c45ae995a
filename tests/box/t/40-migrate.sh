#!/bin/bash
# The path this project is for: Slurm preempts, the services go on elsewhere. Needs a box that is up (tests/run box).
# shellcheck source=../../lib.sh
. "$(dirname "$0")/../../lib.sh"
# shellcheck source=workflow.sh
. "$(dirname "$0")/workflow.sh"

first_line_after() { # JOB PHASE COLUMN SERVICE: of the last migration
	state "SELECT $3 FROM phases WHERE migration = (SELECT id FROM migrations WHERE job = $1 ORDER BY signal_us DESC LIMIT 1)
		AND service = '$4' AND phase = '$2' ORDER BY attempt DESC LIMIT 1"
}

TIMEOUT_test_hashchain_three_times=600
test_hashchain_three_times() {
	local job n
	example hashchain
	job=$(in_example hashchain env STEPS=9000000 sbatch --parsable -p low --migrate=workflow.yaml job.sh)
	retry 30 step_said hashchain "$job" 'chain4 | step 300000' || fail 'no step is said'
	for n in 1 2 3; do
		preempt "$job" 3 >/dev/null
		wait_moved "$job" "$n" 60
	done
	assert_eq "$(job_field "$job" Restarts)" 3 Restarts
	wait_done "$job" 120
	assert_eq "$(job_field "$job" Restarts)" 3 'Restarts at the end'
	in_example hashchain env STEPS=9000000 ./check "hashchain-$job.out"
	# no chain began anew: each said its first step once
	assert_eq "$(in_example hashchain grep -c ' | step 300000$' "hashchain-$job.out")" 4 'first steps'
	assert_eq "$(state "SELECT GROUP_CONCAT(moved || '/' || restarted || '/' || state) FROM (SELECT * FROM migrations WHERE job = $job ORDER BY id)")" \
		'4/0/done,4/0/done,4/0/done' 'what moved'
	assert_contains "$(box_as user1 ctl smigrate show "$job")" 'restore'
	assert_nothing_left "$job"
}

# The two in the middle come back side by side, after the first and before the last.
test_diamond_comes_back_in_order() {
	local job a b c d b_end c_end
	prepare
	{
		printf 'name: wf\nservices:\n'
		service a 60
		service b 60; printf '    depends_on: [a]\n'
		service c 60; printf '    depends_on: [a]\n'
		service d 60; printf '    depends_on: [b, c]\n'
	} | in_wf tee workflow.yaml >/dev/null
	job=$(submit)
	wait_ticks d 5 30
	preempt "$job" >/dev/null
	wait_moved "$job" 1 40
	a=$(first_line_after "$job" restore end_us a)
	b=$(first_line_after "$job" restore start_us b) b_end=$(first_line_after "$job" restore end_us b)
	c=$(first_line_after "$job" restore start_us c) c_end=$(first_line_after "$job" restore end_us c)
	d=$(first_line_after "$job" restore start_us d)
	((a <= b && a <= c)) || fail "a was back at $a, b began at $b, c at $c"
	((b < c_end && c < b_end)) || fail "b took $b..$b_end, c took $c..$c_end: they do not overlap"
	((d >= b_end && d >= c_end)) || fail "d began at $d, b was back at $b_end, c at $c_end"
	# and they were frozen the other way round
	(($(first_line_after "$job" freeze end_us d) <= $(first_line_after "$job" freeze start_us b))) || fail 'd froze after b'
	(($(first_line_after "$job" freeze end_us b) <= $(first_line_after "$job" freeze start_us a))) || fail 'b froze after a'
	wait_done "$job" 60
	for n in a b c d; do assert_exact "$n" 60; done
}

test_mapreduce_goes_on() {
	local job
	example mapreduce
	job=$(in_example mapreduce sbatch --parsable -p low --migrate=workflow.yaml job.sh)
	retry 30 svc_is "$job" map1 running || fail "map1 is $(svc_state "$job" map1)"
	preempt "$job" 3 >/dev/null
	wait_moved "$job" 1 40
	wait_done "$job" 90
	in_example mapreduce ./check "mapreduce-$job.out"
	wait_wf "$job" 'done' 10
	assert_eq "$(state "SELECT COUNT(*) FROM services WHERE workflow LIKE '$job.%' AND state = 'exited' AND exit_status = 0 AND attempts = 1")" \
		"$(state "SELECT COUNT(*) FROM services WHERE workflow LIKE '$job.%'")" 'services that ran once and well'
}

test_cache_goes_on() {
	local job
	example cache
	job=$(in_example cache sbatch --parsable -p low --migrate=workflow.yaml job.sh)
	retry 40 svc_is "$job" use running || fail "use is $(svc_state "$job" use): $(in_example cache cat "cache-$job.out")"
	sleep 1
	preempt "$job" 3 >/dev/null
	wait_moved "$job" 1 40
	wait_done "$job" 90
	in_example cache ./check "cache-$job.out"
}

test_scancel_stops_and_leaves_nothing() {
	local job
	prepare
	printf '  deaf:\n    image: /images/debian\n    command: [/bin/sleep, "1000"]\n    stop_grace_period: 3s\n' | counters 600 one two -
	job=$(submit)
	wait_ticks two 3 20
	wait_svc "$job" deaf running 10
	box_as user1 ctl scancel "$job"
	wait_job_state "$job" CANCELLED 30
	wait_wf "$job" stopped 20
	assert_nothing_left "$job"
	assert_eq "$(lives one)" 1 lives
}

# Its SIGKILL, KillWait (10 s here) after the SIGTERM, finds nothing to kill, though a service is promised as long.
test_scancel_is_over_before_slurm_kills() {
	local job
	prepare
	printf '  deaf:\n    image: /images/debian\n    command: [/bin/sleep, "1000"]\n    stop_grace_period: 1m\n' | counters 600 one -
	job=$(submit)
	wait_ticks one 3 20
	wait_svc "$job" deaf running 10
	box_as user1 ctl scancel "$job"
	wait_job_state "$job" CANCELLED 30
	assert_eq "$(job_field "$job" ExitCode)" 143:0 ExitCode # 0:9 where it was Slurm
	assert_nothing_left "$job"
}

test_time_limit_stops() {
	local job
	prepare
	counters 1000 one
	job=$(submit --time=1)
	wait_ticks one 3 20
	wait_job_state "$job" TIMEOUT 110
	wait_wf "$job" stopped 20
	assert_contains "$(events "$job")" 'time limit'
	assert_nothing_left "$job"
}

test_end_of_the_script_stops() {
	local job
	prepare
	counters 600 one
	in_wf tee job.sh >/dev/null <<-'SH'
		#!/bin/bash
		#SBATCH --output=wf-%j.out --time=20
		smigrate run &
		sleep 4
	SH
	job=$(submit)
	wait_ticks one 3 20
	wait_job_state "$job" COMPLETED 40
	wait_wf "$job" stopped 20
	assert_nothing_left "$job"
}

# The script is the shell's, not `exec smigrate run`: what follows must not run before the workflow has ended, and then once.
test_a_script_with_more_lines() {
	local job
	prepare
	counters 40 one
	in_wf tee job.sh >/dev/null <<-'SH'
		#!/bin/bash
		#SBATCH --output=wf-%j.out --time=20
		echo "run $SLURM_RESTART_COUNT"
		smigrate run
		echo "after, status $?"
	SH
	job=$(submit)
	wait_ticks one 3 20
	preempt "$job" 3 >/dev/null
	wait_moved "$job" 1 40
	wait_done "$job" 60
	assert_exact one 40
	assert_eq "$(output "$job" | grep -c 'after, status')" 1 'ends of the script'
	assert_contains "$(output "$job")" 'after, status 0'
	assert_eq "$(job_field "$job" Restarts)" 1 Restarts
}

test_first_failure_is_the_status() {
	local job
	prepare
	{
		printf 'name: wf\nservices:\n'
		service one 10
		printf '  bad:\n    image: /images/debian\n    command: [/bin/sh, -c, "exit 7"]\n'
	} | in_wf tee workflow.yaml >/dev/null
	job=$(submit)
	wait_job_state "$job" FAILED 40
	assert_eq "$(job_field "$job" ExitCode)" 7:0 ExitCode
	assert_exact one 10
	assert_nothing_left "$job"
}

test_preempted_before_it_runs() {
	local job
	prepare
	counters 10 one
	in_wf tee job.sh >/dev/null <<-'SH'
		#!/bin/bash
		#SBATCH --output=wf-%j.out --time=20
		[ "${SLURM_RESTART_COUNT:-0}" != 0 ] || sleep 60
		exec smigrate run
	SH
	job=$(submit)
	wait_job_state "$job" RUNNING 20
	sleep 1
	preempt "$job" 3 >/dev/null
	# nothing is to be saved, the grace is Slurm's to end; then it is not left waiting for two minutes
	wait_ticks one 3 60
	wait_done "$job" 60
	assert_exact one 10
}

run_tests "$@"

#!/bin/bash
# The newest Slurm of Debian's archive, plugin and daemon built against it: a short proof. Brings up a box of its own.
# (All files run with it by: BOX_SLURM=newest tests/run box.)
# shellcheck source=../../lib.sh
. "$(dirname "$0")/../../lib.sh"
# shellcheck source=workflow.sh
. "$(dirname "$0")/workflow.sh"

test_it_is_newer() {
	local release
	release=$(box_exec ctl slurmctld -V)
	[[ $release =~ ([0-9]+)\.([0-9]+)\. ]] || fail "no release in '$release'"
	((10#${BASH_REMATCH[1]}${BASH_REMATCH[2]} > 2411)) || fail "it is '$release'"
}

test_bad_submissions_are_refused() {
	prepare
	printf 'services: [\n' | in_wf tee bad.yaml >/dev/null
	assert_status 1 in_wf sbatch --migrate=bad.yaml --wrap true
	assert_contains "$OUTPUT" bad.yaml
	assert_contains "$OUTPUT" 'nothing was submitted'
	counters 5 one
	assert_status 1 in_wf sbatch --migrate=workflow.yaml --no-requeue --wrap true
	assert_contains "$OUTPUT" 'cannot be moved'
	assert_status 1 in_wf sbatch --migrate=workflow.yaml -N2 --wrap true
	assert_contains "$OUTPUT" 'several nodes'
	assert_eq "$(box_exec ctl squeue -h -t all)" '' jobs
}

# To another node's memory, then to the disk and back to the same node: there the second run's cgroup has another name.
test_preempted_services_go_on() {
	local job
	prepare
	counters 70 one two
	job=$(submit)
	wait_ticks two 5 30
	preempt "$job" 3 >/dev/null
	wait_moved "$job" 1 40
	box_exec ctl scontrol update NodeName="$(other_node "$(node_of "$job")")" State=DRAIN Reason=test
	preempt "$job" 3 >/dev/null
	wait_moved "$job" 2 60
	box_exec ctl scontrol update NodeName=n1,n2 State=RESUME 2>/dev/null || true
	assert_eq "$(job_field "$job" Restarts)" 2 Restarts
	wait_done "$job" 40
	assert_exact one 70
	assert_exact two 70
	assert_nothing_left "$job"
	assert_eq "$(job_state "$job") $(job_field "$job" Restarts)" 'COMPLETED 2' 'the state a while later'
}
other_node() { if [[ $1 == n1 ]]; then echo n2; else echo n1; fi; }

test_scancel_leaves_nothing() {
	local job
	prepare
	counters 600 one
	job=$(submit)
	wait_ticks one 3 30
	box_as user1 ctl scancel "$job"
	wait_job_state "$job" CANCELLED 30
	wait_wf "$job" stopped 20
	assert_nothing_left "$job"
}

# Slurm kills the frozen step by its cgroup, where the sentinel is not.
test_a_suspended_job_is_cancelled() {
	local job
	prepare
	counters 600 one
	job=$(submit)
	wait_ticks one 3 30
	box_exec ctl scontrol suspend "$job"
	sleep 3
	box_exec ctl scancel "$job"
	retry 20 no_jobs || fail "it does not go: $(box_exec ctl squeue -h)"
	assert_nothing_left "$job"
}

own_box new --slurm newest --nodes 2
run_tests "$@"

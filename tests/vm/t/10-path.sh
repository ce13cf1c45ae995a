#!/bin/bash
# The whole path on whole machines: systemd, cgroup v2 with every controller, proctrack/cgroup, the package. Needs guests (tests/run vm).
# shellcheck source=guests.sh
. "$(dirname "$0")/guests.sh"

TICKS=60

test_preempted_job_goes_on() {
	local job
	prepare
	counters "$TICKS" one two
	job=$(submit_on n1 n2 -w n1,n2 -N 1)
	wait_ticks one 3 60
	preempt "$job" 30 n1 >/dev/null
	wait_moved "$job" 1 90
	wait_job_state "$job" COMPLETED 120
	assert_exact one "$TICKS"
	assert_exact two "$TICKS"
	assert_eq "$(node_of "$job")" n2 'its node'
	assert_nothing_left "$job"
}

test_containers_are_beside_the_steps() {
	local job cgroup
	prepare
	counters 100 one
	job=$(submit -w n1)
	wait_ticks one 3 60
	# shellcheck disable=SC2016 # expanded in the guest
	cgroup=$(box_exec n1 sh -c 'cat /proc/$(pgrep -f "^/usr/bin/python3 /here/counter.py")/cgroup')
	[[ $cgroup =~ ^0::/system.slice/(n1_)?slurmstepd.scope/job_$job/smigrate/$job\.wf\.one$ ]] || fail "the container is in $cgroup"
	box_exec ctl scancel "$job"
	retry 30 no_jobs || fail 'the job does not end'
	assert_nothing_left "$job"
}

test_suspended_and_resumed() {
	local job before
	prepare
	counters "$TICKS" one
	job=$(submit -w n1)
	wait_ticks one 3 60
	box_exec ctl scontrol suspend "$job"
	wait_svc "$job" one frozen 20
	before=$(ticks one)
	sleep 3
	assert_eq "$(ticks one)" "$before" 'ticks while it is suspended'
	box_exec ctl scontrol resume "$job"
	wait_job_state "$job" COMPLETED 90
	assert_exact one "$TICKS"
	assert_nothing_left "$job"
}

run_tests "$@"

#!/bin/bash
# The ends of a job with the real daemon: no node is drained, nothing is left. Needs a box that is up (tests/run box).
# (A daemon that is stuck from the start, with short time-outs: 20-plugin.sh.)
# shellcheck source=../../lib.sh
. "$(dirname "$0")/../../lib.sh"
# shellcheck source=workflow.sh
. "$(dirname "$0")/workflow.sh"

continue_daemon() {
	box_exec n1 sh -c 'kill -CONT $(cat /run/box/smigrated.pid) 2>/dev/null' || true
	put_back
}
node_well() { [[ $(box_exec ctl sinfo -h -n "$1" -p low -o %T) == idle ]]; }

# The daemon keeps running services and is stopped; the site's limit on epilogs is 60 s in the box.
test_a_stuck_daemon_drains_no_node() {
	local job began
	prepare
	trap continue_daemon EXIT
	counters 600 one
	job=$(submit -w n1)
	wait_ticks one 3 20
	box_exec n1 sh -c 'kill -STOP $(cat /run/box/smigrated.pid)'
	box_exec ctl scancel "$job"
	began=$SECONDS
	wait_job_state "$job" CANCELLED 58
	retry 15 node_well n1 || fail "n1 is $(box_exec ctl sinfo -h -n n1 -o %T) after $((SECONDS - began)) s"
	box_exec n1 sh -c 'kill -CONT $(cat /run/box/smigrated.pid)'
	wait_wf "$job" stopped 30
	assert_nothing_left "$job"
	assert_eq "$(lives one)" 1 lives
}

# Preempted, saved, not started again: the user changes his mind.
test_cancelled_while_saved() {
	local job high
	prepare
	counters 600 one two
	job=$(submit -w n1)
	wait_ticks two 3 20
	high=$(preempt "$job" 30)
	wait_wf "$job" saved 30
	wait_job_state "$job" PENDING 30
	box_exec n1 test -e "/var/lib/smigrate/w/$job.wf/one/images"
	box_as user1 ctl scancel "$job"
	wait_wf "$job" stopped 30
	assert_nothing_left "$job"
	box_exec ctl scancel "$high"
	assert_eq "$(lives one) $(lives two)" '1 1' lives
}

test_the_script_ends_before_its_services() {
	local job
	prepare
	counters 600 one
	in_wf tee job.sh >/dev/null <<-'SH'
		#!/bin/bash
		#SBATCH --output=wf-%j.out --time=20
		smigrate run &
		sleep 3
		kill -KILL $!
	SH
	job=$(submit)
	wait_ticks one 3 20
	wait_done "$job" 40
	wait_wf "$job" stopped 20
	assert_nothing_left "$job"
	assert_eq "$(lives one)" 1 lives
}

run_tests "$@"

#!/bin/bash
# Preemption by QOS, as sites with slurmdbd have it. Brings up a box of its own.
# shellcheck source=../../lib.sh
. "$(dirname "$0")/../../lib.sh"
# shellcheck source=workflow.sh
. "$(dirname "$0")/workflow.sh"

manage() { box_exec ctl sacctmgr -iQ "$@" >/dev/null; }
qos_is_known() { [[ $(box_exec ctl scontrol show assoc_mgr flags=qos) == *"QOS=$1("* ]]; }

# A job of user2's with the higher QOS takes the node of JOB.
outrank() { # JOB [SECONDS]
	submit_as user2 -p low --qos=high -w "$(node_of "$1")" --exclusive -o /dev/null --wrap "sleep ${2:-3}"
}

test_set_up() {
	manage add qos low GraceTime=20 PreemptMode=requeue
	manage add qos brief GraceTime=20 PreemptMode=cancel
	manage add qos high Preempt=low,brief
	manage modify user user1,user2 set qos+=low,brief,high
	retry 10 qos_is_known high || fail "slurmctld knows no QOS: $(box_exec ctl scontrol show assoc_mgr flags=qos)"
}

# A requeue of ours within the grace would leave slurmctld's mark on the job, and it would run once more after its end.
test_requeued_by_qos() {
	local job n
	prepare
	counters 60 one two
	job=$(submit --qos=low)
	for n in 1 2; do
		wait_ticks two $((n * 5)) 30
		outrank "$job" >/dev/null
		wait_moved "$job" "$n" 40
		assert_eq "$(job_field "$job" Restarts)" "$n" Restarts
	done
	assert_eq "$(job_field "$job" QOS)" low QOS
	wait_done "$job" 40
	assert_exact one 60
	assert_exact two 60
	assert_nothing_left "$job"
	assert_eq "$(job_state "$job") $(job_field "$job" Restarts)" 'COMPLETED 2' 'the state a while later'
}

# Its QOS is newer than what the daemon has asked for a moment ago.
test_exempt_for_a_time() {
	local job
	prepare
	manage add qos exempt GraceTime=20 PreemptMode=requeue PreemptExemptTime=00:00:12
	manage modify qos high set Preempt+=exempt
	manage modify user user1 set qos+=exempt
	retry 10 qos_is_known exempt || fail "slurmctld does not know the QOS"
	counters 90 one
	job=$(submit --qos=exempt)
	wait_ticks one 3 30
	outrank "$job" >/dev/null
	sleep 5
	assert_eq "$(job_field "$job" PreemptTime)" None 'PreemptTime in its exempt time'
	assert_eq "$(job_state "$job") $(job_field "$job" Restarts)" 'RUNNING 0' 'the state in its exempt time'
	wait_moved "$job" 1 40
	(($(ticks one) >= 50)) || fail "it has moved after $(ticks one) ticks already, of 12 s exempt"
	wait_done "$job" 40
	assert_exact one 90
	assert_nothing_left "$job"
	assert_eq "$(job_state "$job") $(job_field "$job" Restarts)" 'COMPLETED 1' 'the state a while later'
}

# Slurm would end it: we requeue it before, and it moves all the same.
test_cancelled_by_qos_moves() {
	local job
	prepare
	counters 60 one
	job=$(submit --qos=brief)
	wait_ticks one 5 30
	outrank "$job" >/dev/null
	wait_moved "$job" 1 40
	assert_eq "$(job_field "$job" Restarts)" 1 Restarts
	wait_ticks one 60 40
	assert_exact one 60
	box_exec ctl scancel "$job" || true
}

# slurmctld keeps the QOS that it knows while slurmdbd is away.
test_moves_while_slurmdbd_is_away() {
	local job
	prepare
	box_exec ctl box-stop slurmdbd
	box_exec ctl box-stop mariadbd
	trap 'box_exec ctl box-start mariadbd; box_exec ctl box-start slurmdbd' EXIT
	counters 40 one
	job=$(submit --qos=low)
	wait_ticks one 5 30
	outrank "$job" >/dev/null
	wait_moved "$job" 1 40
	wait_done "$job" 40
	assert_exact one 40
	box_exec ctl box-start mariadbd
	box_exec ctl box-start slurmdbd
	trap - EXIT
	assert_contains "$(box_exec ctl sacctmgr -nP show qos format=name)" exempt
}

own_conf=$(mktemp)
echo PreemptType=preempt/qos >"$own_conf"
own_box qos --accounting --slurm-conf "$own_conf"
rm -f "$own_conf"
run_tests "$@"

#!/bin/bash
# Preemptions that no sentinel tells of, and how much smigrate asks of slurmctld. Needs a box that is up (tests/run box); its
# PollInterval is the default, 5 s, its grace 20 s.
# shellcheck source=../../lib.sh
. "$(dirname "$0")/../../lib.sh"
# shellcheck source=workflow.sh
. "$(dirname "$0")/workflow.sh"

# Preempted, moved and exact, within the grace and a few seconds; both services have counted to N in the end.
assert_moves() { # JOB N
	local node
	node=$(node_of "$1")
	preempt "$1" 4 >/dev/null
	wait_moved "$1" 1 25
	assert_eq "$(state "SELECT cause || ' ' || moved FROM migrations WHERE job = $1")" 'preempt 2' move
	[[ $(node_of "$1") != "$node" ]] || fail "job $1 is still on $node"
	wait_done "$1" 60
	assert_exact one "$2"
	assert_exact two "$2"
}
told_by_the_watch() { # JOB: which nodes have been told
	box_exec ctl grep -c "job $1 is .*: telling" /var/log/smigrated.log
}

# As where PrologFlags=Contain is missing, or the step has ended: nobody hears the SIGTERM.
test_no_sentinel_lives() {
	local job node
	prepare
	counters 65 one two
	job=$(submit)
	wait_ticks two 3 20
	node=$(node_of "$job")
	box_exec "$node" pkill -KILL -f "^smigrate-sentinel $job "
	assert_status 1 box_exec "$node" pgrep -f "^smigrate-sentinel $job "
	assert_moves "$job" 65
	assert_eq "$(told_by_the_watch "$job")" 1 'words of the watch'
	assert_contains "$(box_exec "$node" grep "says the state host" /var/log/smigrated.log)" "job $job is in its grace"
	assert_nothing_left "$job"
}

# A script that cleans up at a signal of its own. The site has the preemption send that one, and nothing else.
user_signals() { # on|off
	box_exec ctl sh -c 'sed -i /^PreemptParameters=/d /etc/slurm/slurm.conf; [ "$1" = off ] || echo PreemptParameters=send_user_signal >>/etc/slurm/slurm.conf
		box-stop slurmctld; box-start slurmctld' sh "$1"
	retry 20 controller_answers || fail "slurmctld does not answer"
	all_nodes_idle
}
controller_answers() { box_exec ctl scontrol ping | grep -q 'UP'; }
test_a_signal_for_the_script_alone() {
	local job
	prepare
	trap 'user_signals off' EXIT
	user_signals on
	counters 65 one two
	in_wf tee job.sh >/dev/null <<-'SH'
		#!/bin/bash
		#SBATCH --job-name=wf --output=wf-%j.out --time=20 --signal=B:USR1@60
		trap '' USR1
		exec smigrate run
	SH
	job=$(submit)
	wait_ticks two 3 20
	assert_moves "$job" 65
	assert_eq "$(told_by_the_watch "$job")" 1 'words of the watch'
	clear_jobs
}

# The word of the sentinels reaches nobody; whoever comes up asks for itself.
test_the_daemon_is_away_at_the_preemption() {
	local job node
	prepare
	trap put_back EXIT
	counters 65 one two
	job=$(submit)
	wait_ticks two 3 20
	node=$(node_of "$job")
	stop_daemon "$node" KILL
	preempt "$job" 4 >/dev/null
	retry 10 in_its_grace "$job" || fail "job $job is not preempted"
	start_daemon "$node"
	wait_moved "$job" 1 25
	wait_done "$job" 60
	assert_exact one 65
	assert_exact two 65
}
in_its_grace() { [[ $(job_field "$1" PreemptTime) == 20* ]]; }

# ---- what is asked of slurmctld --------------------------------------------------------------------------------------

test_nothing_protected_nothing_asked() {
	prepare
	sleep 2 # what the job of the test before has left behind is over
	count_anew
	sleep 7
	assert_eq "$(questions)" '' 'questions in 7 s without a protected job'
}

# One job: one question an interval, from the state host, and none from the four nodes.
test_a_running_job_is_asked_about_seldom() {
	local job said
	prepare
	counters 300 one
	job=$(submit)
	wait_ticks one 5 20
	sleep 2
	count_anew
	sleep 7
	said=$(questions)
	(($(sum <<<"$said") >= 1 && $(sum <<<"$said") <= 2)) || fail "in 7 s were asked: $said"
	assert_eq "$(awk '{ print $2 }' <<<"$said")" REQUEST_JOB_INFO_SINGLE 'asked'
	box_exec ctl scancel "$job"
}

test_a_move_asks_little() {
	local job n said moves=4
	prepare
	counters 600 one two
	job=$(submit)
	wait_ticks two 3 20
	node_of "$job" >"$TMP/node"
	count_anew
	for ((n = 1; n <= moves; n++)); do
		preempt "$job" 1 "$(state "SELECT node FROM workflows WHERE job = $job")" >/dev/null
		wait_moved "$job" "$n" 40
	done
	said=$(questions)
	echo "asked in $moves moves: $said"
	(($(sum <<<"$said") <= 8 * moves)) || fail "$moves moves asked slurmctld more than $((8 * moves)) times: $said"
	box_exec ctl scancel "$job"
}

run_tests "$@"

#!/bin/bash
# What a site allows holds across a move, and the user's own wishes too. Needs a box that is up (tests/run box).
# shellcheck source=../../lib.sh
. "$(dirname "$0")/../../lib.sh"
# shellcheck source=workflow.sh
. "$(dirname "$0")/workflow.sh"

minutes() { # of a TimeLimit: [D-]HH:MM:SS
	awk -F '[-:]' '{ print NF == 4 ? ($1 * 24 + $2) * 60 + $3 : $1 * 60 + $2 }' <<<"$1"
}

test_time_limit_is_what_was_left() {
	local job began used limit
	prepare
	counters 40 one
	job=$(submit --time=3)
	wait_ticks one 3 20
	began=$SECONDS
	assert_eq "$(minutes "$(job_field "$job" TimeLimit)")" 3 'minutes at first'
	# a minute must be over before a limit in minutes can show it
	sleep 5
	preempt "$job" >/dev/null
	wait_moved "$job" 1 40
	used=$(state "SELECT time_used_s FROM workflows WHERE job = $job")
	((used >= 5 && used <= 20)) || fail "used $used s, after $((SECONDS - began)) s"
	limit=$(minutes "$(job_field "$job" TimeLimit)")
	assert_eq "$limit" "$(((180 - used + 59) / 60))" "minutes after the move, $used s used"
	wait_done "$job" 40
	assert_exact one 40
}

test_time_limit_shrinks() {
	local job used
	prepare
	counters 330 one
	job=$(submit --time=2)
	wait_ticks one 3 20
	sleep 61
	preempt "$job" >/dev/null
	wait_moved "$job" 1 40
	used=$(state "SELECT time_used_s FROM workflows WHERE job = $job")
	((used >= 60 && used <= 90)) || fail "used $used s"
	assert_eq "$(minutes "$(job_field "$job" TimeLimit)")" 1 "minutes after $used of 120 s"
	box_exec ctl scancel "$job"
	assert_nothing_left "$job"
}

test_a_limit_that_an_admin_changes_holds() {
	local job
	prepare
	counters 40 one
	job=$(submit --time=10)
	wait_ticks one 3 20
	box_exec ctl scontrol update jobid="$job" TimeLimit=40
	preempt "$job" >/dev/null
	wait_moved "$job" 1 40
	assert_eq "$(minutes "$(job_field "$job" TimeLimit)")" 40 minutes
	wait_done "$job" 40
	assert_exact one 40
}

test_no_limit_stays_none() {
	local job
	prepare
	counters 40 one
	job=$(submit --time=UNLIMITED)
	wait_ticks one 3 20
	preempt "$job" >/dev/null
	wait_moved "$job" 1 40
	assert_eq "$(job_field "$job" TimeLimit)" UNLIMITED
	wait_done "$job" 40
	assert_exact one 40
}

test_priority_restarts_and_dependants() {
	local job after
	prepare
	counters 40 one two
	job=$(submit)
	after=$(submit_as user1 -d "afterok:$job" -o /dev/null --wrap true)
	wait_ticks two 3 20
	box_exec ctl scontrol update jobid="$job" Priority=4711
	preempt "$job" >/dev/null
	wait_moved "$job" 1 40
	assert_eq "$(job_field "$job" Priority)" 4711 priority
	assert_eq "$(job_field "$job" Restarts)" 1 Restarts
	job_is "$after" PENDING || fail "the dependant is $(job_state "$after")"
	wait_done "$job" 40
	assert_exact one 40
	assert_exact two 40
	wait_done "$after" 20
}

test_a_hold_of_an_admins_stays() {
	local job ticks
	prepare
	counters 40 one
	job=$(submit)
	wait_ticks one 3 20
	box_exec ctl scontrol hold "$job"
	preempt "$job" 1 >/dev/null
	wait_wf "$job" saved 30
	wait_job_state "$job" PENDING 40
	sleep 5 # long enough for a release that must not come
	job_is "$job" PENDING || fail "the job is $(job_state "$job")"
	assert_eq "$(job_field "$job" Priority)" 0 priority
	assert_contains "$(job_field "$job" Reason)" JobHeld
	ticks=$(ticks one)
	wf_is "$job" saved || fail "the workflow is $(wf_state "$job")"
	sleep 1
	assert_eq "$(ticks one)" "$ticks" 'ticks of a saved service'
	box_exec ctl scontrol release "$job"
	wait_moved "$job" 1 20
	wait_done "$job" 40
	assert_exact one 40
	assert_nothing_left "$job"
}

test_the_users_nodelist_stays() {
	local job high bytes
	prepare
	counters 40 one
	job=$(submit -w n1)
	wait_ticks one 3 20
	high=$(preempt "$job" 6)
	wait_wf "$job" saved 30
	wait_job_state "$high" RUNNING 30
	job_is "$job" PENDING || fail "the job is $(job_state "$job") while n1 is busy"
	assert_eq "$(job_field "$job" ReqNodeList)" n1
	wait_moved "$job" 1 30
	assert_eq "$(node_of "$job")" n1
	assert_eq "$(job_field "$job" ReqNodeList)" n1
	# out of what lay there
	bytes=$(state "SELECT COUNT(*) FROM phases WHERE migration LIKE '$job.%' AND phase = 'send'")
	assert_eq "$bytes" 0 'services sent'
	wait_done "$job" 40
	assert_exact one 40
	assert_nothing_left "$job"
}

test_a_nodelist_of_several_stays() {
	local job
	prepare
	counters 40 one
	job=$(submit -N 1 -x n3)
	wait_ticks one 3 20
	preempt "$job" 20 >/dev/null
	wait_moved "$job" 1 40
	assert_eq "$(job_field "$job" ExcNodeList)" n3
	[[ $(node_of "$job") != n3 ]] || fail "it runs on n3, which it excludes"
	wait_done "$job" 40
	assert_exact one 40
}

# Else the job's limits would no longer hold for them.
test_moved_services_are_in_the_jobs_cgroup() {
	local job node cgroup
	[[ $(box status) == *proctrack/cgroup* ]] || skip "this box tracks processes without cgroups"
	prepare
	counters 40 one
	job=$(submit)
	wait_ticks one 3 20
	preempt "$job" >/dev/null
	wait_moved "$job" 1 40
	node=$(node_of "$job")
	cgroup=$(box_exec "$node" sh -c 'cat /proc/$(pgrep -o -f counter.py)/cgroup')
	[[ $cgroup =~ /${node}_slurmstepd\.scope/$(job_cgroup_name "$job")/smigrate/$job\.wf\.one ]] || fail "it is in $cgroup"
	wait_done "$job" 40
	assert_nothing_left "$job"
}

run_tests "$@"

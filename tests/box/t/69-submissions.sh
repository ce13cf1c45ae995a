#!/bin/bash
# What people write behind sbatch, across a preemption: arrays, chains, reservations, limits, names. Needs a box that is up
# (tests/run box). What is refused at submit: 20-plugin.sh.
# shellcheck source=../../lib.sh
. "$(dirname "$0")/../../lib.sh"
# shellcheck source=workflow.sh
. "$(dirname "$0")/workflow.sh"

place_of() { state "SELECT node FROM workflows WHERE job = $1"; }
moves_of() { state "SELECT COUNT(*) FROM migrations WHERE job = $1"; }
# Its script outlives `smigrate run` by a line, as most do: it is Slurm that is asked to end it.
plain_script() {
	in_wf tee job.sh >/dev/null <<-'SH'
		#!/bin/bash
		#SBATCH --job-name=wf --output=wf-%j.out --time=20
		smigrate run || exit
		echo "the script goes on"
	SH
}

# The task that is split off last has the array's own id: what is asked for that id must not be done to its sisters.
test_an_array_whose_last_task_moves_twice() {
	local array id task ids=()
	prepare
	plain_script
	in_wf tee workflow.yaml >/dev/null <<-'END'
		name: wf
		services:
		  one:
		    image: /images/debian
		    volumes: [".:/here"]
		    network_mode: none
		    command: [/usr/bin/python3, /here/counter.py, "task${SLURM_ARRAY_TASK_ID:-0}", "65"]
	END
	array=$(submit --array=1-3 --cpus-per-task=4)
	for task in 1 2 3; do wait_ticks "task$task" 5 20; done
	mapfile -t ids < <(box_exec ctl squeue -h -r -j "$array" -o '%K %A' | sort -n | cut -d ' ' -f 2)
	assert_eq "${#ids[@]} ${ids[2]}" "3 $array" 'ids of the tasks'
	preempt "$array" 1 "$(place_of "$array")" >/dev/null
	wait_moved "$array" 1 30
	preempt "$array" 1 "$(place_of "$array")" >/dev/null
	wait_moved "$array" 2 30
	for id in "${ids[@]}"; do
		wait_wf "$id" "done" 40
		wait_said "$id" 'the script goes on' 10
	done
	for task in 1 2 3; do
		assert_exact "task$task" 65
		assert_eq "$(job_field "${array}_$task" Restarts)" "$((task == 3 ? 2 : 0))" "restarts of task $task"
	done
	assert_eq "$(moves_of "${ids[0]}") $(moves_of "${ids[1]}") $(moves_of "${ids[2]}")" '0 0 2' 'moves'
	for id in "${ids[@]}"; do assert_nothing_left "$id"; done
}

# a -> b -> c, where a moves with less than a minute of its time left: it has that minute, and b and c wait for its end.
test_a_chain_across_a_move() {
	local a b c
	prepare
	counters 60 one two
	a=$(submit --time=1)
	b=$(submit_as user1 -p low -o /dev/null --dependency="afterok:$a" --wrap true)
	c=$(submit_as user1 -p low -o /dev/null --dependency="afterok:$b" --wrap true)
	wait_ticks two 5 20
	preempt "$a" 3 >/dev/null
	wait_moved "$a" 1 30
	assert_eq "$(job_field "$a" TimeLimit)" 00:01:00 'time limit after the move'
	assert_eq "$(job_state "$b") $(job_state "$c")" 'PENDING PENDING' 'those that wait'
	wait_done "$a" 40
	wait_done "$b" 20
	wait_done "$c" 20
	assert_exact one 60
	assert_exact two 60
	[[ ! $(job_field "$b" StartTime) < $(job_field "$a" EndTime) ]] || fail "b began before a had ended"
}

reserve() { # NODES
	box_exec ctl scontrol create reservation ReservationName=booked "Nodes=$1" Users=user1,user2 StartTime=now Duration=30 Flags=IGNORE_JOBS >/dev/null
}
unreserve() { box_exec ctl scontrol delete ReservationName=booked 2>/dev/null || true; }
preempt_booked() { # JOB SECONDS
	submit_as user2 -p high --reservation=booked -w "$(place_of "$1")" --exclusive -o /dev/null --wrap "sleep $2" >/dev/null
}

# Two nodes are booked: the job moves to the other one. One is: it waits, saved, until that is free.
test_a_reservation() {
	local job
	prepare
	trap unreserve EXIT
	reserve n3,n4
	counters 45 one two
	job=$(submit --reservation=booked)
	wait_ticks two 3 20
	preempt_booked "$job" 3
	wait_moved "$job" 1 30
	[[ $(place_of "$job") == n[34] ]] || fail "job $job has left its reservation: it is on $(place_of "$job")"
	wait_done "$job" 40
	assert_exact two 45
	clear_jobs
	unreserve
	reserve n4
	in_wf rm -f one two
	job=$(submit --reservation=booked)
	wait_ticks two 3 20
	preempt_booked "$job" 4
	wait_wf "$job" saved 30
	assert_eq "$(place_of "$job")" n4 'where it is saved'
	wait_done "$job" 60
	assert_exact one 45
	assert_exact two 45
	assert_eq "$(moves_of "$job")" 1 moves
}

NAME="it's \"my\" job; \$(id) \\ ü"
test_names_environments_and_whole_nodes() {
	local job
	prepare
	plain_script
	counters 60 one two
	job=$(submit --exclusive --export=NONE --job-name="$NAME")
	wait_ticks two 3 20
	preempt "$job" 3 "$(place_of "$job")" >/dev/null
	wait_moved "$job" 1 30
	assert_contains "$(box_as user1 ctl smigrate status "$job")" "$job.wf"
	assert_eq "$(status_json "$job" | box exec ctl -- python3 -c 'import json, sys; print(json.load(sys.stdin)["workflows"][0]["job"])')" "$job" 'job in JSON'
	assert_eq "$(box_exec ctl squeue -h -j "$job" -o %j)" "$NAME" 'name after the move'
	assert_eq "$(job_field "$job" OverSubscribe)" NO 'a node of its own'
	assert_eq "$(job_field "$job" NumCPUs)" 4 'cores'
	wait_done "$job" 40
	assert_exact one 60
	assert_exact two 60
	assert_nothing_left "$job"
}

# No word about nodes at submit, and two of them in the end: told when it starts, and never begun.
test_two_nodes_by_tasks() {
	local job
	prepare
	counters 30 one
	job=$(submit --ntasks=8)
	wait_job_state "$job" FAILED 30
	assert_eq "$(job_field "$job" NumNodes)" 2 nodes
	assert_contains "$(output "$job")" 'this job is not protected: jobs of more than one node are not supported yet'
	assert_contains "$(output "$job")" "job $job has 2 nodes; jobs of more than one node are not supported yet"
	assert_eq "$(ticks one)" 0 ticks
	assert_nothing_left "$job"
}

run_tests "$@"

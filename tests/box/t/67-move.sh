#!/bin/bash
# Moves by hand: move, cancel, drain, undrain. Needs a box that is up (tests/run box).
# shellcheck source=../../lib.sh
. "$(dirname "$0")/../../lib.sh"
# shellcheck source=workflow.sh
. "$(dirname "$0")/workflow.sh"

move() { box_as "$1" ctl smigrate move "${@:2}"; } # USER ARG...
last_error() { state "SELECT error FROM migrations WHERE job = $1 ORDER BY signal_us DESC LIMIT 1"; } # JOB
minutes() { awk -F '[-:]' '{ print NF == 4 ? ($1 * 24 + $2) * 60 + $3 : $1 * 60 + $2 }' <<<"$1"; } # TimeLimit

test_move() {
	local job after from to out
	prepare
	counters 40 one two
	job=$(submit --time=10 --exclude=n3)
	after=$(submit_as user1 -d "afterok:$job" -o /dev/null --wrap true)
	wait_ticks two 3 20
	from=$(node_of "$job")
	box_exec ctl scontrol update jobid="$job" Priority=4711
	out=$(move user1 --dry-run "$job")
	assert_contains "$out" "$job.wf: from $from to n"
	assert_status 3 move user2 "$job"
	assert_status 2 move user1 --to "$from" "$job"
	assert_status 3 move user1 --to n77 "$job"
	assert_status 4 move user1 --to n3 "$job"
	assert_contains "$OUTPUT" '--exclude'
	assert_eq "$(state "SELECT COUNT(*) FROM migrations WHERE job = $job")" 0 'migrations so far'
	job_is "$job" RUNNING || fail "the job is $(job_state "$job")"

	out=$(move user1 "$job")
	to=$(node_of "$job")
	[[ $to != "$from" ]] || fail "it is still on $from: $out"
	assert_contains "$out" "$job.wf.1: runs on $to after"
	assert_eq "$(job_field "$job" Priority)" 4711 priority
	assert_eq "$(minutes "$(job_field "$job" TimeLimit)")" 10 minutes
	assert_eq "$(job_field "$job" Restarts)" 1 Restarts

	box_exec ctl scontrol hold "$job"
	assert_status 4 move user1 --to n4 "$job"
	assert_contains "$OUTPUT" "scontrol release $job"
	box_exec ctl scontrol release "$job"
	out=$(move root --json --to n4 "$job")
	assert_eq "$(node_of "$job")" n4 node
	assert_eq "$(jq -r '.migrations[0] | [.cause, .state, .from_node, .to_node] | join(" ")' <<<"$out")" "operator done $to n4"
	job_is "$after" PENDING || fail "the dependant is $(job_state "$after")"
	wait_done "$job" 40
	assert_exact one 40
	assert_exact two 40
	wait_done "$after" 20
	assert_nothing_left "$job"
}

test_as_often_as_the_site_allows() {
	local job
	trap put_back EXIT
	prepare
	counters 600 one
	job=$(submit)
	wait_ticks one 3 20
	move user1 "$job"
	with_conf "$(node_of "$job")" UserMoves=1
	assert_status 4 move user1 "$job"
	assert_contains "$OUTPUT" 'as often as this site allows'
	move root --no-wait "$job"
	wait_moved "$job" 2 20
	box_exec ctl scancel "$job"
}

# A service of so much memory on so slow a link that there is time to do something in the middle of its move.
large() { # MB TICKS
	program large.py <<-PY
		import os
		ballast = os.urandom($1 << 20)
		exec(open("/here/counter.py").read())
	PY
	{
		printf 'name: wf\nservices:\n'
		service one "$2"
		printf '  large:\n    image: /images/debian\n    volumes: [".:/here"]\n    network_mode: none\n'
		printf '    command: [/usr/bin/python3, /here/large.py, large, "%s"]\n' "$2"
	} | in_wf tee workflow.yaml >/dev/null
}
sends() { [[ $(status_json "$1" | jq '[.workflows[0].services[].progress.done // 0] | max') -gt 1000000 ]]; } # JOB
# Moves it by hand, and returns when its memory flows.
begin_move() { # JOB
	move user1 --no-wait "$1"
	retry 20 sends "$1" || fail "its memory does not flow: $(status_json "$1")"
}
assert_back() { # JOB NODE WHY
	wait_wf "$1" running 20
	assert_contains "$(last_error "$1")" "$3"
	assert_eq "$(job_field "$1" Restarts) $(node_of "$1")" "0 $2" 'restarts and node'
}

test_cancel_goes_back() {
	local job from to now
	trap 'box link n1 off; put_back' EXIT
	prepare
	large 120 75
	job=$(submit)
	wait_ticks large 3 20
	from=$(node_of "$job")
	assert_status 1 box_as user1 ctl smigrate cancel "$job"
	box link "$from" 100mbit
	begin_move "$job"
	assert_status 3 box_as user2 ctl smigrate cancel "$job"
	box_as user1 ctl smigrate cancel "$job.wf.1"
	assert_back "$job" "$from" 'called off by its owner'

	# the target's daemon dies in the middle
	begin_move "$job"
	to=$(state "SELECT to_node FROM migrations WHERE id = '$job.wf.2'")
	stop_daemon "$to" KILL
	assert_back "$job" "$from" 'service '
	start_daemon "$to"

	# and our own: what was frozen for the move runs on
	begin_move "$job"
	stop_daemon "$from" KILL
	now=$(ticks large)
	start_daemon "$from"
	wait_ticks large $((now + 3)) 10
	assert_back "$job" "$from" 'smigrated ended'

	box link "$from" off
	move user1 "$job"
	assert_eq "$(state "SELECT group_concat(state, ' ') FROM (SELECT state FROM migrations WHERE job = $job ORDER BY id)")" \
		'failed failed failed done'
	[[ $(node_of "$job") != "$from" ]] || fail "it is still on $from"
	wait_done "$job" 60
	assert_exact one 75
	assert_exact large 75
	assert_nothing_left "$job"
}

# Connections within the workflow live through a move that is called off, and through one that is not.
was_called_off() { [[ $(last_error "$1") == *'called off'* ]]; } # JOB
test_connections_go_back_too() {
	local job from
	trap 'box link n1 off' EXIT
	example channel
	job=$(in_example channel env NUMBERS=10000000 sbatch --parsable -p low --migrate=workflow.yaml job.sh)
	retry 60 step_said channel "$job" 'all are there' || fail "$(in_example channel cat "channel-$job.out")"
	from=$(node_of "$job")
	box link "$from" 20mbit
	begin_move "$job"
	box_as user1 ctl smigrate cancel "$job"
	box link "$from" off # the state host hears of it behind the memory that was on the way
	retry 10 was_called_off "$job" || fail "the last error is '$(last_error "$job")'"
	move user1 "$job"
	[[ $(node_of "$job") != "$from" ]] || fail "it is still on $from"
	in_example channel touch stop
	wait_done "$job" 60
	in_example channel ./check "channel-$job.out"
}

node_state() { box_exec ctl scontrol show node "$1" | sed -n "s/.* State=\([^ ]*\).*/\1/p;s/^ *Reason=\(.*\) \[.*/\1/p" | paste -sd ' '; }
resumed() { [[ $(node_state "$1") =~ ^IDLE( |$) ]]; } # NODE; Slurm keeps the old reason until a job starts there
drain_jobs() { # N: jobs that count, and one that holds what CRIU cannot save, all on n1, which four of them would fill
	local k
	for k in $(seq "$1"); do
		{ printf 'name: wf\nservices:\n' && service "s$k" 60; } | in_wf tee "w$k.yaml" >/dev/null
		JOBS+=("$(in_wf sbatch --parsable -p low --oversubscribe --migrate="w$k.yaml" job.sh)")
	done
	program hold.py <<-'PY'
		import ctypes, time
		print("holds" if ctypes.CDLL(None).syscall(323, 1) >= 0 else "no userfaultfd", flush=True)
		time.sleep(600)
	PY
	{ printf 'name: wf\nservices:\n' && member holds /usr/bin/python3 /here/hold.py; } | in_wf tee hold.yaml >/dev/null
	STAYS=$(in_wf sbatch --parsable -p low --oversubscribe --migrate=hold.yaml job.sh)
}

could_leave() { [[ $(box_exec ctl smigrate drain --dry-run n1 | grep -c 'could move to n') == "$1" ]]; } # N

test_drain() {
	local JOBS=() STAYS k out status=0
	trap 'box_exec ctl scontrol update PartitionName=low OverSubscribe=NO; others_back; box_exec ctl scontrol update NodeName=n1 State=RESUME 2>/dev/null || true' EXIT
	prepare
	box_exec ctl scontrol update PartitionName=low OverSubscribe=YES:2
	others_away
	drain_jobs 4
	wait_said "$STAYS" 'holds | holds' 30
	for k in 1 2 3 4; do wait_ticks "s$k" 2 30; done
	assert_eq "$(for k in "${JOBS[@]}" "$STAYS"; do node_of "$k"; done | uniq)" n1 'nodes of the jobs'
	others_back
	assert_status 4 box_as user1 ctl smigrate drain n1
	assert_status 3 box_exec ctl smigrate drain n77
	retry 20 could_leave 4 || fail "$(box_exec ctl smigrate drain --dry-run n1)" # nodes just resumed do not respond yet
	assert_status 5 box_exec ctl smigrate drain --dry-run n1
	assert_eq "$(node_state n1)" ALLOCATED 'state after a dry run'

	status=0
	out=$(box_exec ctl smigrate drain --wait --reason 'new fan' n1) || status=$?
	assert_eq "$status" 5 "status of: $out"
	assert_contains "$out" "job $STAYS (user1, wf) stays: service holds cannot be saved as it is: it holds a userfaultfd"
	for k in "${JOBS[@]}"; do
		assert_contains "$out" "job $k (user1, wf) has left for n"
		[[ $(node_of "$k") != n1 ]] || fail "job $k is on n1: $out"
	done
	assert_eq "$(state "SELECT COUNT(*) FROM migrations WHERE cause = 'drain' AND state = 'done' AND job IN ($(IFS=,; echo "${JOBS[*]}"))")" 4 moved
	assert_eq "$(node_state n1)" 'MIXED+DRAIN smigrate: new fan' 'state in Slurm'

	box_exec ctl scancel "$STAYS"
	assert_eq "$(box_exec ctl smigrate drain --wait n1 | tail -n 1)" 'n1 is empty and drained: smigrate: new fan'
	assert_eq "$(node_state n1)" 'IDLE+DRAIN smigrate: new fan' 'state in Slurm'
	assert_status 4 box_as user1 ctl smigrate undrain n1
	box_exec ctl smigrate undrain n1
	retry 20 resumed n1 || fail "n1 is $(node_state n1)"
	assert_status 2 box_exec ctl smigrate undrain n1
	box_exec ctl scontrol update NodeName=n1 State=DRAIN Reason=burnt
	assert_status 4 box_exec ctl smigrate undrain n1
	box_exec ctl smigrate undrain --force n1
	for k in 0 1 2 3; do
		wait_done "${JOBS[k]}" 40
		assert_exact "s$((k + 1))" 60
	done
}

run_tests "$@"

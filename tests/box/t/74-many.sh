#!/bin/bash
# Many jobs preempted at once. Brings up a box of its own, whose nodes say that they have 64 processors.
#
#   JOBS=N  how many (default 40)
# shellcheck source=../../lib.sh
. "$(dirname "$0")/../../lib.sh"
# shellcheck source=workflow.sh
. "$(dirname "$0")/workflow.sh"

JOBS=${JOBS:-40}
TICKS=$((40 + JOBS * 3 / 2)) # the last one is to run before the first one ends

count() { state "SELECT COUNT(*) FROM $1"; } # TABLE [WHERE ...]
is_count() { [[ $(count "$1") == "$2" ]]; }
wait_count() { retry "$3" is_count "$1" "$2" || fail "$(count "$1") of $1, wanted $2"; } # WHAT N SECONDS

# Two ticks a second: so many of them are not to keep the machine busy by themselves.
work() {
	program tick.py <<-'PY'
		import os, sys, time
		token = os.urandom(8).hex()
		for n in range(1, int(sys.argv[2]) + 1):
		    with open("/here/t/" + sys.argv[1], "a") as f:
		        f.write("%s %d\n" % (token, n))
		    time.sleep(0.5)
	PY
	in_wf mkdir -p t
	in_wf tee workflow.yaml >/dev/null <<-END
		name: wf
		services:
		  one:
		    image: /images/debian
		    volumes: [".:/here"]
		    network_mode: none
		    command: [/usr/bin/python3, /here/tick.py, "\${SLURM_ARRAY_TASK_ID:-0}", "$TICKS"]
	END
}

# What is known of the first job that has none.
without_a_service() {
	local id node
	for id in $(box_exec ctl squeue -h -t all -o %A); do
		[[ $(count "services WHERE workflow LIKE '$id.%'") == 0 ]] || continue
		box_exec ctl scontrol show job "$id"
		box_exec ctl cat "$WF/wf-$id.out"
		for node in n1 n2 n3 n4; do
			box_exec "$node" grep -E "job[ =]$id( |:|\$)|JobId=$id( |\$)" /var/log/smigrated.log /var/log/slurmd.log || true
		done
		break
	done
}

TIMEOUT_test_all_end_right=900
test_all_end_right() {
	local job bad said n
	prepare
	work
	job=$(in_wf sbatch --parsable -p low --array="1-$JOBS" --migrate=workflow.yaml job.sh)
	retry 180 is_count "services WHERE state = 'running'" "$JOBS" || fail "not all start: $(
		state "SELECT state, COUNT(*), MAX(message) FROM services GROUP BY 1"
		box_exec ctl squeue -h -t all -o '%T %R' | sort | uniq -c
		without_a_service
		box_exec ctl sh -c "cd $WF && grep -L 'begins\\|zzz' wf-*.out | head -n 3 | xargs -r head -n 5")"
	count_anew
	submit_as user2 -p high -N 4 --exclusive -o /dev/null --wrap 'sleep 5' >/dev/null
	# slurmctld is not asked meanwhile: that would count
	wait_count "migrations WHERE state = 'done'" "$JOBS" 300
	said=$(questions)
	n=$(sum <<<"$said")
	echo "questions: $said"
	echo "time from the first signal to the last service: $(state "SELECT (MAX(done_us) - MIN(signal_us)) / 1e6 FROM migrations")"
	wait_count "workflows WHERE state = 'done'" "$JOBS" 300
	assert_eq "$(count "migrations WHERE moved <> 1 OR restarted <> 0 OR state <> 'done'")" 0 'moves that lost something'
	# each from 1 to the last tick, in one life
	bad=$(box_exec ctl sh -c "cd $WF/t && for f in *; do awk -v n=$TICKS 'NR == 1 { token = \$1 } \$1 != token || \$2 != NR { exit 1 } END { if (NR != n) exit 1 }' \$f || echo \$f; done")
	assert_eq "$bad" '' 'jobs that did not go on exactly'
	assert_eq "$(box_exec ctl sh -c "ls $WF/t | wc -l")" "$JOBS" 'jobs that counted'
	((n <= 8 * JOBS)) || fail "$n questions for $JOBS moves: $said"
	retry 60 no_jobs || fail "jobs are left: $(box_exec ctl squeue -h)"
	assert_nothing_left "$job"
}

# slurmd hands pipes on to steps where it has more than 256 descriptors open (see remote.c): a prolog's end would go unnoticed.
test_no_step_keeps_a_prologs_pipe() {
	local kept
	clear_jobs
	submit_as user1 -p low -w n1 --array=1-60 -o /dev/null --wrap 'sleep 40' >/dev/null
	retry 60 all_start 60 || fail "not all start: $(box_exec ctl squeue -h -o '%T %R' | sort | uniq -c)"
	kept=$(box exec n1 -- sh -c 'for p in /proc/[0-9]*; do
		[ "$(cat "$p/comm" 2>/dev/null)" = slurmd ] || for fd in "$p"/fd/[2-9][0-9][0-9]; do
			[ "${fd##*/}" -lt 256 ] || [ ! -L "$fd" ] || echo "$(cat "$p/comm"): ${fd##*/} $(readlink "$fd")"
		done
	done')
	assert_eq "$kept" '' 'descriptors that slurmd left to its steps'
	clear_jobs
}
all_start() { # N: each has a process of its script
	[[ $(box_exec n1 pgrep -c -x -f 'sleep 40') == "$1" ]]
}

own_box many --nodes 4 --cpus 64 --memory 16000
run_tests "$@"

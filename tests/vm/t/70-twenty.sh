#!/bin/bash
# Twenty migrations in a row, and nothing is left on either node that was not there before.
# shellcheck disable=SC2016 # what is expanded in the guest
# shellcheck source=guests.sh
. "$(dirname "$0")/guests.sh"

# shellcheck disable=SC2034 # run_tests looks for it
TIMEOUT_test_twenty_migrations_leave_nothing=900
test_twenty_migrations_leave_nothing() {
	local job n node to
	prepare
	# what a node has once one has come and gone
	counters 60 one
	job=$(submit_on n1 n2 -w n1,n2 -N 1)
	wait_ticks one 3 60
	box_exec ctl smigrate move "$job" --to n2
	box_exec ctl smigrate move "$job" --to n1
	wait_job_state "$job" COMPLETED 90
	assert_nothing_left "$job"
	for node in n1 n2; do traces "$node" | sort >"$TMP/$node.before"; done

	prepare
	counters 3000 one two
	job=$(submit_on n1 n2 -w n1,n2 -N 1)
	wait_ticks one 3 60
	wait_ticks two 3 60
	for ((n = 1; n <= 20; n++)); do
		to=n$((1 + n % 2))
		box_exec ctl smigrate move "$job" --to "$to"
		assert_eq "$(node_of "$job")" "$to" "its node after $n moves"
	done
	assert_contains "$(box_exec ctl smigrate history --job "$job" -n 50 --json)" "\"id\": \"$job.wf.20\""
	box_exec ctl scancel "$job"
	retry 60 no_jobs || fail 'the job does not end'
	assert_nothing_left "$job"
	for name in one two; do
		assert_eq "$(lives "$name")" 1 "lives of $name"
		box_exec ctl awk '$2 != NR { print; bad = 1 } END { exit bad }' "$WF/$name" || fail "$name did not go on exactly"
	done
	for node in n1 n2; do
		traces "$node" | sort >"$TMP/$node.after"
		diff -u "$TMP/$node.before" "$TMP/$node.after" || fail "something is left on $node"
	done
}

run_tests "$@"

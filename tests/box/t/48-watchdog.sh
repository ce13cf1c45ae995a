#!/bin/bash
# A daemon dies in the middle of a move and does not come back: what it left frozen goes on after a minute, unless another node may have
# it. Needs a box that is up (tests/run box).
# shellcheck source=../../lib.sh
. "$(dirname "$0")/../../lib.sh"
# shellcheck source=workflow.sh
. "$(dirname "$0")/workflow.sh"

# The node's daemon dies when it comes to the point.
dies_at() { # NODE POINT
	stop_daemon "$1"
	box exec "$1" -- tee /run/box/faults >/dev/null <<<"$2 1 crash"
	box_exec "$1" env SMIGRATE_FAULTS=/run/box/faults box-start smigrated
	retry 10 daemon_answers "$1"
}
is_dead() { ! box_exec "$1" pgrep -x smigrated >/dev/null; } # NODE
all_back() {
	for n in n1 n2 n3 n4; do
		box_exec "$n" rm -f /run/box/faults
		is_dead "$n" || stop_daemon "$n"
		start_daemon "$n"
	done
	clear_jobs
}

# One job whose daemon dies as it has frozen it, and one whose memory is on the other node already: the wait is the same.
test_frozen_and_nobody_comes() {
	local first second WF1 WF2 n
	prepare
	trap all_back EXIT
	WF1=$WF WF2=$WF.second
	counters 300 one
	first=$(submit_on n1 n2,n3,n4)
	wait_ticks one 3 20
	WF=$WF2
	work_files
	counters 300 one
	second=$(submit_on n2 n1,n3,n4)
	wait_ticks one 3 20
	dies_at n1 runtime.freeze.after
	dies_at n2 stream.sent
	box_as user1 n3 smigrate move "$first" --to n3 >"$TMP/first" 2>&1 &
	box_as user1 n4 smigrate move "$second" --to n4 >"$TMP/second" 2>&1 &
	retry 20 is_dead n1
	retry 20 is_dead n2
	sleep 40
	WF=$WF1
	n=$(ticks one)
	sleep 5
	assert_eq "$(ticks one)" "$n" 'ticks after five more seconds, frozen'
	retry 40 ticking one $((n + 3)) || fail "it stands still at $(ticks one) after 85 s"
	WF=$WF2
	n=$(ticks one)
	sleep 20
	assert_eq "$(ticks one)" "$n" 'ticks of the one that another node has, after 20 more seconds'
	for node in n1 n2; do
		box_exec "$node" rm -f /run/box/faults
		start_daemon "$node"
	done
	WF=$WF1
	wait_said "$first" 'it stood still for a minute' 20
	wait_done "$first" 200
	wait_done "$second" 200
	assert_exact one 300
	assert_nothing_left "$first"
	WF=$WF2
	assert_exact one 300
	assert_nothing_left "$second"
}

run_tests "$@"

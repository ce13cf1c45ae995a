#!/bin/bash
# Post-copy: a service runs on the next node before its memory is there, and its pages follow.
# shellcheck disable=SC2016 # what is expanded in the guest
# shellcheck source=guests.sh
. "$(dirname "$0")/guests.sh"

test_its_pages_follow() {
	local job
	begin post 120 0 0
	box_exec ctl smigrate move "$job" --to n2
	assert_eq "$(node_of "$job")" n2 'its node'
	retry 60 all_here "$job" || fail "its pages do not come: $(events "$job")"
	(($(state "SELECT bytes FROM phases WHERE phase = 'postcopy' AND migration LIKE '$job.%'") > 100000000)) || fail 'they were sent before'
	assert_contains "$(events "$job")" 'its pages follow from n1'
	ends_well "$job"
	assert_nothing_left "$job"
}

test_a_writer_keeps_its_memory() {
	local job
	begin post 120 64 32
	box_exec ctl smigrate move "$job" --to n2
	retry 60 all_here "$job" || fail "its pages do not come: $(events "$job")"
	ends_well "$job"
	assert_nothing_left "$job"
}

test_in_the_grace_of_a_preemption() {
	local job
	begin post 120 16 8
	preempt "$job" 20 n1 >/dev/null
	wait_moved "$job" 1 90
	retry 60 all_here "$job" || fail "its pages do not come: $(events "$job")"
	ends_well "$job"
	assert_nothing_left "$job"
}

# Both daemons are started anew while its pages follow.
test_daemons_come_back() {
	local job
	begin post 120 16 8
	box link n1 40mbit
	box_exec ctl smigrate move "$job" --to n2
	assert_contains "$(box_exec ctl smigrate status "$job")" 'its pages follow from n1'
	box_exec n1 systemctl restart smigrated
	box_exec n2 systemctl restart smigrated
	box link n1 off
	retry 90 all_here "$job" || fail "its pages do not come: $(events "$job")"
	ends_well "$job"
	assert_nothing_left "$job"
}

# The node that has its pages loses them: so does the service, and it begins anew.
test_the_window() {
	local job
	begin post 120 16 8
	box link n1 40mbit
	box_exec ctl smigrate move "$job" --to n2
	box_exec n1 sh -c 'rm -rf /run/smigrate/lazy/*/*/*; systemctl restart smigrated'
	wait_said "$job" 'is started again from the beginning' 60
	box link n1 off
	ends_well "$job"
}

# A page that nobody brings any more would read as zeros: the service is killed before that, and begins anew.
brings() { # WHO: its pid
	box_exec n2 sh -c '
		guard=$(cut -d " " -f 1 /run/smigrate/c/*/lazy.pid)
		criu=$(pgrep -P "$guard" -x criu)
		case $1 in guard) echo "$guard" ;; criu) echo "$criu" ;; relay) pgrep -P "$guard" | grep -vx "$criu" ;; esac' sh "$1"
}
dies() { # WHO
	local job pid
	begin post 120 16 8
	box link n1 40mbit
	box_exec ctl smigrate move "$job" --to n2
	pid=$(brings "$1")
	[[ -n $pid ]] || fail "there is no $1"
	box_exec n2 kill -KILL "$pid"
	box link n1 off
	wait_said "$job" 'is started again from the beginning' 30
	ends_well "$job"
	[[ $(output "$job") != *WRONG* ]] || fail 'it went on with pages of zeros'
	assert_nothing_left "$job"
}
test_criu_dies() { dies criu; }
test_the_relay_dies() { dies relay; }
test_the_guard_dies() { dies guard; }

test_back_and_forth() {
	local job
	begin post 120 16 8
	box_exec ctl smigrate move "$job" --to n2
	box_exec ctl smigrate move "$job" --to n1
	retry 60 all_here "$job" 2 || fail "its pages do not come: $(events "$job")"
	ends_well "$job"
	assert_nothing_left "$job"
}

run_tests "$@"

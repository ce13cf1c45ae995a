#!/bin/bash
# A node that loses its power, and has it again. Last of all files: it is not as it was.
# shellcheck disable=SC2016 # what is expanded in the guest
# shellcheck source=guests.sh
. "$(dirname "$0")/guests.sh"

# With Durable=disk a node that loses its power has them again when it is back; the service has waited.
# shellcheck disable=SC2034 # run_tests looks for it
TIMEOUT_test_the_node_that_has_them_comes_back=300
test_the_node_that_has_them_comes_back() {
	local job
	begin post 120 16 8
	box_exec n1 sh -c 'echo Durable=disk >>/etc/smigrate/smigrate.conf; systemctl restart smigrated'
	retry 20 daemon_answers n1 || fail 'the daemon of n1 does not answer'
	box link n1 40mbit
	box_exec ctl smigrate move "$job" --to n2
	box power n1 off
	sleep 5
	assert_contains "$(box_exec ctl smigrate status "$job")" 'its pages follow from n1'
	box power n1 on
	retry 120 all_here "$job" || fail "its pages do not come: $(events "$job")"
	ends_well "$job"
	assert_nothing_left "$job"
}

run_tests "$@"

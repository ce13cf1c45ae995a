#!/bin/bash
# Memory that came in rounds, or without its pages, for a job that does not start there, or not soon.
# shellcheck disable=SC2016 # what is expanded in the guest
# shellcheck source=guests.sh
. "$(dirname "$0")/guests.sh"

# Preempted, with n2 to go to, which gets no job any more as soon as it has made room. For so long n1 is taken.
aim_and_miss() { # JOB SECONDS
	preempt "$1" "$2" n1 >/dev/null
	box_exec n2 timeout 30 sh -c 'until [ -e "/run/smigrate/hold/$1.wf" ]; do sleep 0.05; done' sh "$1" || fail 'n2 makes no room'
	box_exec ctl scontrol update NodeName=n2 State=DRAIN Reason=test
	retry 60 pending "$1" || fail "it is $(job_state "$1"): $(output "$1")"
}
pending() { [[ $(job_state "$1") == PENDING ]]; }
n2_back() { box_exec ctl scontrol update NodeName=n2 State=RESUME; }
n2_says() { # LINE, of its smigrate.conf, for the time of one test
	trap n2_as_before EXIT
	box_exec n2 sh -c 'cd /etc/smigrate && cp smigrate.conf before && echo "$1" >>smigrate.conf' sh "$1"
	n2_restarts
}
n2_as_before() {
	box_exec n2 mv /etc/smigrate/before /etc/smigrate/smigrate.conf
	n2_restarts
}
n2_restarts() {
	box_exec n2 systemctl restart smigrated
	retry 20 daemon_answers n2 || fail 'the daemon of n2 does not answer'
}
on_disk() { # JOB: what n2 has for it
	box_exec n2 sh -c 'cd "/var/lib/smigrate/hold/$1.wf/w" && test -d images && test ! -L images && test ! -e "/run/smigrate/hold/$1.wf"' sh "$1"
}
dropped_pages() { box_exec n1 test ! -e "/run/smigrate/lazy/$1.wf"; }

# From the node that has them, as to any third node.
test_rounds_are_fetched() {
	local job
	begin pre 120 16 8
	aim_and_miss "$job" 5
	(($(rounds_of "$job") > 0)) || fail "no rounds: $(events "$job")"
	wait_moved "$job" 1 120
	assert_eq "$(node_of "$job")" n1 'its node'
	n2_back
	ends_well "$job"
	assert_nothing_left "$job"
}

test_rounds_of_a_late_job() {
	local job
	n2_says LandKeep=3
	begin pre 120 16 8
	aim_and_miss "$job" 200
	(($(rounds_of "$job") > 0)) || fail "no rounds: $(events "$job")"
	retry 60 on_disk "$job" || fail "they stay in memory: $(slurm_log n2 "$job.wf" 10)"
	n2_back
	wait_moved "$job" 1 90
	assert_eq "$(node_of "$job")" n2 'its node'
	ends_well "$job"
	assert_nothing_left "$job"
}

# Its images come back from n2, and its pages from where it runs.
test_back_to_its_pages() {
	local job
	begin post 120 16 8
	aim_and_miss "$job" 5
	wait_moved "$job" 1 120
	assert_eq "$(node_of "$job")" n1 'its node'
	retry 60 all_here "$job" || fail "its pages do not come: $(events "$job")"
	n2_back
	ends_well "$job"
	retry 20 dropped_pages "$job" || fail 'n1 keeps its pages'
	assert_nothing_left "$job"
}

# All of it is fetched meanwhile, and the node that it left drops what it kept.
test_pages_of_a_late_job() {
	local job
	n2_says LandKeep=3
	begin post 120 16 8
	aim_and_miss "$job" 200
	wait_event "$job" 'all pages of service w have been fetched' 60
	retry 10 dropped_pages "$job" || fail 'n1 keeps its pages'
	on_disk "$job" || fail 'what n2 has is not on its disk'
	n2_back
	wait_moved "$job" 1 90
	assert_eq "$(node_of "$job")" n2 'its node'
	assert_eq "$(follows "$job")" 0 'times that pages followed'
	ends_well "$job"
	assert_nothing_left "$job"
}

# Where either node wants that; that nobody reads them is the unit tests' to show.
test_pages_that_are_encrypted() {
	local job
	n2_says Encrypt=yes
	begin post 120 16 8
	box_exec ctl smigrate move "$job" --to n2
	retry 60 all_here "$job" || fail "its pages do not come: $(events "$job")"
	ends_well "$job"
	assert_nothing_left "$job"
}

run_tests "$@"

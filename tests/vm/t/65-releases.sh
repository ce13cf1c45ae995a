#!/bin/bash
# Two releases side by side: of the daemon, and of CRIU. Jobs move in both directions, or it is said beforehand why not.
# shellcheck disable=SC2016 # what is expanded in the guest
# shellcheck source=guests.sh
. "$(dirname "$0")/guests.sh"

TICKS=150
# The last commit whose daemon knows nothing of rounds of pre-copy, nor of pages that follow.
OLDER='Split what every cluster for tests needs'

install_older() { # NODE
	local commit tree=$TMP/older package
	commit=$(git -C "$ROOT" log --format=%H --fixed-strings --grep "$OLDER" -n 1 2>/dev/null || true)
	[[ -n $commit ]] || skip 'this checkout has no history, and so no older release'
	[[ -d $tree ]] || { mkdir "$tree" && git -C "$ROOT" archive "$commit" | tar -C "$tree" -x; }
	package=$(BOX_TREE=$tree "$ROOT/tests/box/box" package) || fail 'the older release does not build'
	box exec "$1" -- sh -ec 'cat >/root/older.deb && dpkg --force-confold -i /root/older.deb >/root/dpkg.log 2>&1' <"$package"
	retry 20 daemon_answers "$1" || fail "the older daemon of $1 does not answer"
}

there_and_back() {
	local job
	prepare
	counters "$TICKS" one two
	job=$(submit_on n1 n2 -w n1,n2 -N 1)
	wait_ticks one 3 60
	wait_ticks two 3 60
	box_exec ctl smigrate move "$job" --to n2
	assert_eq "$(node_of "$job")" n2 'its node'
	box_exec ctl smigrate move "$job" --to n1
	assert_eq "$(node_of "$job")" n1 'its node'
	preempt "$job" 20 n1 >/dev/null
	wait_moved "$job" 3 90
	wait_job_state "$job" COMPLETED 120
	assert_exact one "$TICKS"
	assert_exact two "$TICKS"
	assert_nothing_left "$job"
}

test_an_older_criu() {
	box_exec n2 ln -s /opt/criu-older/usr/sbin/criu /usr/local/sbin/criu
	box_exec n2 systemctl restart smigrated
	retry 20 daemon_answers n2 || fail 'the daemon of n2 does not answer'
	assert_contains "$(box_exec n1 criu --version)" 'Version: 4.2'
	assert_contains "$(box_exec n2 criu --version)" 'Version: 4.1'
	there_and_back
	box_exec n2 rm /usr/local/sbin/criu
}

test_an_older_daemon() {
	box_exec n2 rm -f /usr/local/sbin/criu
	install_older n2
	there_and_back
}

# What the older daemon does not know is told before anything is done; the job runs on.
test_an_older_daemon_and_post_copy() {
	local job
	begin post 60 0 0
	assert_status 1 box_exec ctl smigrate move "$job" --to n2
	assert_contains "$OUTPUT" 'n2 is of an older release'
	assert_eq "$(node_of "$job")" n1 'its node'
	ends_well "$job"
	assert_nothing_left "$job"
}

run_tests "$@"

#!/bin/bash
# What a program may hold, each thing in a container of its own that looks at it all the time, by the ways of copying memory that need
# a kernel of their own. By the third one, and the rest of what there is, see tests/box/t/60-selfcheck.sh.
# shellcheck source=guests.sh
. "$(dirname "$0")/guests.sh"
# shellcheck source=../../box/t/objects.sh
. "$ROOT/tests/box/t/objects.sh"

# shellcheck disable=SC2034 # objects.sh: all that has to do with memory, processes and time, and some of the rest
OBJECTS=(mapped-shared mapped-private mapped-gone shared-anonymous posix-shm sysv-shm memfd memfd-sealed mappings children stopped
	threads robust-mutex signalfd timerfd prctl pidfd pipe-full unix-stream passed-descriptor tcp unlinked-big)

test_00_image() {
	make -s -C "$ROOT" "$BUILD/tests/box/selfcheck/selfcheck"
	tar -C "$BUILD/tests/box/selfcheck" -c selfcheck | box exec n1 -- sh -c "rm -rf $TOP && mkdir -p $TOP/bin && tar -C $TOP/bin -x --no-same-owner"
	object_image
}

copied() { # COPY PHASE
	local job before
	prepare
	object_services "{copy: $1}" | in_wf tee workflow.yaml >/dev/null
	job=$(submit_on n1 n2 -w n1,n2 -N 1 --mem=400M)
	retry 120 all_beyond "$job" 3 || fail "not all services run: $(output "$job" | tail -n 20)"
	before=$(most "$job")
	box_exec ctl smigrate move "$job" --to n2
	assert_eq "$(node_of "$job")" n2 'its node'
	wait_all_beyond "$job" $((before + 3))
	box_as user1 ctl scancel "$job"
	output "$job" >"$TMP/out"
	assert_objects 6
	assert_eq "$(state "SELECT COUNT(DISTINCT service) FROM phases WHERE phase = '$2' AND error IS NULL AND migration LIKE '$job.%'")" \
		${#OBJECTS[@]} 'services that were copied so'
	wait_job_state "$job" CANCELLED 60
	assert_nothing_left "$job"
}

# shellcheck disable=SC2034 # run_tests looks for it
TIMEOUT_test_their_pages_follow=600
test_their_pages_follow() { copied post postcopy; }
# shellcheck disable=SC2034
TIMEOUT_test_in_rounds=600
test_in_rounds() { copied pre precopy; }

run_tests "$@"

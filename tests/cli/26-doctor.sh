#!/usr/bin/env bash
# smigrate doctor, against a daemon that answers from prepared documents, and without one.
# shellcheck source=tests/lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/../lib.sh"
# shellcheck source=tests/cli/daemon.sh
source "$(dirname "${BASH_SOURCE[0]}")/daemon.sh"

export TZ=UTC LC_ALL=C.UTF-8
SMIGRATE=$BUILD/smigrate
VERSION=$("$SMIGRATE" --version | cut -d ' ' -f 2)

found() { # VERSION CHECK...: a daemon that has found these
	local version=$1 IFS=,
	shift
	daemon '{"doctor":{"ok":true,"data":{"node":"n1","version":"'"$version"'","checks":['"$*"']}}}'
}
OK='{"check":"munge","level":"ok","text":"munge works"}'
WARNING='{"check":"grace","level":"warning","text":"partition low: GraceTime=3 s is not longer than PollInterval=5 s"}'
ERROR='{"check":"statehost","level":"error","text":"smigrated on ctl does not answer"}'

test_all_is_well() {
	found "$VERSION" "$OK"
	assert_status 0 "$SMIGRATE" doctor
	assert_eq "$OUTPUT" $'ok       munge      munge works\n0 errors, 0 warnings'
	assert_eq "$(<"$TMP/requests")" '{"op": "doctor"}'
}

test_warnings_are_no_failure() {
	found "$VERSION" "$OK" "$WARNING"
	assert_status 0 "$SMIGRATE" doctor
	assert_contains "$OUTPUT" 'warning  grace      partition low: GraceTime=3 s is not longer than PollInterval=5 s'
	assert_contains "$OUTPUT" '0 errors, 1 warning'
}

test_errors_are() {
	found "$VERSION" "$OK" "$WARNING" "$ERROR" "$ERROR"
	assert_status 1 "$SMIGRATE" doctor
	assert_contains "$OUTPUT" 'error    statehost  smigrated on ctl does not answer'
	assert_contains "$OUTPUT" '2 errors, 1 warning'
}

test_json() {
	found "$VERSION" "$OK" "$ERROR"
	assert_status 1 "$SMIGRATE" doctor --json
	assert_eq "$(python3 -c 'import json, sys; d = json.load(sys.stdin); print(d["node"], [c["level"] for c in d["checks"]])' <<<"$OUTPUT")" "n1 ['ok', 'error']"
}

test_another_release() {
	found 9.9.9 "$OK"
	assert_status 0 "$SMIGRATE" doctor
	assert_contains "$OUTPUT" "this command is of release $VERSION, the daemon of 9.9.9: restart smigrated after an upgrade"
}

test_no_daemon() {
	export SMIGRATE_SOCKET=$TMP/none.sock
	assert_status 1 "$SMIGRATE" doctor
	assert_contains "$OUTPUT" 'error    daemon     smigrated on this node cannot be asked'
	assert_contains "$OUTPUT" 'systemctl status smigrated'
	assert_status 1 "$SMIGRATE" doctor --json
	assert_eq "$(python3 -c 'import json, sys; print(json.load(sys.stdin)["checks"][0]["level"])' <<<"$OUTPUT")" error
}

test_a_daemon_that_talks_nonsense() {
	daemon '{"doctor":"nonsense"}'
	assert_status 1 "$SMIGRATE" doctor
	assert_contains "$OUTPUT" 'error    daemon'
	assert_contains "$OUTPUT" '1 error, 0 warnings'
}

test_bad_words() {
	assert_status 2 "$SMIGRATE" doctor --fast
	assert_contains "$OUTPUT" "cannot take '--fast'"
	assert_status 2 "$SMIGRATE" doctor n1
	assert_status 0 "$SMIGRATE" doctor --help
	assert_contains "$OUTPUT" 'usage: smigrate doctor'
}

test_control_characters_go_nowhere() {
	found "$VERSION" '{"check":"peer","level":"error","text":"a\u001b[31mb"}'
	assert_status 1 "$SMIGRATE" doctor
	assert_contains "$OUTPUT" 'a?[31mb'
}

run_tests "$@"

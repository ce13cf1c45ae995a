#!/bin/bash
# smigrate run: its options, and what it asks of a daemon that answers from prepared documents.
# shellcheck source=tests/lib.sh
source "$(dirname "$0")/../lib.sh"

# Runs the workflow against a daemon that says at once that it is done; leaves the strategy it was asked for in $ASKED.
run_asks() { # ARG...
	export SMIGRATE_SOCKET=$TMP/smigrated.sock
	[[ -S $SMIGRATE_SOCKET ]] || {
		echo '{"run": {"ok": true, "done": true, "status": 0}}' >"$TMP/replies"
		python3 "$ROOT/tests/cli/fake_daemon.py" "$SMIGRATE_SOCKET" "$TMP/replies" "$TMP/requests" &
		# shellcheck disable=SC2064 # the id of now
		trap "kill $! 2>/dev/null || true" EXIT
		retry 10 test -S "$SMIGRATE_SOCKET"
	}
	assert_status 0 "$BUILD/smigrate" run "$@"
	ASKED=$(tail -n 1 "$TMP/requests" | python3 -c 'import json, sys; print(json.load(sys.stdin)["spec"]["strategy"])')
}

test_strategy() {
	printf 'services: {a: {image: /i, command: x}}\n' >"$TMP/plain.yaml"
	printf 'x-migrate: {strategy: level}\nservices: {a: {image: /i, command: x}}\n' >"$TMP/level.yaml"
	run_asks "$TMP/plain.yaml"
	assert_eq "$ASKED" stream
	run_asks "$TMP/level.yaml"
	assert_eq "$ASKED" level
	run_asks --strategy sequential "$TMP/level.yaml"
	assert_eq "$ASKED" sequential
}

# The folder for log files: made in the working directory or where it is wanted, and no reason to fail.
test_log_folder() {
	printf 'name: wf\nservices: {a: {image: /i, command: x}}\n' >"$TMP/w.yaml"
	export SLURM_JOB_ID=42
	mkdir "$TMP/here" "$TMP/there"
	cd "$TMP/here"
	run_asks --no-log ../w.yaml
	run_asks --log-dir "$TMP/there" ../w.yaml
	assert_eq "$(cd .. && echo here/* there/*)" 'here/* there/wf-42'
	run_asks ../w.yaml
	assert_eq "$(ls "$TMP/here")" wf-42
	run_asks ../w.yaml # as in the job's next life
	assert_eq "$OUTPUT" ''
	rmdir wf-42 && ln -s ../there wf-42
	run_asks ../w.yaml
	assert_contains "$OUTPUT" "no log files: ./wf-42 Not a directory; the job's output has all lines. --log-dir names another folder"
	run_asks --log-dir /no/folder ../w.yaml
	assert_contains "$OUTPUT" 'no log files: /no/folder/wf-42 No such file or directory'
	unset SLURM_JOB_ID # in no job: the daemon's answer is what counts
	rm wf-42
	run_asks ../w.yaml
	assert_eq "$(ls)$OUTPUT" ''
}

test_refused_leaves_no_folder() {
	printf 'name: wf\nservices: {a: {image: /i, command: x}}\n' >"$TMP/w.yaml"
	export SMIGRATE_SOCKET=$TMP/other.sock SLURM_JOB_ID=42
	echo '{"run": {"error": {"code": "EPERM", "message": "not yours"}}}' >"$TMP/replies2"
	python3 "$ROOT/tests/cli/fake_daemon.py" "$SMIGRATE_SOCKET" "$TMP/replies2" "$TMP/requests2" &
	# shellcheck disable=SC2064 # the id of now
	trap "kill $! 2>/dev/null || true" EXIT
	retry 10 test -S "$SMIGRATE_SOCKET"
	cd "$TMP"
	assert_status 4 "$BUILD/smigrate" run w.yaml
	[[ ! -e wf-42 ]] || fail 'an empty folder is left'
}

test_bad_strategy() {
	assert_status 2 "$BUILD/smigrate" run --strategy levle /no/file
	assert_contains "$OUTPUT" "there is no strategy 'levle'; did you mean 'level'?"
	assert_status 2 "$BUILD/smigrate" run --strategy fast /no/file
	assert_contains "$OUTPUT" "it must be stream, pipeline, level or sequential"
	assert_status 2 "$BUILD/smigrate" run --strategy
}

test_help() {
	assert_status 0 "$BUILD/smigrate" run --help
	assert_contains "$OUTPUT" 'usage: smigrate run'
	assert_contains "$OUTPUT" '--strategy NAME'
}

run_tests "$@"

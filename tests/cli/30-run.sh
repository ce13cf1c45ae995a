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

# ---- a plain script -----------------------------------------------------------------------------------------------------

# What a daemon answers that is asked to run the script; it is not root who asks, whose scripts are not taken.
script_daemon() { # REPLY
	export SMIGRATE_SOCKET=$TMP/script.sock
	echo "{\"run\": $1}" >"$TMP/script.replies"
	python3 "$ROOT/tests/cli/fake_daemon.py" "$SMIGRATE_SOCKET" "$TMP/script.replies" "$TMP/script.log" &
	# shellcheck disable=SC2064 # the id of now
	trap "kill $! 2>/dev/null || true" EXIT
	retry 10 test -S "$SMIGRATE_SOCKET"
	chmod 777 "$TMP" "$SMIGRATE_SOCKET"
}
a_script() {
	printf '#!/bin/bash\nprintf "it ran <%%s>" "$@"\nexit 7\n' >"$TMP/job.sh"
	chmod 755 "$TMP/job.sh"
	cd "$TMP"
}
as_user() { if [[ $EUID == 0 ]]; then setpriv --reuid 1000 --regid 1000 --clear-groups "$@"; else "$@"; fi; }

test_a_script_is_sent_as_it_is() {
	a_script
	script_daemon '{"ok": true, "done": true, "status": 5}'
	umask 027
	assert_status 5 as_user env -i SLURM_JOB_ID=42 SMIGRATE_SOCKET="$SMIGRATE_SOCKET" $'ODD=\xff\n' "$BUILD/smigrate" run \
		--strategy level --script "$TMP/job.sh" --quiet 'two words' ''
	assert_eq "$OUTPUT" ''
	python3 - "$TMP" <<-'PY'
		import base64, json, os, sys
		dir = sys.argv[1]
		asked = json.loads(open(dir + "/script.log").read().splitlines()[-1])
		assert asked["spec"]["strategy"] == "level" and asked["spec"]["services"][0]["script"] is True, asked
		assert base64.b64decode(asked["script"]["text"]) == open(dir + "/job.sh", "rb").read()
		call = base64.b64decode(asked["script"]["call"]).split(b"\0")
		assert call[:8] == [b"27", os.fsencode(os.path.realpath(dir)), b"", b"4", os.fsencode(dir + "/job.sh"), b"--quiet", b"two words", b""], call
		assert b"ODD=\xff\n" in call and call[-2:] == [b"SMIGRATE_SCRIPT=42", b""], call
	PY
}

test_a_script_that_is_refused_runs() {
	a_script
	script_daemon '{"error": {"code": "EUNSUP", "message": "not here"}}'
	assert_status 7 as_user "$BUILD/smigrate" run --script "$TMP/job.sh" 'an argument'
	assert_contains "$OUTPUT" 'not protected: not here'
	assert_contains "$OUTPUT" 'it ran <an argument>'
}

test_a_script_that_could_not_be_started_runs() {
	a_script
	script_daemon '{"ok": true, "done": true, "status": 125, "unstarted": true}'
	assert_status 7 as_user "$BUILD/smigrate" run --script "$TMP/job.sh"
	assert_contains "$OUTPUT" 'runs without protection'
}

test_no_script() {
	assert_status 2 "$BUILD/smigrate" run --script
	assert_contains "$OUTPUT" 'wants the script'
	cd /
	assert_status 126 env SMIGRATE_SOCKET=/none "$BUILD/smigrate" run --script /no/script
	assert_contains "$OUTPUT" 'cannot run /no/script: No such file or directory'
	assert_status 2 env SLURM_JOB_ID=42 SMIGRATE_SCRIPT=42 "$BUILD/smigrate" run x.yaml
	assert_contains "$OUTPUT" 'submit with --migrate=FILE'
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

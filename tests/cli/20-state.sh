#!/usr/bin/env bash
# smigrate status, show and history, against a daemon that answers from prepared documents.
# shellcheck source=tests/lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/../lib.sh"
# shellcheck source=tests/cli/daemon.sh
source "$(dirname "${BASH_SOURCE[0]}")/daemon.sh"

export TZ=UTC LC_ALL=C.UTF-8
SMIGRATE=$BUILD/smigrate

line() { # N: that line of $OUTPUT
	sed -n "$1p" <<<"$OUTPUT"
}

WORKFLOW='"id":"42.pipeline","rev":1,"job":42,"uid":2001,"gid":2001,"name":"pipeline","user":"user1","state":"running","node":"n2",
"restarts":1,"migrations":1,"exit_status":-1,"message":null,"created_us":1790000000000000,"updated_us":"@-125"'
SERVICES='"services":[
{"workflow":"42.pipeline","name":"fetch","idx":0,"state":"exited","node":"n1","health":null,"attempts":1,"exit_status":0,"image_bytes":0},
{"workflow":"42.pipeline","name":"cache","idx":1,"state":"running","node":"n2","health":"healthy","attempts":1,"exit_status":-1,"image_bytes":12400000},
{"workflow":"42.pipeline","name":"reduce","idx":2,"state":"running","node":"n2","health":null,"attempts":2,"exit_status":-1,"image_bytes":0,
 "message":"started again: it held an io_uring"}]'
STATUS='{"status":{"ok":true,"data":{"workflows":[{'$WORKFLOW','$SERVICES',"migration":null},
{"id":"43.x","job":43,"user":"user2","state":"saving","node":"n1","migrations":0,"updated_us":"@-1.5","services":[{"name":"a","state":"frozen","exit_status":-1}],
 "migration":{"id":"43.x.1","cause":"preempt","state":"saving","from_node":"n1","to_node":null,"signal_us":"@-2.5"}}]}}}'
MIGRATION='{"id":"42.pipeline.1","workflow":"42.pipeline","job":42,"user":"user1","cause":"preempt","state":"done","from_node":"n1","to_node":"n2",
"signal_us":1790000000000000,"deadline_us":1790000020000000,"saved_us":1790000000600000,"requeued_us":1790000000700000,"landed_us":1790000001500000,
"done_us":1790000002000000,"moved":1,"restarted":1,"bytes":12400000,"error":null,"downtime_us":1850000'
PHASES='"phases":[
{"service":"cache","phase":"freeze","attempt":1,"node":"n1","start_us":1790000000100000,"end_us":1790000000104000,"bytes":0,"error":null},
{"service":"cache","phase":"dump","attempt":1,"node":"n1","start_us":1790000000104000,"end_us":1790000000500000,"bytes":12400000,"error":null},
{"service":"reduce","phase":"dump","attempt":1,"node":"n1","start_us":1790000000104000,"end_us":1790000000300000,"bytes":0,"error":"io_uring"},
{"service":"*","phase":"pending","attempt":1,"node":"","start_us":1790000000700000,"end_us":1790000001500000,"bytes":0,"error":null},
{"service":"cache","phase":"restore","attempt":2,"node":"n2","start_us":1790000001600000,"end_us":1790000001950000,"bytes":0,"error":null}]'
SHOW='{"show":{"ok":true,"data":{"workflow":{'$WORKFLOW'},'$SERVICES',
"dependencies":[{"service":"cache","needs":"fetch"},{"service":"reduce","needs":"fetch"},{"service":"reduce","needs":"cache"}],
"migrations":['$MIGRATION','$PHASES'}],
"events":[{"node":"n1","time_us":1790000000000000,"level":"info","service":null,"text":"preempted"}]}}}'

test_status_lists_workflows() {
	daemon "$STATUS"
	assert_status 0 "$SMIGRATE" status
	assert_eq "$(line 1)" 'WORKFLOW     USER   STATE    NODE  SERVICES             MOVES  CHANGED    NOTE'
	assert_eq "$(line 2)" '42.pipeline  user1  running  n2    2 running, 1 exited      1  2 min ago'
	assert_contains "$(line 3)" '43.x         user2  saving   n1    1 frozen                 0  1 s ago    preempt: n1 -> ?, 2.'
	assert_contains "$(line 3)" 's so far'
	assert_eq "$(<"$TMP/requests")" '{"all": false, "job": 0, "op": "status"}'
}

test_status_of_a_job_lists_services() {
	daemon "$STATUS"
	assert_status 0 "$SMIGRATE" status 42
	assert_contains "$OUTPUT" '  SERVICE  STATE    NODE  HEALTH   STARTS  EXIT    SAVED  NOTE'
	assert_contains "$OUTPUT" '  fetch    exited   n1                  1     0        -'
	assert_contains "$OUTPUT" '  cache    running  n2    healthy       1        12.4 MB'
	assert_contains "$OUTPUT" 'started again: it held an io_uring'
	assert_eq "$(<"$TMP/requests")" '{"all": false, "job": 42, "op": "status"}'
}

test_nothing_is_said_in_words() {
	daemon '{"status":{"ok":true,"data":{"workflows":[]}},"history":{"ok":true,"data":{"migrations":[]}}}'
	assert_status 0 "$SMIGRATE" status
	assert_contains "$OUTPUT" 'No workflow runs or is on its way'
	assert_status 0 "$SMIGRATE" status --all
	assert_contains "$OUTPUT" 'No workflow is known.'
	assert_status 3 "$SMIGRATE" status 42
	assert_contains "$OUTPUT" 'no workflow of job 42'
	assert_status 0 "$SMIGRATE" history
	assert_contains "$OUTPUT" 'Nothing has been migrated yet.'
	assert_status 0 "$SMIGRATE" history --job 42
	assert_contains "$OUTPUT" 'Nothing of job 42 has been migrated.'
}

test_show_tells_a_migration_phase_by_phase() {
	daemon "$SHOW"
	assert_status 0 "$SMIGRATE" show 42
	assert_eq "$(line 1)" 'Workflow 42.pipeline: running on n2'
	assert_contains "$OUTPUT" '  job       42, restarted by Slurm 1 time, moved 1 time'
	assert_contains "$OUTPUT" 'fetch, cache'
	assert_contains "$OUTPUT" 'Migration 42.pipeline.1: preempt, n1 -> n2, done'
	assert_contains "$OUTPUT" '  signal    2026-09-21 14:13:20, grace ends +20.000 s, saved +0.600 s, requeued +0.700 s, landed +1.500 s, done +2.000 s'
	assert_contains "$OUTPUT" '  SERVICE  PHASE       NODE     START     TOOK     SIZE  TIME                                ERROR'
	assert_contains "$OUTPUT" '  cache    freeze      n1    +0.100 s  0.004 s        -  | =                              |'
	assert_contains "$OUTPUT" '  cache    dump        n1    +0.104 s   0.40 s  12.4 MB  | ========                       |'
	assert_contains "$OUTPUT" '  reduce   dump        n1    +0.104 s   0.20 s        -  | ===x                           |  io_uring'
	assert_contains "$OUTPUT" '  (all)    pending           +0.700 s   0.80 s        -  |           ==============       |'
	assert_contains "$OUTPUT" '  cache    restore #2  n2    +1.600 s   0.35 s        -  |                         ======='
	assert_contains "$OUTPUT" '  total     2.00 s from the signal to the end, services stood still for 1.85 s; 1 moved, 1 started again, 12.4 MB'
	assert_contains "$OUTPUT" '  2026-09-21 14:13:20  n1    info   preempted'
	assert_eq "$(<"$TMP/requests")" '{"id": "42", "op": "show"}'
}

test_show_without_a_migration() {
	daemon '{"show":{"ok":true,"data":{"workflow":{'"$WORKFLOW"'},"services":[],"dependencies":[],"migrations":[],"events":[]}}}'
	assert_status 0 "$SMIGRATE" show 42.pipeline
	assert_contains "$OUTPUT" 'It has not been migrated.'
}

test_history_lists_migrations() {
	daemon '{"history":{"ok":true,"data":{"migrations":['"$MIGRATION"'}]}}}'
	assert_status 0 "$SMIGRATE" history --job 42 -n 5
	assert_eq "$(line 1)" 'MIGRATION      USER   CAUSE    STATE  FROM -> TO  SIGNAL                TOTAL    DOWN  MOVED  RESTARTED     SIZE'
	assert_eq "$(line 2)" '42.pipeline.1  user1  preempt  done   n1 -> n2    2026-09-21 14:13:20  2.00 s  1.85 s      1          1  12.4 MB'
	assert_eq "$(<"$TMP/requests")" '{"job": 42, "limit": 5, "op": "history"}'
}

test_json_is_the_document() {
	daemon "${STATUS%\}},${SHOW#\{}"
	assert_status 0 "$SMIGRATE" status --json
	assert_eq "$(python3 -c 'import json,sys; print(json.load(sys.stdin)["workflows"][0]["services"][1]["image_bytes"])' <<<"$OUTPUT")" 12400000
	assert_status 0 "$SMIGRATE" show --json 42
	assert_eq "$(python3 -c 'import json,sys; print(json.load(sys.stdin)["migrations"][0]["phases"][1]["phase"])' <<<"$OUTPUT")" dump
}

# What a user wrote into a message must not steer an operator's terminal.
test_control_characters_are_not_printed() {
	daemon '{"status":{"ok":true,"data":{"workflows":[{"id":"42.\u001b[2Jx","user":"u\u009b1","state":"running","message":"a\nb\u0007","services":[]}]}}}'
	assert_status 0 "$SMIGRATE" status
	assert_contains "$OUTPUT" '42.?[2Jx'
	assert_contains "$OUTPUT" 'u?1'
	assert_contains "$OUTPUT" 'a?b?'
	assert_eq "$(tr -d '[:print:]\n' <<<"$OUTPUT")" ''
}

test_errors_of_the_daemon_are_passed_on() {
	daemon '{"show":{"error":{"code":"ENOENT","message":"nothing is known of 99"}},"status":{"error":{"code":"EPERM","message":"not yours"}}}'
	assert_status 3 "$SMIGRATE" show 99
	assert_eq "$OUTPUT" 'smigrate: nothing is known of 99'
	assert_status 4 "$SMIGRATE" status
	assert_status 2 "$SMIGRATE" history
}

test_a_daemon_that_is_away_is_no_riddle() {
	SMIGRATE_SOCKET=$TMP/nowhere assert_status 75 "$SMIGRATE" status
	assert_contains "$OUTPUT" 'smigrated does not answer'
	SMIGRATE_SOCKET=$TMP/nowhere assert_status 75 "$SMIGRATE" show 1
	SMIGRATE_SOCKET=$TMP/nowhere assert_status 75 "$SMIGRATE" history
}

test_a_daemon_that_talks_nonsense_is_survived() {
	daemon '{"status":"nonsense","show":"hang up","history":{"ok":true,"data":[]}}'
	assert_status 1 "$SMIGRATE" status
	assert_contains "$OUTPUT" 'smigrate: '
	"$SMIGRATE" show 1 2>"$TMP/err" && fail "show succeeded"
	assert_contains "$(<"$TMP/err")" 'smigrate: '
	assert_status 1 "$SMIGRATE" history
	assert_contains "$OUTPUT" 'no document'
	daemon_pid_of_test=$! && kill "$daemon_pid_of_test"
	rm "$SMIGRATE_SOCKET"
	# documents of the right kind with nothing right in them
	daemon '{"status":{"data":{"workflows":[1,{"services":7,"migration":[]},null]}},"show":{"data":{"migrations":[{"phases":[{}]},3]}},"history":{"data":{"migrations":[{},"x"]}}}'
	assert_status 0 "$SMIGRATE" status
	assert_status 0 "$SMIGRATE" show 1
	assert_status 0 "$SMIGRATE" history
}

test_bad_arguments() {
	export SMIGRATE_SOCKET=$TMP/nowhere
	assert_status 2 "$SMIGRATE" status --colour
	assert_contains "$OUTPUT" "cannot take '--colour'"
	assert_status 2 "$SMIGRATE" status x
	assert_contains "$OUTPUT" "'x' is no job"
	assert_status 2 "$SMIGRATE" status 0
	assert_status 2 "$SMIGRATE" status -1
	assert_status 2 "$SMIGRATE" status 99999999999999999999
	assert_status 2 "$SMIGRATE" status 1 2
	assert_status 2 "$SMIGRATE" show
	assert_status 2 "$SMIGRATE" show 1 2
	assert_status 2 "$SMIGRATE" show --all 1
	assert_status 2 "$SMIGRATE" history -n
	assert_status 2 "$SMIGRATE" history -n many
	assert_status 2 "$SMIGRATE" history --job ''
	assert_status 2 "$SMIGRATE" history 42
	assert_contains "$OUTPUT" "cannot take '42'"
}

test_help() {
	local c
	for c in status show history; do
		assert_status 0 "$SMIGRATE" "$c" --help
		assert_contains "$OUTPUT" "usage: smigrate $c"
		assert_contains "$OUTPUT" '--json'
	done
}

run_tests "$@"

#!/usr/bin/env bash
# smigrate move, cancel, drain and undrain, against a daemon that answers from prepared documents.
# shellcheck source=tests/lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/../lib.sh"
# shellcheck source=tests/cli/daemon.sh
source "$(dirname "${BASH_SOURCE[0]}")/daemon.sh"

SMIGRATE=$BUILD/smigrate

request() { sed -n "$1p" "$TMP/requests"; } # N

MOVE='"move":{"ok":true,"data":{"job":42,"from":"n1","to":"n2","moves":[{"workflow":"42.w","migration":"42.w.1"}]}}'
migration() { # STATE TO ERROR WORKFLOW-STATE: the answer to "show"
	printf '"show":{"ok":true,"data":{"workflow":{"state":"%s"},"migrations":[{"id":"42.w.1","state":"%s","from_node":"n1","to_node":"%s",
		"error":"%s","signal_us":1000000,"done_us":3000000,"downtime_us":1500000}]}}' "$4" "$1" "$2" "$3"
}

test_move_waits_for_the_end() {
	daemon "{$MOVE,$(migration done n2 '' running)}"
	assert_status 0 "$SMIGRATE" move 42
	assert_eq "$OUTPUT" "$(printf 'job 42 moves from n1 to n2\n42.w.1: runs on n2 after 2.00 s, stopped for 1.50 s')"
	assert_eq "$(request 1)" '{"dry_run": false, "job": 42, "op": "move", "to": ""}'
	assert_status 0 "$SMIGRATE" move --to n2 --json 42
	assert_eq "$(jq -c '[.job, .from, .to, .migrations[0].state]' <<<"$OUTPUT")" '[42,"n1","n2","done"]'
	assert_status 0 "$SMIGRATE" move --no-wait 42
	assert_eq "$OUTPUT" 'job 42 moves from n1 to n2'
}

test_move_that_lands_elsewhere() {
	daemon "{$MOVE,$(migration done n3 '' running)}"
	assert_status 0 "$SMIGRATE" move 42
	assert_contains "$OUTPUT" 'runs on n3 after 2.00 s, stopped for 1.50 s; Slurm did not start it on n2'
}

test_move_that_comes_back() {
	daemon "{$MOVE,$(migration failed n2 'called off by its owner' running)}"
	assert_status 1 "$SMIGRATE" move 42
	assert_contains "$OUTPUT" 'smigrate: 42.w.1: called off by its owner'
	assert_status 1 "$SMIGRATE" move --json 42
}

test_job_that_ends_on_the_way() {
	daemon "{$MOVE,$(migration saved n2 '' stopped)}"
	assert_status 1 "$SMIGRATE" move 42
	assert_contains "$OUTPUT" 'the job ended on the way'
}

test_dry_run_prints_the_plan() {
	daemon '{"move":{"ok":true,"data":{"job":42,"from":"n1","to":"n2","plans":[{"workflow":"42.w","from":"n1","to":"n2","why":"over the network",
		"stream_limit":1,"safe_s":0.5,"total_s":1.5,"services":[{"service":"a","memory":1000000,"stream_start_s":0.0,"stream_end_s":0.5,
		"restore_start_s":1.0,"restore_end_s":1.5}]}]}}}'
	assert_status 0 "$SMIGRATE" move --dry-run 42
	assert_contains "$OUTPUT" '42.w: from n1 to n2, 1 at one time'
	assert_eq "$(request 1)" '{"dry_run": true, "job": 42, "op": "move", "to": ""}'
}

test_cancel() {
	daemon '{"cancel":{"ok":true,"data":{"job":42,"node":"n1","migrations":["42.w.1"]}}}'
	assert_status 0 "$SMIGRATE" cancel 42.w.1
	assert_eq "$OUTPUT" 'job 42 stays on n1'
	assert_eq "$(request 1)" '{"dry_run": false, "id": "42.w.1", "op": "cancel"}'
}

drain_doc() { # RUNNING BUSY STAY: the answer
	printf '{"ok":true,"data":{"node":"n1","drained":true,"busy":%s,"reason":"smigrate: fan","running":%s,"stay":0,"jobs":[
		{"job":7,"user":"u\\u001b","name":"a","state":"left","to":"n2","why":""},
		{"job":8,"user":"u","name":"b","state":"%s","to":"n3","why":"%s"}]}}' "$2" "$1" "$3" "$([[ $3 == left ]] || echo nowhere)"
}

test_drain() {
	daemon "{\"drain\":$(drain_doc true true waits),\"drain_look\":$(drain_doc false false left)}"
	assert_status 0 "$SMIGRATE" drain --wait --reason fan n1
	assert_contains "$OUTPUT" 'job 7 (u?, a) has left for n2'
	assert_contains "$OUTPUT" 'job 8 (u, b) waits: nowhere'
	assert_contains "$OUTPUT" 'job 8 (u, b) has left for n3'
	assert_contains "$OUTPUT" 'n1 is empty and drained: smigrate: fan'
	assert_eq "$(request 1)" '{"dry_run": false, "node": "n1", "op": "drain", "reason": "fan"}'
	assert_status 0 "$SMIGRATE" drain n1
	[[ $OUTPUT != *empty* ]] || fail "it is not empty yet: $OUTPUT"
}

test_drain_with_one_that_stays() {
	daemon "{\"drain\":$(drain_doc true true waits),\"drain_look\":$(drain_doc false true stays)}"
	assert_status 5 "$SMIGRATE" drain --wait n1
	assert_contains "$OUTPUT" 'job 8 (u, b) stays: nowhere'
	assert_contains "$OUTPUT" '1 of its jobs stays'
	assert_status 5 "$SMIGRATE" drain --wait --json n1
	assert_eq "$(jq -r '.jobs[1].state' <<<"$OUTPUT")" stays
}

test_undrain() {
	daemon '{"undrain":{"ok":true,"data":{"node":"n1","reason":"smigrate: fan","resumed":true}}}'
	assert_status 0 "$SMIGRATE" undrain --force n1
	assert_eq "$OUTPUT" 'n1 is resumed; it was drained for: smigrate: fan'
	assert_eq "$(request 1)" '{"dry_run": false, "force": true, "node": "n1", "op": "undrain"}'
}

test_refusals_and_bad_arguments() {
	daemon '{"move":{"error":{"code":"EPERM","message":"job 42 is held"}},"drain":{"error":{"code":"EPERM","message":"root alone"}}}'
	assert_status 4 "$SMIGRATE" move 42
	assert_eq "$OUTPUT" 'smigrate: job 42 is held'
	assert_status 4 "$SMIGRATE" drain --dry-run n1
	for command in move cancel drain undrain; do
		assert_status 0 "$SMIGRATE" "$command" --help
		assert_contains "$OUTPUT" "usage: smigrate $command"
		assert_status 2 "$SMIGRATE" "$command"
		assert_status 2 "$SMIGRATE" "$command" 1 2
		assert_status 2 "$SMIGRATE" "$command" --colour 1
		SMIGRATE_SOCKET=$TMP/nowhere assert_status 75 "$SMIGRATE" "$command" 1
	done
	assert_status 2 "$SMIGRATE" move n1
	assert_status 2 "$SMIGRATE" move --to
	assert_status 2 "$SMIGRATE" undrain --wait n1
}

run_tests "$@"

#!/usr/bin/env bash
# smigrate gc, rebuild, backup and doctor --state: what they print of a daemon's documents, and a copy of a real file.
# shellcheck source=tests/lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/../lib.sh"
# shellcheck source=tests/cli/daemon.sh
source "$(dirname "${BASH_SOURCE[0]}")/daemon.sh"

export TZ=UTC LC_ALL=C.UTF-8
SMIGRATE=$BUILD/smigrate

test_gc_says_what_would_go() {
	local now
	now=$(date +%s)000000
	daemon '{"gc":{"ok":true,"data":{"node":"n1","dry_run":true,"freed":0,"kept":[
		{"workflow":"7.w","job":7,"user":"anna","state":"failed","bytes":3000000,"ended_us":'$((now - 3600000000))',"until_us":'$((now - 1))',"drop":"KeepFailed is over"},
		{"workflow":"8.w","job":8,"user":"ben","state":"stopped","bytes":5000000,"ended_us":'$((now - 3600000000))',"until_us":'$((now + 7200000000))'}],
		"strays":[{"path":"/var/lib/smigrate/w/9.w","bytes":1000,"since_us":'$((now - 86400000000))',"drop":"it belongs to no workflow"}]}}}'
	assert_status 0 "$SMIGRATE" gc --dry-run
	assert_contains "$OUTPUT" 'would go: KeepFailed is over'
	assert_contains "$OUTPUT" 'kept for another'
	assert_contains "$OUTPUT" "/var/lib/smigrate/w/9.w"
	assert_contains "$OUTPUT" "would go: it belongs to no workflow"
	assert_eq "$(<"$TMP/requests")" '{"dry_run": true, "op": "gc"}'
}

test_gc_of_nothing() {
	daemon '{"gc":{"ok":true,"data":{"node":"n1","dry_run":false,"freed":0,"kept":[],"strays":[]}}}'
	assert_status 0 "$SMIGRATE" gc
	assert_eq "$OUTPUT" 'Nothing is kept on n1.'
}

test_rebuild_names_who_is_away() {
	daemon '{"rebuild":{"ok":true,"data":{"workflows":3,"migrations":2,"events":9,"nodes":[{"node":"n1","workflows":3,"migrations":2,"events":9},{"node":"n2","error":"refused"}]}}}'
	assert_status 75 "$SMIGRATE" rebuild
	assert_contains "$OUTPUT" 'n2 does not answer: refused'
	assert_contains "$OUTPUT" '3 workflows, 2 migrations, 9 events of 1 nodes'
}

test_the_state_of_all() {
	daemon '{"doctor_state":{"ok":true,"data":{"node":"n1","version":"x","checks":[{"check":"twice","level":"error","text":"service a of 7.w computes on n1 and on n2"}]}}}'
	assert_status 1 "$SMIGRATE" doctor --state
	assert_contains "$OUTPUT" 'error    twice      service a of 7.w computes on n1 and on n2'
	assert_eq "$(<"$TMP/requests")" '{"op": "doctor_state"}'
}

test_the_state_is_not_for_all() {
	daemon '{"doctor_state":{"error":{"code":"EPERM","message":"that is for root and SlurmUser"}}}'
	assert_status 4 "$SMIGRATE" doctor --state
	assert_contains "$OUTPUT" 'that is for root and SlurmUser'
}

conf() { printf 'StateDir=%s\nNodeName=n1\nStateHost=ctl\n' "$TMP/state" >"$TMP/conf"; }

test_a_copy_is_whole() {
	[[ $(id -u) == 0 ]] || skip 'not root'
	conf
	mkdir "$TMP/state"
	sqlite3 "$TMP/state/state.db" 'PRAGMA journal_mode = WAL; CREATE TABLE t (a); INSERT INTO t VALUES (42)' >/dev/null
	assert_status 0 "$SMIGRATE" backup -c "$TMP/conf" "$TMP/copy"
	assert_contains "$OUTPUT" 'checked'
	assert_eq "$(sqlite3 "$TMP/copy" 'SELECT a FROM t')" 42
	assert_eq "$(stat -c %a "$TMP/copy")" 600
	assert_eq "$(cd "$TMP" && echo copy*)" copy 'files'
	assert_status 2 "$SMIGRATE" backup -c "$TMP/conf" "$TMP/copy"
	assert_contains "$OUTPUT" 'exists: give the copy another name'
}

test_a_damaged_file_gives_no_copy() {
	[[ $(id -u) == 0 ]] || skip 'not root'
	conf
	mkdir "$TMP/state"
	sqlite3 "$TMP/state/state.db" 'CREATE TABLE t (a); WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n LIMIT 5000) INSERT INTO t SELECT hex(randomblob(40)) FROM n'
	dd if=/dev/urandom of="$TMP/state/state.db" bs=4096 seek=20 count=4 conv=notrunc status=none
	assert_status 1 "$SMIGRATE" backup -c "$TMP/conf" "$TMP/copy"
	assert_contains "$OUTPUT" 'damaged'
	[[ ! -e $TMP/copy && ! -e $TMP/copy.part ]] || fail 'a copy is left'
}

test_no_state_here() {
	[[ $(id -u) == 0 ]] || skip 'not root'
	conf
	assert_status 3 "$SMIGRATE" backup -c "$TMP/conf" "$TMP/copy"
	assert_contains "$OUTPUT" 'the state is kept on ctl'
}

run_tests "$@"

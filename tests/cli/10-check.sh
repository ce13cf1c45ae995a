#!/bin/bash
# smigrate check: what it prints, where it points, how it ends.
# shellcheck source=tests/lib.sh
source "$(dirname "$0")/../lib.sh"

check() { "$BUILD/smigrate" check "$@"; }

diamond() {
	cat >"$TMP/diamond.yaml" <<'END'
services:
  join: {image: /i, command: x, depends_on: [left, right]}
  left: {image: /i, command: x, depends_on: {top: {condition: service_completed_successfully}}}
  right: {image: /i, command: x, depends_on: {top: {condition: service_healthy}}}
  top: {image: /i, command: x, healthcheck: {test: x}}
END
}

test_prints_levels() {
	diamond
	assert_status 0 check "$TMP/diamond.yaml"
	assert_contains "$OUTPUT" "4 services in 3 levels"
	assert_contains "$OUTPUT" "    1  top      -
    2  left     top has completed
    2  right    top is healthy
    3  join     left, right"
}

test_quiet_says_nothing_when_well() {
	diamond
	assert_status 0 check --quiet "$TMP/diamond.yaml"
	assert_eq "$OUTPUT" ""
}

test_json() {
	diamond
	(cd "$TMP" && check --json diamond.yaml | tr -d ' \n' >out)
	assert_contains "$(cat "$TMP/out")" '"ok":true'
	assert_contains "$(cat "$TMP/out")" '"order":["top","left","right","join"]'
	assert_contains "$(cat "$TMP/out")" '"levels":[["top"],["left","right"],["join"]]'
}

test_errors_point_at_their_place() {
	printf 'services:\n  a:\n    image: /i\n    comand: x\n' >"$TMP/w.yaml"
	assert_status 2 check "$TMP/w.yaml"
	assert_eq "$OUTPUT" "$TMP/w.yaml:2:3: error: service 'a' has no 'command': a folder has no default one as a registry's image has
    a:
    ^
$TMP/w.yaml:4:5: error: unknown key 'comand'; did you mean 'command'?
      comand: x
      ^"
}

test_errors_go_to_stderr_also_when_quiet() {
	echo 'services: {a: }' >"$TMP/w.yaml"
	assert_status 2 check -q "$TMP/w.yaml"
	assert_contains "$OUTPUT" "w.yaml:1:15: error:"
	assert_eq "$(check -q "$TMP/w.yaml" 2>/dev/null || true)" ""
}

test_errors_as_json() {
	echo 'services: {a: }' >"$TMP/w.yaml"
	assert_status 2 check --json "$TMP/w.yaml"
	assert_contains "$(tr -d ' \n' <<<"$OUTPUT")" '"ok":false,"errors":[{"line":1,"column":15,'
}

test_a_cycle_is_named_in_full() {
	cat >"$TMP/w.yaml" <<'END'
services:
  a: {image: /i, command: x, depends_on: [b]}
  b: {image: /i, command: x, depends_on: [c]}
  c: {image: /i, command: x, depends_on: [a]}
END
	assert_status 2 check "$TMP/w.yaml"
	assert_contains "$OUTPUT" "w.yaml:2:43: error: these services wait for one another and none can start: a -> b -> c -> a"
}

test_relative_paths_are_those_of_the_file() {
	mkdir "$TMP/f"
	echo 'services: {a: {image: ./i, command: x}}' >"$TMP/f/w.yaml"
	cd "$TMP/f"
	assert_status 0 check w.yaml
	assert_contains "$OUTPUT" "f: 1 service in 1 level"
}

test_missing_file() {
	assert_status 3 check "$TMP/none.yaml"
	assert_contains "$OUTPUT" "none.yaml: No such file"
}

# Root reads everything; and others may not be able to reach a checkout of root's.
test_unreadable_file() {
	echo x >"$TMP/w.yaml"
	chmod 0 "$TMP/w.yaml"
	if [[ $EUID != 0 ]]; then
		assert_status 4 check "$TMP/w.yaml"
		return
	fi
	install -m 755 "$BUILD/smigrate" "$TMP/smigrate"
	chmod 755 "$TMP"
	assert_status 4 setpriv --reuid=65534 --clear-groups "$TMP/smigrate" check "$TMP/w.yaml"
}

test_folder_instead_of_a_file() {
	assert_status 1 check "$TMP"
	assert_contains "$OUTPUT" "smigrate: "
}

test_too_large_a_file() {
	head -c 10485761 /dev/zero >"$TMP/w.yaml"
	assert_status 2 check "$TMP/w.yaml"
}

test_binary_file() {
	printf 'a: b\0\n' >"$TMP/w.yaml"
	assert_status 2 check "$TMP/w.yaml"
	assert_contains "$OUTPUT" ":1:5: error: a NUL byte"
}

test_no_escape_sequence_reaches_the_terminal() {
	printf 'services: {"a\\e[2J": {}}\n' >"$TMP/w.yaml"
	assert_status 2 check "$TMP/w.yaml"
	[[ $OUTPUT != *$'\e'* ]] || fail "an escape character in the output"
}

test_command_line() {
	assert_status 0 check --help
	assert_contains "$OUTPUT" "usage: smigrate check"
	assert_status 2 check
	assert_status 2 check --nonsense x
	assert_status 2 check a b
}

test_examples_are_well() {
	local file n=0
	for file in "$ROOT"/workflows/*/workflow.yaml; do
		assert_status 0 check "$file"
		n=$((n + 1))
	done
	((n >= 3)) || fail "only $n examples"
}

test_ten_thousand_services() {
	awk 'BEGIN {
		print "services:"
		for (i = 0; i < 10000; i++) {
			printf "  worker-%d:\n    image: /i\n    command: [run, \"%d\"]\n    volumes: [\".:/work\"]\n", i, i
			if (i) printf "    depends_on: {worker-%d: {condition: service_completed_successfully}}\n", int(i / 2)
		}
	}' >"$TMP/w.yaml"
	assert_status 0 check "$TMP/w.yaml"
	assert_contains "$OUTPUT" "10000 services in 15 levels"
}

run_tests "$@"

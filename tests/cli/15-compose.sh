#!/bin/bash
# Compose files as people write them (tests/cli/compose): each is accepted, or every one of its problems is told in words that one
# can act on. What is to be said of a file stands at its head, `# expect: ...`; of images in a registry it goes without saying.
# shellcheck source=tests/lib.sh
source "$(dirname "$0")/../lib.sh"

FILES=$ROOT/tests/cli/compose
# shellcheck disable=SC2016 # dollars that smigrate is to read
ENV_FILE='# of all\nLEVEL=info # quiet\nGREETING="hello $MODE"\n' WITH_VARIABLE='services: {a: {image: "./${IMG}", command: x}}\n'

# The folder that these files would lie in.
folder() {
	mkdir -p "$TMP/project/secrets"
	cd "$TMP/project"
	printf '%b' "$ENV_FILE" >common.env
	printf "RAW='as it is' \$HOME\n" >raw.env
	printf 'TAG=2\nRUN_AS=%s\n' "$(id -u)" >.env
	export MODE='test' HOME=/home/me
	unset OWNER KEY DB_PASSWORD PORT DEBUG REDIS_TAG DATA THREADS RANKS SECRETS WORKERS TOKEN HALF TAG RUN_AS
}

errors_of() { # FILE; one a line, LINE:COLUMN: error: ...
	{ "$BUILD/smigrate" check --quiet "$1" 2>&1 || true; } | sed -n "s|^$1:\([0-9]*:[0-9]*: error: \)|\1|p"
}
status_of() { # FILE
	local status=0
	"$BUILD/smigrate" check --quiet "$1" >/dev/null 2>&1 || status=$?
	echo "$status"
}

# Every expectation is met by one error, and every error is expected by one. Leaves how many there were in $EXPECTED.
compare() { # FILE ERRORS
	local expected line found error errors=()
	mapfile -t expected < <(sed -n 's/^# expect: //p' "$1")
	[[ -z $2 ]] || mapfile -t errors <<<"$2"
	for line in "${expected[@]}"; do
		found=
		for error in "${!errors[@]}"; do
			if [[ -z $found && ${errors[error]} == *"$line"* ]]; then
				found=$error
			fi
		done
		[[ -n $found ]] || fail "${1##*/}: nobody says '$line' in: $2"
		unset "errors[found]"
	done
	((${#errors[@]} == 0)) || fail "${1##*/}: nobody expects: ${errors[*]}"
	EXPECTED=${#expected[@]}
}

from_registry='^ *image: "?[a-z]'
check_file() { # NAME
	local errors images told status
	cp "$FILES/$1.yaml" "$1.yaml"
	# as it is: each image of a registry is one problem more, with what to do
	images=$(grep -c -E "$from_registry" "$1.yaml" || true)
	errors=$(errors_of "$1.yaml")
	told=$(grep -c 'looks like the name of an image in a registry, and nothing is pulled here: copy it to an OCI layout (skopeo copy docker:' <<<"$errors" || true)
	[[ $told == "$images" ]] || fail "$1: $told of $images images of a registry are told: $errors"
	compare "$1.yaml" "$(grep -v 'image in a registry' <<<"$errors" || true)"
	status=$(status_of "$1.yaml")
	[[ $status == "$((EXPECTED + images ? 2 : 0))" ]] || fail "$1: exit status $status"
	# and with the images unpacked
	sed -E "s|$from_registry.*|    image: ./rootfs|" "$1.yaml" >unpacked.yaml
	compare "$1.yaml" "$(errors_of unpacked.yaml)"
	[[ $(status_of unpacked.yaml) == "$((EXPECTED ? 2 : 0))" ]] || fail "$1: not well with its images unpacked"
	echo "$1: $EXPECTED problems, $images images of a registry"
}

test_every_file() {
	local file n=0
	folder
	for file in "$FILES"/*.yaml; do
		check_file "$(basename "$file" .yaml)"
		n=$((n + 1))
	done
	((n >= 20)) || fail "only $n files"
}

# The same files, told as JSON: nothing in them is lost on a program.
test_problems_as_json() {
	local file
	folder
	for file in "$FILES"/*.yaml; do
		cp "$file" one.yaml
		"$BUILD/smigrate" check --json one.yaml >out.json 2>/dev/null || true
		python3 -c 'import json, sys
d = json.load(open("out.json"))
assert d["ok"] or all(e["message"] and e["line"] > 0 for e in d["errors"]), d' || fail "${file##*/}: $(cat out.json)"
	done
}

# A variable that makes a file well or not.
test_env_beside_the_file() {
	folder
	printf '%b' "$WITH_VARIABLE" >w.yaml
	assert_status 2 "$BUILD/smigrate" check w.yaml
	assert_contains "$OUTPUT" "w.yaml:1:23: error: the variable IMG is not set, neither in the environment nor in .env: set it, or write \${IMG:-DEFAULT}"
	echo 'IMG=rootfs' >.env
	assert_status 0 "$BUILD/smigrate" check w.yaml
	echo 'IMG="rootfs' >.env
	assert_status 2 "$BUILD/smigrate" check w.yaml
	assert_contains "$OUTPUT" "w.yaml: error: .env, line 1: a quotation mark that is never closed"
	IMG=other assert_status 0 "$BUILD/smigrate" check w.yaml
}

run_tests "$@"

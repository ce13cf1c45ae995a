# shellcheck shell=bash
# Helpers for tests in bash. A test file sources this, defines functions test_*, and ends with: run_tests "$@"
#
# Each test runs in a bash of its own (set -eEu -o pipefail) with a folder of its own ($TMP), in the order of the file,
# and for at most $TEST_TIMEOUT seconds (300, against what hangs; a test of its own mind sets TIMEOUT_test_name=SECONDS).
# run_tests prints TAP; below a `not ok` stand the failing command and the test's output.

ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
BUILD=${BUILD:-$ROOT/build}
[[ $BUILD == /* ]] || BUILD=$ROOT/$BUILD
export ROOT BUILD
export BOX=${BOX:-box}
SKIPPED=77

fail() {
	echo "FAIL: $*"
	exit 1
}

skip() {
	echo "$*" >"$TMP/.skip"
	exit "$SKIPPED"
}

assert_eq() { # GOT WANTED [WHAT]
	[[ $1 == "$2" ]] || fail "${3:-value}: got '$1', wanted '$2'"
}

assert_contains() { # TEXT PART
	[[ $1 == *"$2"* ]] || fail "'$2' is not in: $1"
}

# Runs CMD and leaves what it wrote, on both, in $OUTPUT.
assert_status() { # WANTED CMD...
	local wanted=$1 status=0
	shift
	OUTPUT=$("$@" 2>&1) || status=$?
	[[ $status == "$wanted" ]] || fail "exit status $status, wanted $wanted, of: $* ($OUTPUT)"
}

# Tries CMD again and again until it succeeds; fails when it has not within SECONDS. A machine that stands still for a
# while (a paused guest) is no program that hangs: one try counts for five seconds at most.
retry() { # SECONDS CMD...
	local left=$(($1 * 1000000)) before=${EPOCHREALTIME/[.,]/} now took
	shift
	until "$@"; do
		now=${EPOCHREALTIME/[.,]/}
		took=$((now - before)) before=$now
		((left -= took < 5000000 ? took : 5000000, left > 0)) || return 1
		sleep 0.1
	done
}

# ---- the box -------------------------------------------------------------------------------------------------------

box() { "${CLUSTER:-$ROOT/tests/box/box}" "$@"; } # or tests/vm/vm
box_exec() { box exec "$1" -- "${@:2}"; }                # NODE CMD...
box_as() { box exec "$2" --user "$1" -- "${@:3}"; }      # USER NODE CMD...
submit_as() { box_as "$1" ctl sbatch --parsable "${@:2}"; } # USER SBATCH-ARG...; prints the job's id

job_field() { # JOB FIELD
	box_exec ctl scontrol show job -o "$1" | tr ' ' '\n' | sed -n "s/^$2=//p" | head -n 1
}

# What Slurm calls the job's cgroup, as a regular expression: from 26.05 on by a SLUID.
job_cgroup_name() { echo "(job_$1|s[0-9A-Z]{13})"; } # JOB

job_state() { job_field "$1" JobState; }
job_is() { [[ $(job_state "$1") == "$2" ]]; }

wait_job_state() { # JOB STATE SECONDS
	retry "$3" job_is "$1" "$2" ||
		fail "job $1 is $(job_state "$1") ($(job_field "$1" Reason)) after $3 s, wanted $2"
}

# A box of the file's own beside the one that is up, for as long as the file runs: call it right before run_tests.
own_box() { # NAME UP-ARG...
	[[ -z ${OWN_BOX-} ]] || return 0 # the bash of one test
	export OWN_BOX=1 BOX=$BOX-$1
	shift
	trap 'box down' EXIT
	box up "$@" || exit 1
}

# No job of the test before is left, and every node is free.
clear_jobs() {
	box_exec ctl sh -c 'squeue -h -o %A | xargs -r scancel' || true
	retry 60 no_jobs && return 0
	what_remains
	fail "jobs do not go away: $(box_exec ctl squeue -h)"
}
# On each node that still has a job: its processes, what each of them waits for, and what its daemons said last.
what_remains() {
	local node
	for node in $(box_exec ctl sh -c 'squeue -h -o %N | xargs -r -n 1 scontrol show hostnames | sort -u'); do
		# shellcheck disable=SC2016 # for the node's shell
		box_exec "$node" sh -c '
			ps -eo pid,ppid,pgid,stat,wchan:24,etimes,args --cols 160
			for log in slurmd smigrated; do tail -n 12 /var/log/$log.log; done' 2>&1 | sed "s/^/$node: /"
	done
}
no_jobs() { [[ -z $(box_exec ctl squeue -h) ]]; }

# ---- running -------------------------------------------------------------------------------------------------------

# bash lists functions by the alphabet; a file is read from the top
tests_in_order() {
	local name
	shopt -s extdebug
	for name in $(compgen -A function test_); do declare -F "$name"; done | sort -n -k 2 | cut -d ' ' -f 1
	shopt -u extdebug
}

run_one() {
	set -eEu -o pipefail
	trap 'echo "FAILED (exit $?) at ${BASH_SOURCE[0]##*/}:$LINENO: $BASH_COMMAND"' ERR
	"$1"
}

report() { # NUMBER NAME STATUS LIMIT LOG TOOK
	local number=$1 name=$2 status=$3
	case $status in
	0) echo "ok $number - $name # $6 s" ;;
	"$SKIPPED") echo "ok $number - $name # SKIP $(cat "$TMP/.skip" 2>/dev/null)" ;;
	*)
		echo "not ok $number - $name # $6 s"
		[[ $status != 124 && $status != 137 ]] || echo "# did not end within $4 s"
		sed 's/^/#   /' "$5"
		;;
	esac
	[[ $status == 0 || $status == "$SKIPPED" ]]
}

run_tests() { # [NAME-PATTERN...]
	local names=() name number=0 failed=0 status limit limit_name log start took
	if [[ ${1-} == --one ]]; then
		run_one "$2"
		return
	fi
	mapfile -t names < <(tests_in_order | grep -E -- "$(IFS='|'; echo "${*:-.}")")
	echo "1..${#names[@]}"
	for name in "${names[@]}"; do
		number=$((number + 1)) status=0
		limit_name=TIMEOUT_$name
		limit=${!limit_name:-${TEST_TIMEOUT:-300}}
		TMP=$(mktemp -d "${TMPDIR:-/tmp}/smigrate-test.XXXXXX")
		export TMP
		log=$TMP/.log
		start=${EPOCHREALTIME/[.,]/}
		timeout -k 5 "$limit" bash "$0" --one "$name" >"$log" 2>&1 </dev/null || status=$?
		took=$(((${EPOCHREALTIME/[.,]/} - start) / 100000))
		report "$number" "$name" "$status" "$limit" "$log" "$((took / 10)).$((took % 10))" || failed=1
		rm -rf "$TMP"
	done
	return "$failed"
}

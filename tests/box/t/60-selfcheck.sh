#!/bin/bash
# What a service may hold, each thing in a container of its own that looks at it all the time: moved twice, and nothing changes
# but what workflows/SURVIVES.md says. Needs a box that is up (tests/run box).
# shellcheck source=../../lib.sh
. "$(dirname "$0")/../../lib.sh"
# shellcheck source=workflow.sh
. "$(dirname "$0")/workflow.sh"
# shellcheck source=objects.sh
. "$(dirname "$0")/objects.sh"

W=/var/lib/smigrate/sc # the services' own folders, and what became of them: on a plain file system

# Runs in the node: starts an object's service, moves it, or tries to. Leaves NAME.out, what the service said, with a line MOVED
# for each move; NAME.log, what else there is to say; and NAME.status.
write_case() {
	box_exec n1 tee "$TOP/bin/case.sh" >/dev/null <<'SH'
dir=$1 top=$2 how=$3 name=$4 run=/run/smigrate-sc user=(uid=2001 gid=2001 group=2100)
out=$dir/$name.out
drive() { "$top/bin/drive_runtime" "$run" "$top/bin/smigrate-shim" "$@"; }
launch() {
	drive "$1" "$name" "$dir/$name" "$top/image" "${user[@]}" out="$out" net=none env=SELFCHECK='a value' -- /selfcheck "$name"
}
count() { sed -n "s/^$name | \([0-9]*\)\$/\1/p" "$out" | tail -n 1; }
counts_on() { # three times more
	local want=$(($(count) + 3)) i
	for ((i = 0; i < 600; i++)); do
		(($(count) + 0 < want)) || return 0
		sleep 0.05
	done
	echo "it stands still: $(tail -n 3 "$out")"
	return 1
}
# CRIU restores it as on a node that has been up for so much longer.
move() { # SECONDS
	local path=$PATH
	drive dump "$name" "$dir/$name/images" && drive cleanup "$name" || return 1
	mkdir -p "$dir/$name/bin"
	printf '#!/bin/sh\nexec unshare --time --monotonic %s --boottime %s %s "$@"\n' "$1" "$1" "$(command -v criu)" >"$dir/$name/bin/criu"
	chmod 755 "$dir/$name/bin/criu"
	PATH=$dir/$name/bin:$PATH
	if ! launch restore; then
		grep -h Error "$run/c/$name/work/restore.log" | head -n 5
		return 1
	fi
	PATH=$path
	counts_on && echo MOVED >>"$out"
}
moves() { echo MOVED >>"$out" && move 1000000 && move -100; }
refuses() { ! drive dump "$name" "$dir/$name/images" && counts_on; }

exec >"$dir/$name.log" 2>&1
drive cleanup "$name"
rm -rf "${dir:?}/$name" "$out"
mkdir -p -m 700 "$dir/$name"
launch run && counts_on && "$how"
echo $? >"$dir/$name.status"
drive cleanup "$name"
rm -rf "${dir:?}/$name"
SH
}

test_00_build() {
	box_exec n1 sh -ec "rm -rf /tmp/sc-src $TOP $W; mkdir -p /tmp/sc-src $TOP/bin $W"
	tar -C "$ROOT" -cf - Makefile core tests/box | box_exec n1 tar -C /tmp/sc-src -xf -
	box_exec n1 sh -ec "cd /tmp/sc-src; make -s -j2 BUILD=b b/smigrate-shim b/smigrate-post-dump b/tests/box/drive_runtime b/tests/box/selfcheck/selfcheck
		cp b/smigrate-shim b/smigrate-post-dump b/tests/box/drive_runtime b/tests/box/selfcheck/selfcheck $TOP/bin; rm -rf /tmp/sc-src"
	object_image
	write_case
}

test_01_nothing_is_left_out() {
	assert_eq "$(box_exec n1 "$TOP/bin/selfcheck" --list | sort | xargs)" \
		"$(printf '%s\n' "${MOVES[@]}" "${!LOSES[@]}" "${!REFUSED[@]}" | sort | xargs)" 'objects, and what is said of them'
}

# Three at a time; the tests that follow look at what became of each.
test_02_run_all() {
	box exec n1 -- xargs -P 3 -L 1 bash "$TOP/bin/case.sh" "$W" "$TOP" < <(
		printf 'moves %s\n' "${MOVES[@]}" "${!LOSES[@]}"
		printf 'refuses %s\n' "${!REFUSED[@]}"
	)
}

outcome() { # HOW NAME: its output in $TMP/out
	box_exec n1 test -e "$W/$2.status" || box_exec n1 bash "$TOP/bin/case.sh" "$W" "$TOP" "$1" "$2"
	box_exec n1 cat "$W/$2.log"
	box_exec n1 cat "$W/$2.out" >"$TMP/out"
	assert_eq "$(box_exec n1 cat "$W/$2.status")" 0 "status of $2"
}
moves() { # NAME
	outcome moves "$1"
	assert_one_life "$1" 9
	assert_faults "$1" $'MOVED\nMOVED\nMOVED'
}
loses() { # NAME
	outcome moves "$1"
	assert_one_life "$1" 9
	assert_eq "$(told "$1" | grep -c '^MOVED')" 3 'MOVED'
	assert_loss "$1"
}
refuses() { # NAME
	outcome refuses "$1"
	assert_contains "$(box_exec n1 cat "$W/$1.log")" "error ${REFUSED[$1]}"
	assert_one_life "$1" 6
	assert_faults "$1" ''
}

define() { eval "test_${2//-/_}() { $1 $2; }"; } # HOW NAME
for object in "${MOVES[@]}"; do define moves "$object"; done
for object in "${!LOSES[@]}"; do define loses "$object"; done
for object in "${!REFUSED[@]}"; do define refuses "$object"; done

# ---- all at once, as services of one job, through the network and from node to node -------------------------------------

# shellcheck disable=SC2034 # objects.sh
OBJECTS=("${MOVES[@]}" "${!LOSES[@]}")
GRACE=20
grace_back() { box_exec ctl scontrol update partitionname=low "GraceTime=$GRACE"; }

streamed() { # JOB: how many services, and how many by way of a disk
	state "SELECT SUM(phase = 'stream' AND error IS NULL) || ' ' || SUM(phase = 'dump') FROM phases
		WHERE migration = (SELECT id FROM migrations WHERE job = $1 ORDER BY id DESC LIMIT 1)"
}
move_all() { # JOB N
	local before n=${#OBJECTS[@]}
	before=$(most "$1")
	preempt "$1" 3 >/dev/null
	wait_moved "$1" "$2" 150
	wait_all_beyond "$1" $((before + 3))
	assert_eq "$(state "SELECT moved || ' ' || restarted FROM migrations WHERE job = $1 ORDER BY id DESC LIMIT 1")" "$n 0" 'moved, restarted'
	assert_eq "$(streamed "$1")" "$n 0" 'streamed, dumped'
}

test_zz_all_at_once_between_nodes() {
	local job
	trap grace_back EXIT
	prepare
	box_exec ctl scontrol update partitionname=low GraceTime=120
	object_services | in_wf tee workflow.yaml >/dev/null
	job=$(submit)
	retry 90 all_beyond "$job" 3 || fail "not all services run: $(output "$job" | tail -n 20)"
	move_all "$job" 1
	move_all "$job" 2
	box_as user1 ctl scancel "$job"
	output "$job" >"$TMP/out"
	assert_objects 9
	wait_job_state "$job" CANCELLED 30
	assert_nothing_left "$job"
}

test_zz_zz_nothing_is_left() {
	clear_jobs
	assert_eq "$(box_exec n1 ls /run/smigrate-sc/c)" '' bundles
	assert_eq "$(box_exec n1 sh -c 'grep -c smigrate-sc /proc/mounts' || true)" 0 mounts
	box_exec n1 sh -c "rm -rf $W $TOP /run/smigrate-sc"
}

run_tests "$@"

#!/bin/bash
# Bad luck at every point (core/base/fault.h) of source, target and state host: the daemon dies there and comes back, an act fails, an
# answer is lost, a write falls short. The daemon that comes back is of another release. Whatever happens, both services count on to the end in one life each, and nothing is left.
# Which points there are is found out by a run without faults. Brings up a box of its own.
#
#   FAULTS=all     all points, each time that they are come to; else a sample of SAMPLE (default 16)
#   SEED=N         another sample
#   LANES=N        rows at one time (default 3)
#   DURABLE=disk   memory that is received goes to the disk before its sender lets go of it, and a row of the target's is the loss of
#                  the whole node, with all that is in its memory; DURABLE=memory-power: the same rows without that, some of which
#                  lose work, and say so
# shellcheck source=../../lib.sh
. "$(dirname "$0")/../../lib.sh"
# shellcheck source=workflow.sh
. "$(dirname "$0")/workflow.sh"
# shellcheck source=lanes.sh
. "$(dirname "$0")/lanes.sh"

TICKS=40
CAP=40 # of the times at one point
export OTHERS_COUNT=1
LANES=${LANES:-3}
FAULTS=${FAULTS:-sample}
SAMPLE=${SAMPLE:-16}
SEED=${SEED:-1}
DURABLE=${DURABLE:-memory}
SCENARIOS=(stream disk move)
[[ $DURABLE == memory ]] || SCENARIOS=(stream)
ORDER=/run/box/faults

# ---- daemons that come back ---------------------------------------------------------------------------------------------

# A second build, of another release.
build_other_release() {
	box_exec ctl mkdir -p /tmp/other /shared/releases/first /shared/releases/other
	tar -C "$ROOT" -cf - Makefile core spank_plugin | box_exec ctl tar -C /tmp/other -xf -
	box_exec ctl sh -ec 'cd /tmp/other; make -s -j2 VERSION=0.1.0-other BUILD=b b/smigrated b/smigrate-shim b/smigrate-post-dump >/dev/null
		cp b/smigrated b/smigrate-shim b/smigrate-post-dump /shared/releases/other
		cp /usr/sbin/smigrated /usr/libexec/smigrate/smigrate-shim /usr/libexec/smigrate/smigrate-post-dump /shared/releases/first
		rm -rf /tmp/other'
	[[ $(box_exec ctl /shared/releases/other/smigrated --version) != "$(box_exec ctl smigrated --version)" ]]
}

# As systemd's Restart=always has it; they take orders. What comes back is the other release each time, as in an upgrade.
respawn() { # NODE
	box exec "$1" -- bash -s <<-'SH'
		box-stop smigrated TERM
		setsid bash -c 'release=other
		while :; do
			pid=$(cat /run/box/smigrated.pid 2>/dev/null)
			if [[ -z $pid || $(cat /proc/$pid/comm 2>/dev/null) != smigrated ]]; then
				[[ $release == first ]] && release=other || release=first
				for f in smigrate-shim smigrate-post-dump; do
					cp /shared/releases/$release/$f /usr/libexec/smigrate/$f.new && mv -f /usr/libexec/smigrate/$f.new /usr/libexec/smigrate/$f
				done
				cp /shared/releases/$release/smigrated /usr/sbin/.new && mv -f /usr/sbin/.new /usr/sbin/smigrated
				SMIGRATE_FAULTS=/run/box/faults box-start smigrated
			fi
			sleep 0.3
		done' </dev/null >/dev/null 2>&1 &
	SH
}

# ---- one move -----------------------------------------------------------------------------------------------------------

source_node() { echo "n$((LANE * 2 - 1))"; }
target_node() { echo "n$((LANE * 2))"; }
role_node() { case $1 in source) source_node ;; target) target_node ;; state) echo ctl ;; esac; }

begin() {
	work_files
	counters "$TICKS" one two
	# What a row before this one has cost, and told of, it has cost alone.
	box_exec ctl scontrol update "NodeName=$(source_node),$(target_node)" State=RESUME 2>/dev/null || true
	job=$(submit_on "$(source_node)" "$(target_node)" -p low2 ${OTHERS:+-x "$OTHERS"})
	wait_ticks one 3 40
	wait_ticks two 3 40
}
scenario_stream() { preempt "$job" 4 "$(source_node)" >/dev/null; }
# Nowhere to go for the moment: its memory goes to the disk, and is fetched from there.
scenario_disk() {
	box_exec ctl scontrol update "NodeName=$(target_node)" State=DRAIN Reason=test
	preempt "$job" 10 "$(source_node)" >/dev/null
	retry 30 is_off || true # whatever came of it
	box_exec ctl scontrol update "NodeName=$(target_node)" State=RESUME
}
is_off() { [[ $(job_state "$job") == PENDING ]]; }
# Whoever asked hears that the daemon has died; what it was asked to do may have been done.
scenario_move() { box_as user1 "$(source_node)" smigrate move "$job" --to "$(target_node)" || true; }

order() { # NODE LINE...
	box exec "$1" -- tee "$ORDER" >/dev/null < <(printf '%s\n' "${@:2}")
}
at_peace() { # NODE
	box_exec "$1" rm -f "$ORDER"
}

ended_right() {
	wait_job_state "$job" COMPLETED 150
	assert_exact one "$TICKS"
	assert_exact two "$TICKS"
	assert_nothing_left "$job"
	assert_eq "$(box_exec ctl sinfo -h -N -n "$(source_node),$(target_node)" -p low2 -t drain -o '%N %E')" '' 'drained'
	retry 20 state_is_right || fail "the state is not as it should be: $(grep "$job\.wf" "$TMP/doctor")"
}
# Soon: a state host that has just come back hears the last of it when the nodes ask it next.
state_is_right() {
	box_exec ctl smigrate doctor --state >"$TMP/doctor" || true
	! grep -q "$job\.wf" "$TMP/doctor"
}

# As soon as its daemon has died, the node is without power for a second.
lose_power() { # NODE
	while box_exec "$1" test -e "$ORDER"; do sleep 0.05; done
	box power "$1" off
	sleep 1
	box power "$1" on
	respawn "$1"
}

# Slurm looks for a job that a node has lost as the node registers, and passes over one that has run for less than BatchStartTimeout +
# MessageTimeout then (20 s; job_mgr.c, _purge_missing_jobs). A node of the box is back in a second, where a real one boots.
requeue_missed() { # NODE
	retry 30 daemon_answers "$1"
	sleep 3
	[[ $(job_state "$job") == RUNNING && $(node_of "$job") == "$1" ]] || return 0
	box_exec "$1" pgrep -f "^slurmstepd: \\[$job\\.batch" >/dev/null || box_exec ctl scontrol requeue "$job"
}

# The node that had the only copy has lost its memory: is that said, and is it all that was lost?
ended_told() {
	wait_job_state "$job" COMPLETED 150
	output "$job" | grep -q 'lost' || fail "nobody was told that work was lost"
	assert_nothing_left "$job"
	exit 76
}

row_power() { # SCENARIO ROLE POINT N
	local node watcher
	node=$(role_node "$2")
	begin
	order "$node" "$3 $4 crash"
	lose_power "$node" &
	watcher=$!
	"scenario_$1"
	if ! retry 60 is_gone "$node"; then
		kill "$watcher"
		ended_right
		at_peace "$node"
		exit 77
	fi
	wait "$watcher"
	requeue_missed "$node"
	if [[ $DURABLE == memory-power ]] && ! (ended_right); then ended_told; fi
	[[ $DURABLE == memory-power ]] || ended_right
}
is_gone() { ! box_exec "$1" test -e "$ORDER"; }

row() { # SCENARIO ROLE POINT N ACTION [MS]
	local node
	if [[ $5 == power ]]; then
		row_power "$@"
		return
	fi
	node=$(role_node "$2")
	begin
	order "$node" "$3 $4 $5 ${6-}"
	"scenario_$1"
	ended_right
	# A crash takes the order away; the rest is in the log.
	if [[ $5 == crash ]]; then
		! box_exec "$node" test -e "$ORDER" || { at_peace "$node"; exit 77; }
	else
		at_peace "$node"
		box_exec "$node" grep -q "fault at $3: " /var/log/smigrated.log || exit 77
	fi
}
row_name() { local w; read -r -a w <<<"$1"; echo "${w[0]}, ${w[1]}: ${w[4]} at ${w[2]}, number ${w[3]}"; }

# ---- all points ---------------------------------------------------------------------------------------------------------

# SCENARIO ROLE POINT TIMES of a move with no faults, into the file.
points() { # SCENARIO FILE
	local role times point
	set -eEu -o pipefail
	trap 'echo "FAILED (exit $?) at ${BASH_SOURCE[0]##*/}:$LINENO: $BASH_COMMAND"' ERR
	lanes_enter 1 $((LANES * 2))
	begin
	for role in source target state; do order "$(role_node "$role")" 'trace /run/box/trace'; done
	"scenario_$1"
	ended_right
	for role in source target state; do
		at_peace "$(role_node "$role")"
		box_exec "$(role_node "$role")" cat /run/box/trace | sort | uniq -c |
			while read -r times point; do echo "$1 $role $point $times"; done >>"$2"
		box_exec "$(role_node "$role")" rm -f /run/box/trace
	done
}

rows_of() { # lines of points() on standard input
	local scenario role point times n
	while read -r scenario role point times; do
		if [[ $DURABLE != memory ]]; then
			[[ $role/$point =~ ^target/(hold|serve\.room|serve\.stream) ]] || continue
			for ((n = 1; n <= times && n <= CAP; n++)); do echo "$scenario $role $point $n power"; done
			continue
		fi
		for ((n = 1; n <= times && n <= CAP; n++)); do echo "$scenario $role $point $n crash"; done
		case $point in
		*.before | slurm.*.after | peer.call.*.after | stream.block | stream.dumped | hold.file | hold.received)
			echo "$scenario $role $point 1 error" ;;
		hold.pages)
			echo "$scenario $role $point 1 error"
			echo "$scenario $role $point 1 short" ;;
		esac
		echo "$scenario $role $point 1 delay 1500"
	done
}

main() {
	local n rows wanted scenario
	wanted=$(IFS='|'; echo "${*:-.}")
	trap 'lanes_box_down -faults' EXIT
	lanes_smigrate_conf="Durable=${DURABLE%-power}"
	lanes_box -faults $((LANES * 2)) 'KillWait=5'
	build_other_release || { echo "not ok 1 - another release can be built"; return 1; }
	respawn ctl
	for ((n = 1; n <= LANES * 2; n++)); do respawn "n$n"; done
	TMP=$(mktemp -d) && export TMP
	for scenario in "${SCENARIOS[@]}"; do
		if ! (points "$scenario" "$TMP/points") >"$TMP/log" 2>&1; then
			printf '1..1\nnot ok 1 - %s without faults\n' "$scenario"
			sed 's/^/#   /' "$TMP/log"
			return 1
		fi
	done
	rows=$(rows_of <"$TMP/points")
	rm -rf "$TMP"
	echo "# $(wc -l <<<"$rows") rows at $(cut -d ' ' -f 1-3 <<<"$rows" | sort -u | wc -l) points"
	rows=$(grep -E -- "$wanted" <<<"$rows")
	[[ $FAULTS == all ]] || rows=$(shuf -n "$SAMPLE" --random-source=<(openssl enc -aes-128-ctr -nosalt -k "$SEED" -in /dev/zero 2>/dev/null) <<<"$rows")
	echo "1..$(grep -c . <<<"$rows")"
	lanes_run $((LANES * 2)) "$LANES" <<<"$rows"
	lanes_ok
}

lanes_main "$@"

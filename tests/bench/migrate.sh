# shellcheck shell=bash
# The bench of migrations, for tests/bench/run: a job of eight services is preempted and moves to the other node, by each
# strategy, over links and with workflows that differ in one thing at a time. What it means is worked out by report.py.

RATES="unshaped 10gbit 1gbit"
GRAPHS="none chain diamond fan"
SIZES="equal mixed"
CONTENTS="random shared"
REFERENCE="10gbit none equal random"

BENCH_DIR=/shared/home/user1/bench
RUN_LIMIT=${RUN_LIMIT:-300} # seconds from the preemption until all services run again

if [[ ${QUICK:-0} == 1 ]]; then
	ROUNDS=${ROUNDS:-1} STRATEGIES=${STRATEGIES:-sequential stream} CELLS=${CELLS:-reference shared}
else
	ROUNDS=${ROUNDS:-5} STRATEGIES=${STRATEGIES:-sequential level pipeline stream} CELLS=${CELLS-}
fi

# ---- what is varied --------------------------------------------------------------------------------------------------

# Lines "NAME RATE GRAPH SIZES CONTENTS": the reference, and each value that is not the reference's in its place.
cells_one_by_one() {
	local reference values i value cell
	read -ra reference <<<"$REFERENCE"
	values=("$RATES" "$GRAPHS" "$SIZES" "$CONTENTS")
	echo "reference $REFERENCE"
	for i in 0 1 2 3; do
		for value in ${values[i]}; do
			[[ $value != "${reference[i]}" ]] || continue
			cell=("${reference[@]}")
			cell[i]=$value
			echo "$value ${cell[*]}"
		done
	done
}

cells_all() {
	local rate graph sizes contents
	for rate in $RATES; do for graph in $GRAPHS; do for sizes in $SIZES; do for contents in $CONTENTS; do
		echo "$rate/$graph/$sizes/$contents $rate $graph $sizes $contents"
	done; done; done; done
}

cells() {
	if [[ ${FULL:-0} == 1 ]]; then cells_all; else cells_one_by_one; fi |
		awk -v only="${CELLS-}" 'BEGIN { n = split(only, want, " "); for (i = 1; i <= n; i++) ok[want[i]] = 1 } !n || $1 in ok'
}

# What service N (1 to 8) of a graph waits for.
needs() { # GRAPH N
	case $1:$2 in
	none:* | *:1) ;;
	chain:*) echo "s$(($2 - 1))" ;;
	fan:* | diamond:[234]) echo s1 ;;
	diamond:[567]) echo s2 s3 s4 ;;
	diamond:8) echo s5 s6 s7 ;;
	esac
}

# MiB of each service. The large ones stand neither first nor last.
sizes() { if [[ $1 == equal ]]; then echo 256 256 256 256 256 256 256 256; else echo 256 16 2048 64 512 32 1024 128; fi; }

# The services of a cell as JSON: [{"name", "mib", "needs": [...]}].
services() { # GRAPH SIZES
	local mib n=0
	for mib in $(sizes "$2"); do
		n=$((n + 1))
		echo "s$n $mib $(needs "$1" "$n")"
	done | jq -R -s -c '[split("\n")[] | select(. != "") | split(" ") | map(select(. != "")) | {name: .[0], mib: (.[1] | tonumber), needs: .[2:]}]'
}

workflow() { # SERVICES-JSON FOLDER SEED CONTENTS
	local shared=0
	[[ $4 != shared ]] || shared=0.5
	echo "name: bench"
	echo "services:"
	jq -r --arg root "$BENCH_DIR" --arg base "$2" --arg seed "$3" --arg shared "$shared" '.[] |
		"  \(.name):\n    image: /images/debian\n    network_mode: host\n    volumes: [\"\($root):\($root)\"]\n    stop_grace_period: 2s\n" +
		"    command: [\($root)/ballast, \($base)/\(.name), \"\(.mib)\", \"\($seed)\", \"\($shared)\"]" +
		if .needs == [] then "" else "\n    depends_on: \(.needs | tojson)" end' <<<"$1"
}

# ---- links -----------------------------------------------------------------------------------------------------------

LINK=
set_links() { # RATE
	[[ $LINK != "$1" ]] || return 0
	box link n1 "${1/unshaped/off}" && box link n2 "${1/unshaped/off}" && LINK=$1
}

carried() { # prints the bits a second that one connection gets through
	timeout 60 "$ROOT/tests/box/box" exec n2 -- python3 - receive 7790 <"$HERE/wire.py" >"$TMP/wire" &
	timeout 60 "$ROOT/tests/box/box" exec n1 -- python3 - send n2 7790 1 <"$HERE/wire.py" || return 1
	wait $! && awk '{ printf "%.0f\n", $1 * 8 / $2 }' "$TMP/wire"
}

# What a shaped link is worth, and what the machine can do at all: the best of three, for whoever else is on the machine only slows.
link_floor() { # RATE; a line of $TMP/links
	local got
	set_links "$1" || return 1
	got=$(carried && carried && carried) || return 1
	got=$(sort -n <<<"$got" | tail -n 1)
	say "the $1 link carries $(awk -v b="$got" 'BEGIN { printf "%.2f", b / 1e9 }') Gbit/s"
	# More than it may carry: it is not shaped, and every figure over it would be a lie.
	[[ $1 == unshaped || $got -lt $((${1%gbit} * 1050000000)) ]] || return 1
	jq -n -c --arg link "$1" --argjson bits "$got" '{($link): $bits}' >>"$TMP/links"
}

# ---- one run ---------------------------------------------------------------------------------------------------------

# A script on standard input, run as root in a node.
in_box() { timeout "$2" "$ROOT/tests/box/box" exec "$1" -- bash -s "${@:3}"; } # NODE SECONDS ARG...

# What a node has used up so far, as JSON; `reset`: its daemon's peak of memory begins anew. (The counter is that of the node's
# own end of its link: what it sends.)
meter() { # NODE [reset]
	in_box "$1" 20 "${2-}" <<-'SH'
		pid=$(cat /run/box/smigrated.pid)
		cpu=$(sed -n 's/^usage_usec //p' /sys/fs/cgroup/cpu.stat)
		hwm=$(awk '/^VmHWM:/ { print $2 * 1024 }' "/proc/$pid/status")
		echo "{\"cpu_us\": $cpu, \"tx_bytes\": $(cat /sys/class/net/eth0/statistics/tx_bytes), \"hwm_bytes\": $hwm}"
		[[ -z $1 ]] || echo 5 >"/proc/$pid/clear_refs"
	SH
}
meters() { # FILE [reset]: of both nodes
	local n1 n2
	n1=$(meter n1 "${2-}") && n2=$(meter n2 "${2-}") && echo "{\"n1\": $n1, \"n2\": $n2}" >"$1" && return
	echo "a node's counters cannot be read"
	return 1
}

# Waits until each service has a file that is not empty.
wait_files() { # SECONDS FOLDER SUFFIX
	in_box ctl $(($1 + 10)) "$@" <<-'SH'
		for n in {1..8}; do
			until [[ -s $2/s$n.$3 ]]; do
				((SECONDS < $1)) || { echo "s$n has no $3 after $1 s: $(tail -n 3 "$2/job.out")"; exit 1; }
				sleep 0.05
			done
		done
	SH
}

# Waits until the last move of a job is over. It looks seldom, for it takes of the cores that are being measured.
wait_move() { # JOB SECONDS
	in_box ctl $(($2 + 10)) "$@" <<-'SH'
		while ((SECONDS < $2)); do
			state=$(sqlite3 -readonly -cmd '.timeout 2000' /var/lib/smigrate/state.db "SELECT w.state || '/' || m.state
				FROM migrations m JOIN workflows w ON w.id = m.workflow WHERE m.job = $1 ORDER BY m.signal_us DESC LIMIT 1")
			case $state in
			*/done) exit 0 ;;
			*failed* | done/* | stopped/*) break ;;
			esac
			sleep 0.25
		done
		echo "the move is ${state:-not begun} after $SECONDS s"
		exit 1
	SH
}

# A line "SERVICE GAP_US" for each: the longest pause between two beats since the signal, looked at once all have gone on after
# the end of the move. A count out of turn means that a service has lived twice, or lost a part of its life.
gaps() { # FOLDER SIGNAL_US DONE_US
	in_box ctl 40 "$@" <<-'SH'
		cd "$1" || exit 1
		for file in *.beats; do
			for i in {1..200}; do
				read -r last _ < <(tail -n 1 "$file")
				((last < $3)) || break
				sleep 0.05
			done
			((last >= $3)) || { echo "${file%.beats} has not gone on"; exit 1; }
			awk -v name="${file%.beats}" -v signal="$2" '
				$2 != NR { print name ": its beat " NR " says " $2; bad = 1; exit 1 }
				NR > 1 && $1 > signal && $1 - before > gap { gap = $1 - before }
				{ before = $1 }
				END { if (!bad) print name, gap }' "$file" || exit 1
		done
	SH
}

start_job() { # FOLDER STRATEGY SERVICES-JSON CONTENTS SEED; prints the job's id
	# shellcheck disable=SC2016 # expanded in ctl
	workflow "$3" "$1" "$5" "$4" | box exec ctl --user user1 -- sh -ec '
		mkdir -p "$1" && cd "$1" && cat >workflow.yaml
		printf "#!/bin/sh\nexec smigrate run --strategy %s\n" "$2" >job.sh
		exec timeout 30 sbatch --parsable -p low --time=60 -o job.out --migrate=workflow.yaml job.sh' start "$1" "$2"
}

# They go while the next job fills its memory; alone sees to it that they have gone before that is preempted.
end_jobs() { box_exec ctl sh -c 'squeue -h -o %A | xargs -r timeout 20 scancel'; }
alone() { [[ $(box_exec ctl squeue -h -o %A) == "$1" ]]; } # JOB

# Preempts the job; leaves what happened in $RUN. Fails with the reason on stdout.
measure() { # JOB FOLDER
	local node
	[[ -n $1 ]] || { echo "sbatch failed" && return 1; }
	wait_files 60 "$2" beats || return 1
	retry 60 alone "$1" || { echo "the jobs before do not go away" && return 1; }
	node=$(job_field "$1" BatchHost)
	meters "$RUN/before" reset || return 1
	box_exec ctl timeout 30 sbatch --parsable -p high -w "$node" --exclusive -D / -o /dev/null --wrap 'sleep 1000' >"$RUN/thief" ||
		{ echo "no preemptor" && return 1; }
	wait_move "$1" "$RUN_LIMIT" || return 1
	meters "$RUN/after" || return 1
	box_exec ctl timeout 20 smigrate show --json "$1" >"$RUN/show" && verify "$2"
}

verify() { # FOLDER
	local times
	times=$(jq -r '.migrations[-1] | "\(.signal_us) \(.done_us)"' "$RUN/show")
	# shellcheck disable=SC2086 # two words
	gaps "$1" $times >"$RUN/gaps" || { tail -n 1 "$RUN/gaps" && return 1; }
	box_as user1 ctl touch "$1/verify"
	wait_files 120 "$1" verdict || return 1
	box_exec ctl sh -c "cd $1 && grep . *.verdict" >"$RUN/verdicts" || { echo "no verdicts" && return 1; }
	if grep -v ':ok ' "$RUN/verdicts"; then return 1; fi
	[[ $(jq '.migrations[-1].moved' "$RUN/show") == 8 ]] || {
		echo "not all services were moved: $(jq -c '[.services[] | .message | select(. != null and . != "")]' "$RUN/show")"
		return 1
	}
}

# What a run was, as JSON.
description() { # ROUND STRATEGY CELL RATE GRAPH SIZES CONTENTS SERVICES-JSON SECONDS
	jq -n -c --argjson round "$1" --arg strategy "$2" --arg cell "$3" --arg link "$4" --arg graph "$5" --arg sizes "$6" \
		--arg contents "$7" --argjson services "$8" --argjson took "$9" '{round: $round, strategy: $strategy, cell: $cell, link: $link,
		graph: $graph, sizes: $sizes, contents: $contents, services: $services, took_s: $took}'
}

# All of a run that has gone well as one line of JSON, by its description.
sample() { # DESCRIPTION
	jq -n -c --argjson what "$1" --slurpfile show "$RUN/show" --slurpfile before "$RUN/before" --slurpfile after "$RUN/after" \
		--rawfile gaps "$RUN/gaps" '$what + {before: $before[0], after: $after[0], migration: $show[0].migrations[-1],
		gaps_us: ([$gaps | split("\n")[] | select(. != "") | split(" ") | {(.[0]): (.[1] | tonumber)}] | add)}'
}

RUNS_DONE=0
one_run() { # ROUND STRATEGY CELL RATE GRAPH SIZES CONTENTS
	local folder=$BENCH_DIR/run$RUNS_DONE start=$EPOCHREALTIME services job why what status=0 took RUN=$TMP/move
	RUNS_DONE=$((RUNS_DONE + 1))
	rm -rf "$RUN" && mkdir "$RUN"
	services=$(services "$5" "$6")
	set_links "$4" || die "tc does not take the rate $4"
	job=$(start_job "$folder" "$2" "$services" "$7" "$RUNS_DONE")
	why=$(measure "$job" "$folder") || status=1
	end_jobs
	took=$(seconds_since "$start")
	what=$(description "$@" "$services" "$took")
	if [[ $status == 0 ]]; then
		sample "$what" >>"$TMP/samples"
		say "round $1, $3, $2: moved in $(jq '.migrations[-1] | (.done_us - .signal_us) / 1e4 | round / 100' "$RUN/show") s, all done in $took s"
	else
		say "round $1, $3, $2 FAILED: $why"
		jq -c --arg why "$why" '. + {failed: $why}' <<<"$what" >>"$TMP/samples"
		keep_logs "$job" "round $1, $3, $2: $why" >>"$OUT/migrate.log" 2>&1
	fi
	box_exec ctl rm -rf "$folder"
	return "$status"
}
seconds_since() { awk -v a="$1" -v b="$EPOCHREALTIME" 'BEGIN { printf "%.1f", b - a }'; }

keep_logs() { # JOB WHY
	local node
	echo "== $2"
	box_exec ctl timeout 20 smigrate show "$1"
	for node in n1 n2; do box_exec "$node" tail -n 20 /var/log/smigrated.log; done
}

# ---- all of them -----------------------------------------------------------------------------------------------------

# The bench's own two nodes, grace enough for the slowest strategy, and the program that the services run.
prepare_moves() {
	local others
	others=$(box_exec ctl sinfo -h -N -p low -o %N | grep -vx 'n[12]' | paste -s -d ,)
	[[ -z $others ]] || box_exec ctl scontrol update "nodename=$others" state=drain reason=bench
	GRACE=$(box_exec ctl scontrol show partition low -o | grep -o 'GraceTime=[0-9]*')
	box_exec ctl scontrol update partitionname=low GraceTime=900
	box_as user1 ctl mkdir -p "$BENCH_DIR"
	box exec ctl --user user1 -- tee "$BENCH_DIR/ballast" <"$BUILD/tests/bench/ballast" >/dev/null
	box_as user1 ctl chmod +x "$BENCH_DIR/ballast"
}

put_back_moves() {
	local others
	set_links unshaped
	box_exec ctl scontrol update partitionname=low "$GRACE"
	others=$(box_exec ctl sinfo -h -N -p low -t drain -o %N | paste -s -d ,)
	[[ -z $others ]] || box_exec ctl scontrol update "nodename=$others" state=resume
	box_exec ctl rm -rf "$BENCH_DIR"
}

# The first move of a box finds nothing in any cache: it is no sample, but it must not fail.
warm_up() {
	local cell strategies
	read -ra cell < <(cells)
	read -ra strategies <<<"$STRATEGIES"
	one_run 0 "${strategies[-1]}" "${cell[@]}" && : >"$TMP/samples"
}

# Strategies side by side within each round, so that what drifts on the machine drifts for all; another one begins each time.
all_runs() {
	local round cell strategies i n in_a_row=0 # failures
	read -ra strategies <<<"$STRATEGIES"
	n=${#strategies[@]}
	for ((round = 1; round <= ROUNDS; round++)); do
		while read -ra cell <&3; do
			for ((i = 0; i < n; i++)); do
				in_a_row=$((in_a_row + 1))
				one_run "$round" "${strategies[(i + round - 1) % n]}" "${cell[@]}" && in_a_row=0
				((in_a_row < 3)) || { say "three failed one after the other: that is enough" && return; }
			done
		done 3< <(cells)
	done
}

bench_migrate() {
	local start=$SECONDS rate
	: >"$TMP/links" && : >"$TMP/samples" && rm -f "$OUT"/migrate.*
	[[ -n $(cells) ]] || die "no such cells: ${CELLS-}"
	prepare_moves || die "cannot prepare the nodes"
	for rate in $(cells | cut -d ' ' -f 2 | sort -u); do
		link_floor "$rate" || die "the $rate link does not carry what it should"
	done
	warm_up
	all_runs
	retry 60 no_jobs || say "jobs do not go away"
	put_back_moves
	jq -s '{machine: $machine, cores: $cores, commit: $commit, links: ($links | add), took_s: ($took | tonumber), runs: .}' \
		--arg machine "$(machine)" --argjson cores "$(nproc)" \
		--arg commit "$(git -C "$ROOT" describe --always --dirty 2>/dev/null)" --slurpfile links "$TMP/links" \
		--arg took "$((SECONDS - start))" "$TMP/samples" >"$TMP/raw.json"
	python3 "$HERE/report.py" "$TMP/raw.json" "$OUT/migrate" || touch "$TMP/failed"
}

#!/bin/bash
# OCI images: unpacked once a node and a user, by that user's process; the same image after a move, whatever its tag says by then.
# Needs a box that is up (tests/run box).
# shellcheck source=../../lib.sh
. "$(dirname "$0")/../../lib.sh"
# shellcheck source=workflow.sh
. "$(dirname "$0")/workflow.sh"

CACHE=/var/lib/smigrate/images

# $WF/layout with a tag for each VERSION: a shell, what it needs, and /count, which says /version at every step. Made on n1, where
# the programs of /images/debian are.
make_layout() { # VERSION...
	box exec n1 --user user1 -- bash -s "$@" <<-'SH' >"$TMP/make.log" 2>&1 || fail "the test images could not be made: $(tail -n 5 "$TMP/make.log")"
		set -eu
		cd /shared/home/user1/wf
		from=/images/debian
		mkdir -p tree/usr/bin tree/usr/lib tree/usr/lib64 tree/w tree/tmp
		ln -sfn usr/bin tree/bin; ln -sfn usr/lib tree/lib; ln -sfn usr/lib64 tree/lib64
		for p in dash sleep cat id; do cp "$from/usr/bin/$p" tree/usr/bin/; done
		ln -sfn dash tree/usr/bin/sh
		for lib in $(ldd "$from/usr/bin/dash" "$from/usr/bin/sleep" "$from/usr/bin/cat" "$from/usr/bin/id" | grep -o '/lib[^ ]*' | sort -u); do
			mkdir -p "tree/usr$(dirname "$lib")"
			cp "$from/usr$lib" "tree/usr$lib"
		done
		cat >tree/count <<'END'
		#!/bin/sh
		echo "$0 $* A=$A PWD=$(pwd) uid $(id -u)"
		n=0
		while [ ! -e /here/go ]; do n=$((n + 1)); echo "version $(cat /version) step $n"; sleep 0.2; done
		echo "end $n"
		END
		chmod 755 tree/count
		umoci init --layout layout
		for v; do
			umoci new --image "layout:$v"
			echo "$v" >tree/version
			tar -C tree -cf layer.tar .
			umoci raw add-layer --image "layout:$v" layer.tar
			umoci config --image "layout:$v" --config.entrypoint /count --config.cmd from --config.cmd image \
				--config.env A=image --config.workingdir /w
		done
		rm -rf tree layer.tar
	SH
}
image_service() { # NAME IMAGE [LINE...]
	printf '  %s:\n    image: %s\n    volumes: [".:/here"]\n    network_mode: none\n' "$1" "$2"
	shift 2
	[[ $# == 0 ]] || printf '    %s\n' "$@"
}
workflow() { # its services come by standard input
	{
		printf 'name: wf\nservices:\n'
		cat
	} | in_wf tee workflow.yaml >/dev/null
}
no_images() { # ...on any node
	local node
	for node in $(box_nodes); do box_exec "$node" sh -c "rm -rf $CACHE/*"; done
}
unpacked() { box_exec "$1" sh -c "cd $CACHE && ls -d -- */* 2>/dev/null" || true; } # NODE: what lies there, one a line
nothing_half() { # ...on any node
	local node
	for node in $(box_nodes); do
		[[ -z $(box_exec "$node" find $CACHE -mindepth 2 -maxdepth 2 -name '.*') ]] || fail "half an image is left on $node"
	done
}

TIMEOUT_test_an_image_moves=300
test_an_image_moves() {
	local job first second digest
	prepare
	no_images
	make_layout one two
	image_service a oci:./layout:one | workflow
	job=$(submit)
	wait_said "$job" 'a | version one step 3' 40
	assert_contains "$(output "$job")" 'a | /count from image A=image PWD=/w uid 2001'
	first=$(node_of "$job")
	digest=$(unpacked "$first")
	assert_eq "$(wc -l <<<"$digest")" 1 'images on the first node'
	# root's to enter, the user's within
	assert_eq "$(box_exec "$first" stat -c '%U %a' $CACHE "$CACHE/2001" "$CACHE/$digest" | sort -u)" 'root 700' 'the folders above'
	assert_eq "$(box_exec "$first" find "$CACHE/$digest/rootfs" -printf '%U\n' | sort -u)" 2001 'whose the image is'
	assert_status 2 box_as user1 "$first" ls $CACHE
	assert_contains "$(box_as user1 "$first" smigrate images)" "@sha256:${digest#*/}"
	assert_eq "$(box_as user1 "$first" smigrate images --json | python3 -c 'import json,sys; d = json.load(sys.stdin); print([(i["uid"], i["in_use"], i["bytes"] > 1000000) for i in d["images"]], d["max_bytes"])')" '[(2001, True, True)] 21474836480'
	assert_contains "$(box_as user2 "$first" smigrate images)" 'No OCI image is unpacked'
	# the tag moves, the workflow does not
	box_as user1 n1 sh -c "cd $WF && umoci tag --image layout:two one"
	preempt "$job" 3 >/dev/null
	wait_moved "$job" 1 60
	second=$(node_of "$job")
	[[ $second != "$first" ]] || fail "it is on $first again"
	assert_eq "$(unpacked "$second")" "$digest" 'the image on the second node'
	assert_contains "$(output "$job")" 'the workflow file has changed since this job first started; it goes on as it was then'
	in_wf touch go
	wait_done "$job" 60
	[[ $(output "$job") != *'version two'* ]] || fail 'it has another image after the move'
	in_wf awk '$3 == "version" && $6 != ++n { print; bad = 1 } END { exit bad || n < 3 }' "wf-$job.out" || fail 'it did not go on exactly'
	nothing_half
	assert_nothing_left "$job"
}

# Several that start at one time have it unpacked once; the file's own words go before the image's.
test_one_unpacking_for_many() {
	local job n before
	prepare
	before=$(unpackings)
	no_images
	make_layout one
	in_wf touch go
	{
		for n in 1 2 3 4; do image_service "s$n" oci:./layout; done
		image_service own oci:./layout 'command: [mine]' 'environment: {A: file}' 'working_dir: /tmp'
	} | workflow
	job=$(submit -w n1)
	wait_done "$job" 60
	assert_contains "$(output "$job")" 's4 | end 0'
	assert_contains "$(output "$job")" 'own | /count mine A=file PWD=/tmp uid 2001'
	assert_eq "$(unpackings)" "$((before + 1))" 'unpackings'
}
unpackings() { box_exec n1 sh -c 'grep -c "/wf/layout@sha256:.* unpacked for uid 2001" /var/log/smigrated.log || true'; }

# The tar file of one; and a second user gets an unpacked image of his own.
test_an_archive_and_another_user() {
	local job
	prepare
	no_images
	make_layout one
	in_wf touch go
	in_wf sh -c 'tar -C layout -cf image.tar . && rm -rf layout'
	image_service a oci-archive:./image.tar:one | workflow
	job=$(submit -w n1)
	wait_done "$job" 60
	assert_contains "$(output "$job")" 'a | end 0'
	box_exec ctl sh -c "chmod 755 /shared/home/user1 && rm -rf /shared/home/user2/wf && mkdir -p /shared/home/user2/wf && cp $WF/workflow.yaml $WF/job.sh /shared/home/user2/wf &&
		sed -i 's|./image.tar|$WF/image.tar|' /shared/home/user2/wf/workflow.yaml && touch /shared/home/user2/wf/go && chown -R user2: /shared/home/user2"
	job=$(box_as user2 ctl sh -c 'cd /shared/home/user2/wf && sbatch --parsable -p low -w n1 --migrate=workflow.yaml job.sh')
	wait_done "$job" 60
	assert_contains "$(box_exec ctl cat "/shared/home/user2/wf/wf-$job.out")" 'uid 2002'
	assert_eq "$(unpacked n1 | sed 's|/.*||' | xargs)" '2001 2002' 'whose images lie there'
	assert_eq "$(box_exec n1 find $CACHE/2002/ -path '*/rootfs/*' -printf '%U\n' | sort -u)" 2002
	nothing_half
}

umoci_back() { box_exec n1 sh -c '[ ! -e /usr/bin/umoci.away ] || mv -f /usr/bin/umoci.away /usr/bin/umoci'; }
test_what_goes_wrong_is_told() {
	local job
	prepare
	no_images
	make_layout one
	in_wf touch go
	trap umoci_back EXIT
	image_service a oci:./layout:three | workflow
	job=$(submit -w n1)
	wait_job_state "$job" FAILED 30
	assert_contains "$(output "$job")" "service a: the image oci:$WF/layout:three: $WF/layout has no image with the tag 'three'; its tags: one"
	image_service a oci:./layout | workflow
	box_exec n1 mv /usr/bin/umoci /usr/bin/umoci.away
	job=$(submit -w n1)
	wait_job_state "$job" FAILED 30
	assert_contains "$(output "$job")" 'service a cannot start: the image oci:'
	assert_contains "$(output "$job")" 'unpacked by umoci, which this node lacks: install it (Debian: apt-get install umoci)'
	umoci_back
	# a layer that is not what the manifest says
	in_wf sh -c 'for f in $(find layout/blobs -size +100k); do printf x | dd of="$f" bs=1 seek=5000 conv=notrunc; done' 2>/dev/null
	job=$(submit -w n1)
	wait_job_state "$job" FAILED 60
	assert_contains "$(output "$job")" 'service a cannot start: the image oci:'
	assert_eq "$(unpacked n1)" '' 'what is left of it'
	nothing_half
}

# A preemption does not wait for an unpacking: that begins anew where the job goes on.
test_preempted_while_unpacking() {
	local job
	prepare
	no_images
	make_layout one
	trap umoci_back EXIT
	box_exec n1 sh -c 'mv /usr/bin/umoci /usr/bin/umoci.away && printf "#!/bin/sh\nsleep 60\n" >/usr/bin/umoci && chmod 755 /usr/bin/umoci'
	{
		service one 60
		image_service a oci:./layout
	} | workflow
	job=$(submit -w n1)
	wait_ticks one 5 30
	svc_is "$job" a starting || fail "a is $(svc_state "$job" a)"
	preempt "$job" 120 >/dev/null
	wait_wf "$job" saved 10
	svc_is "$job" a pending || fail "a is $(svc_state "$job" a)"
	box_exec ctl scontrol update "jobid=$job" ReqNodeList=n2
	wait_said "$job" 'a | version one step 1' 60
	in_wf touch go
	wait_done "$job" 60
	assert_exact one 60
	nothing_half
}

# More than ImageCacheMax: what was used longest ago goes, what is in use stays.
test_cache_is_limited() {
	local job other
	prepare
	no_images
	make_layout one two three
	trap put_back EXIT
	with_conf n1 'ImageCacheMax=8M' # two of the three
	image_service a oci:./layout:one | workflow
	in_wf touch go
	job=$(submit -w n1)
	wait_done "$job" 60
	one=$(unpacked n1)
	in_wf rm go
	image_service a oci:./layout:two | workflow
	job=$(submit -w n1) # it runs on
	wait_said "$job" 'a | version two step 1' 40
	assert_eq "$(unpacked n1 | wc -l)" 2 'images'
	in_wf sh -c 'mkdir other && cp job.sh other/ && sed "s/:two/:three/; s|\./layout|../layout|" workflow.yaml >other/workflow.yaml && touch other/go'
	other=$(box_as user1 ctl sh -c "cd $WF/other && sbatch --parsable -p low -w n1 --migrate=workflow.yaml job.sh")
	wait_done "$other" 60
	assert_eq "$(unpacked n1 | wc -l)" 2 'images'
	[[ $(unpacked n1) != *"$one"* ]] || fail 'the oldest is still there'
	in_wf touch go
	wait_done "$job" 60
	assert_contains "$(output "$job")" 'a | end'
	# alone too large
	box_exec n1 sed -i 's/ImageCacheMax=8M/ImageCacheMax=1M/' /etc/smigrate/smigrate.conf
	stop_daemon n1
	start_daemon n1
	image_service a oci:./layout:one | workflow
	job=$(submit -w n1)
	wait_job_state "$job" FAILED 60
	assert_contains "$(output "$job")" 'more than this node keeps of images (ImageCacheMax)'
}

run_tests "$@"

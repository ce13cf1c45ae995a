#!/bin/bash
# Runs in a node, from 10-box.sh: starts a container, dumps it, restores it; dumps it paused, restores it again.
set -eu -o pipefail
export PATH=/usr/local/sbin:$PATH
top=/var/lib/smigrate/box-test
# shellcheck disable=SC2317 # called by the trap
clean() {
	runc delete -f box-test 2>/dev/null || true
	umount "$top/root" 2>/dev/null || true
	rm -rf "$top"
}
trap clean EXIT
clean
mkdir -p "$top"/{upper,work,root,bundle,images}
mount -t overlay overlay -o "lowerdir=/images/debian,upperdir=$top/upper,workdir=$top/work" "$top/root"
cd "$top/bundle"
runc spec
python3 - <<'PYTHON'
import json
config = json.load(open("config.json"))
config["root"] = {"path": "/var/lib/smigrate/box-test/root", "readonly": False}
config["process"].update(terminal=False, user={"uid": 2001, "gid": 2001, "additionalGids": [2100]}, capabilities={},
    args=["/bin/bash", "-c", "i=0; while :; do i=$((i+1)); echo $i >/tmp/count; sleep 0.05; done"])
config["linux"]["cgroupsPath"] = "/smigrate/box-test"
config["linux"]["namespaces"] = [n for n in config["linux"]["namespaces"] if n["type"] != "network"]
json.dump(config, open("config.json", "w"))
PYTHON

dump_and_restore() {
	local before after
	rm -rf ../images
	if ! timeout 30 runc checkpoint --image-path ../images --work-path ../images box-test; then
		grep Error ../images/dump.log
		return 1
	fi
	before=$(cat ../root/tmp/count)
	if ! timeout 30 runc restore -d --image-path ../images --work-path ../images box-test </dev/null >/dev/null 2>&1; then
		grep Error ../images/restore.log
		return 1
	fi
	sleep 0.5
	after=$(cat ../root/tmp/count)
	echo "counted to $before, after the restore to $after"
	((after > before && after < before + 100))
}

runc run -d box-test </dev/null >/dev/null 2>&1
sleep 0.5
dump_and_restore
runc pause box-test
dump_and_restore

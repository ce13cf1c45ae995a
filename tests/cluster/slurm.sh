# shellcheck shell=bash
# Slurm's configuration of a cluster for tests.

node_list() { if [[ $1 == 1 ]]; then echo n1; else echo "n[1-$1]"; fi; }

slurm_conf() { # NODES CPUS MEMORY PROCTRACK ACCOUNTING
	local i
	cat <<-END
		ClusterName=box
		SlurmctldHost=ctl
		SlurmUser=slurm
		AuthType=auth/munge
		CredType=cred/munge
		StateSaveLocation=/var/lib/slurm/slurmctld
		SlurmdSpoolDir=/var/spool/slurmd
		SlurmctldPidFile=/run/slurmctld.pid
		SlurmdPidFile=/run/slurmd.pid
		SlurmctldDebug=info
		SlurmdDebug=verbose
		LogTimeFormat=iso8601_ms,format_stderr
		ProctrackType=proctrack/$4
		TaskPlugin=task/none
		JobAcctGatherType=jobacct_gather/none
		MpiDefault=none
		SelectType=select/cons_tres
		SelectTypeParameters=CR_Core
		PreemptType=preempt/partition_prio
		PreemptMode=REQUEUE
		PrologFlags=Contain
		PlugStackConfig=/etc/slurm/plugstack.conf
		# the machine under the box may be smaller than its nodes say
		SlurmdParameters=config_overrides
		ReturnToService=2
		JobRequeue=1
		KillWait=10
		PrologEpilogTimeout=60
		# Slurm counts by the clock on the wall: a machine that stood still for its default minute would drain nodes
		UnkillableStepTimeout=300
		# without CAP_SYS_RESOURCE no limit of the submitter's can be raised again
		PropagateResourceLimits=NONE
		SlurmctldTimeout=30
		SlurmdTimeout=60
		SchedulerType=sched/backfill
		SchedulerParameters=sched_interval=1,batch_sched_delay=0,sched_min_interval=0,bf_interval=1,preempt_reorder_count=1
	END
	if [[ $5 == 1 ]]; then printf 'AccountingStorageType=accounting_storage/slurmdbd\nAccountingStorageHost=ctl\nAccountingStorageEnforce=associations,limits,qos\n'; fi
	for ((i = 1; i <= $1; i++)); do
		echo "NodeName=n$i NodeAddr=$(address_of "n$i") CPUs=$2 RealMemory=$3 State=UNKNOWN"
	done
	cat <<-END
		PartitionName=low Nodes=$(node_list "$1") Default=YES PriorityTier=1 PreemptMode=REQUEUE GraceTime=20 MaxTime=INFINITE
		PartitionName=high Nodes=$(node_list "$1") PriorityTier=10 PreemptMode=OFF MaxTime=INFINITE
		PartitionName=low0 Nodes=$(node_list "$1") PriorityTier=1 PreemptMode=REQUEUE GraceTime=0 MaxTime=INFINITE
		PartitionName=low2 Nodes=$(node_list "$1") PriorityTier=1 PreemptMode=REQUEUE GraceTime=2 MaxTime=INFINITE
		PartitionName=cancel0 Nodes=$(node_list "$1") PriorityTier=1 PreemptMode=CANCEL GraceTime=0 MaxTime=INFINITE
		PartitionName=cancel2 Nodes=$(node_list "$1") PriorityTier=1 PreemptMode=CANCEL GraceTime=2 MaxTime=INFINITE
		PartitionName=cancel20 Nodes=$(node_list "$1") PriorityTier=1 PreemptMode=CANCEL GraceTime=20 MaxTime=INFINITE
		PartitionName=spare Nodes=$(node_list "$1") PriorityTier=1 PreemptMode=OFF MaxTime=INFINITE
	END
}

cgroup_conf() { # PROCTRACK
	if [[ $1 == cgroup ]]; then
		printf 'CgroupPlugin=cgroup/v2\nIgnoreSystemd=yes\n'
	else
		echo CgroupPlugin=disabled
	fi
}

hosts() {
	local node
	echo "127.0.0.1 localhost"
	for node in $(node_names); do echo "$(address_of "$node") $node"; done
}

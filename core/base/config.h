/* smigrate.conf: Key=Value lines, '#' comments; every key has a default that works. */
#ifndef SMG_BASE_CONFIG_H
#define SMG_BASE_CONFIG_H

#include "base/err.h"

#include <stdbool.h>
#include <stdint.h>

#ifndef SMG_CONF_PATH
#define SMG_CONF_PATH "/etc/smigrate/smigrate.conf"
#endif
#ifndef SMG_RUN_DIR
#define SMG_RUN_DIR "/run/smigrate"
#endif
#define SMG_EPILOG_SPARE_S 5 /* what a save leaves of the time that Slurm gives an epilog; the plugin keeps to it, too */
#define SMG_SOCKET SMG_RUN_DIR "/smigrated.sock"
#define SMG_JOBS_DIR SMG_RUN_DIR "/jobs" /* one empty file a protected job: the extern step looks here, in microseconds */

struct smg_config {
	char node[64];	      /* NodeName: Slurm's name of this node; default: the host's short name */
	char state_host[256]; /* StateHost: where the cluster's state is kept; default: this node */
	char listen[256];     /* ListenAddress: what the peer port binds to; default: NodeName's address */
	int peer_port;	      /* PeerPort: 6822 */
	char state_dir[256];  /* StateDir: /var/lib/smigrate: journal, layers, saved images; root only */
	char spare_dir[256];  /* SpareDir: where a save goes when StateDir is full; empty: nowhere */
	int hold_max_s;	      /* HoldMax: seconds that an epilog may wait for a save; 30 */
	int dump_parallel;    /* DumpParallel: services dumped at one time; 0: as many as there are cores */
	int restore_parallel; /* RestoreParallel: likewise */
	int keep_failed_s;    /* KeepFailed: seconds that the images of a failed workflow are kept; 604800 */
	int keep_done_s;   /* KeepDone: seconds that the rows of a workflow that is over are kept; 7776000 (90 days); 0: for ever */
	int64_t spool_max; /* SpoolMax: bytes on disk that all that is kept may take, the first to end goes first; 0: no limit */
	int64_t land_max;  /* LandMax: bytes of memory that may hold what is streamed here for jobs to come; -1: half of all */
	int land_wait_s;   /* LandWait: seconds that a job has to start on the node where its memory is; 10 */
	int land_keep_s;   /* LandKeep: seconds after which memory that waits for its job is dropped or goes to disk; 600 */
	int64_t image_cache_max; /* ImageCacheMax: bytes of unpacked OCI images kept below StateDir; 20G */
	int64_t max_rate;	 /* MaxRate: bytes a second that this node sends at most; 0: no limit */
	bool encrypt;		 /* Encrypt: TLS 1.3 on data connections to this node */
	bool skip_zeros;	 /* SkipZeros: pages of zeros are not sent */
	bool dedup;		 /* Dedup: a page that the receiver has already is not sent again */
	bool compress;		 /* Compress: LZ4 where the link is what is waited for */
	uint32_t subnet;	 /* Subnet: of the addresses that services have on their workflow's network; 10.211.0.0/16 */
	int subnet_bits;	 /* ... of which so many are the network's */
	int poll_interval_s;	 /* PollInterval: the state host asks slurmctld about protected jobs so often; 5; 0: never */
	bool durable_disk;     /* Durable=disk: what is received for another node's job is on the disk before it is acknowledged */
	bool suspend_migrates; /* OnSuspend=migrate: a suspended job is moved to where it can run; default freeze */
	int suspend_start_s;   /* SuspendStart: ... if slurmctld says that it would start there within so many seconds; 2 */
	int user_moves;	       /* UserMoves: moves of one job that its owner may ask for in an hour; 6; root is not counted */
	bool debug;	       /* LogLevel=debug */
};

/* Reads path; a missing file gives the defaults, an unknown key or a bad value is SMG_EINVAL with file and line. */
int smg_config_load(const char *path, struct smg_config *out, struct smg_err *err);

#endif

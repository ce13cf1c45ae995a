/* How many checked and recorded state transitions a second: in batches of one transaction each, and one durable step each. */
#include "base/util.h"
#include "state/machine.h"
#include "state/store.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#define SERVICES 1000 /* a batch moves each of them once */
#define BATCHES 200
#define SINGLES 200

static struct smg_err err;
static char names[SERVICES][16];
static enum smg_svc_state states[SERVICES];

static int die(const char *what)
{
	fprintf(stderr, "bench_state: %s: %s\n", what, err.msg);
	return 1;
}

/* The round that a service makes when it moves. */
static enum smg_svc_state next(enum smg_svc_state s)
{
	switch (s) {
	case SMG_SVC_PENDING:
		return SMG_SVC_STARTING;
	case SMG_SVC_RUNNING:
		return SMG_SVC_FROZEN;
	case SMG_SVC_FROZEN:
		return SMG_SVC_SAVED;
	case SMG_SVC_SAVED:
		return SMG_SVC_RESTORING;
	default:
		return SMG_SVC_RUNNING;
	}
}

static int move(struct smg_store *st, int i, int64_t rev)
{
	struct smg_svc_row row = {.workflow = "1.bench",
		.name = names[i],
		.rev = rev,
		.idx = i,
		.node = "node0001",
		.attempts = 1,
		.exit_status = -1,
		.shim_pid = 1000 + i,
		.shim_start = 5000,
		.pid = 2000 + i,
		.updated_us = smg_now_us()};

	if (smg_svc_move(&states[i], next(states[i]), names[i], &err))
		return -1;
	row.state = smg_svc_state_name(states[i]);
	return smg_store_put_service(st, &row, &err);
}

static int batch(struct smg_store *st, int64_t rev)
{
	int rc = smg_store_begin(st, &err);

	for (int i = 0; i < SERVICES && !rc; i++)
		rc = move(st, i, rev);
	return rc ? rc : smg_store_end(st, true, &err);
}

static int prepare(struct smg_store *st)
{
	struct smg_wf_row w = {.id = "1.bench", .job = 1, .state = "running", .exit_status = -1};

	for (int i = 0; i < SERVICES; i++) {
		snprintf(names[i], sizeof(names[i]), "service%04d", i);
		states[i] = SMG_SVC_PENDING;
	}
	return smg_store_put_workflow(st, &w, &err) ? -1 : batch(st, 1);
}

/* Transitions a second; negative: failed. */
static double batched(const char *path, bool outbox)
{
	struct smg_store *st = NULL;
	int64_t start, took;
	int rc = smg_store_open(path, outbox, &st, &err) ? -1 : prepare(st);

	start = smg_steady_us();
	for (int b = 0; b < BATCHES && !rc; b++)
		rc = batch(st, b + 2);
	took = smg_steady_us() - start;
	smg_store_close(st);
	return rc ? -1 : (double)BATCHES * SERVICES * 1000000 / (double)took;
}

static double single(const char *path)
{
	struct smg_store *st = NULL;
	int64_t start, took;
	int rc = smg_store_open(path, true, &st, &err) ? -1 : prepare(st);

	start = smg_steady_us();
	for (int i = 0; i < SINGLES && !rc; i++)
		rc = move(st, i % SERVICES, i + 2);
	took = smg_steady_us() - start;
	smg_store_close(st);
	return rc ? -1 : (double)SINGLES * 1000000 / (double)took;
}

int main(void)
{
	char dir[] = "/tmp/smg-bench.XXXXXX", path[3][64];
	double plain, queued, one;

	if (!mkdtemp(dir))
		return die("no folder");
	for (int i = 0; i < 3; i++)
		snprintf(path[i], sizeof(path[i]), "%s/%d.db", dir, i);
	plain = batched(path[0], false);
	queued = batched(path[1], true);
	one = single(path[2]);
	smg_rmtree(dir, NULL);
	if (plain < 0 || queued < 0 || one < 0)
		return die("failed");
	printf("{\"bench\":\"state_transitions\",\"per_second\":%.0f,\"batch\":%d,\"goal\":50000,\"with_outbox_per_second\":%.0f,"
	       "\"one_by_one_per_second\":%.0f}\n",
		plain, SERVICES, queued, one);
	return 0;
}

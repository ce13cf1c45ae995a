/*
 * A daemon dies at each of its acts, before it and after it: of the node that the job leaves, of the one that it goes to, and of
 * the state host; where memory is streamed, where it goes to the disk, and in a move by hand. Each time it is started anew, and all
 * services go on from where they were, once.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "life.h"

#define WALKERS 16
#define SERVICES "a b>a c>a,b"

enum way { STREAM, DISK, BY_HAND, SUSPENDED, N_WAYS };
static const char *const way_names[] = {"streamed", "to the disk", "by hand", "suspended before"};

struct walk {
	struct world *w;
	enum way way;
	int node, at; /* whose daemon dies, at which of its acts; at 0: none does */
	bool after;
	struct node *on; /* where the job runs, or NULL */
	struct client *c;
	pthread_mutex_t lock; /* of on and c */
	_Atomic bool over;
	bool reached;
	char fault[512];
};

static bool broke(struct walk *k, const char *what)
{
	if (!k->fault[0])
		snprintf(k->fault, sizeof(k->fault), "%.500s", what);
	return false;
}

static void place(struct walk *k, struct node *on, bool attach)
{
	struct client *c = on ? run_as(on, JOB, spec("w", SERVICES), 1000, attach) : NULL;

	pthread_mutex_lock(&k->lock);
	k->on = on;
	k->c = c ? c : k->c;
	pthread_mutex_unlock(&k->lock);
}

/* Starts the daemon that has died; a `smigrate run` that was connected to it comes again. */
static void *keeper(void *arg)
{
	struct walk *k = arg;
	struct node *n = &k->w->nodes[k->node];
	struct smg_err err = {0};
	struct node *on;

	while (!atomic_load(&k->over)) {
		if (!atomic_exchange(&k->w->crash.hit, false)) {
			real_sleep_ms(1);
			continue;
		}
		k->reached = true;
		if (start_daemon_later(n, 2, &err) < 0)
			broke(k, err.msg);
		pthread_mutex_lock(&k->lock);
		on = k->on;
		pthread_mutex_unlock(&k->lock);
		if (on == n)
			place(k, n, true);
	}
	return NULL;
}

/* As Slurm's hooks and sentinels do: they ask again where the daemon ends before it has answered. */
static void tell_again(struct node *n, int (*fn)(struct smg_engine *, const json_t *, json_t **, struct smg_err *), json_t *req)
{
	SMG_AUTOJSON json_t *r = req;
	int64_t end = real_ns(CLOCK_MONOTONIC) + 2 * NS;

	while (real_ns(CLOCK_MONOTONIC) < end) {
		SMG_AUTOJSON json_t *reply = NULL;
		struct daemon *d = daemon_of(n);
		struct smg_err err = {0};

		if (d)
			fn(d->engine, r, &reply, &err);
		if (d && !d->dead)
			return;
		real_sleep_ms(1);
	}
}

static bool runs_all(struct walk *k, struct node *n)
{
	struct daemon *d = daemon_of(n);

	(void)k;
	for (const char *s = "abc"; *s; s++)
		if (!d || !runs_on(n, (char[]){'7', '.', 'w', '.', *s, '\0'}) ||
			!cell_is(d->journal, "services", "name = ?1", (char[]){*s, '\0'}, "state", "running"))
			return false;
	return wf_is(d->journal, ID, "running");
}

static void suspend_it(struct smg_job *j)
{
	j->state = SMG_JOB_SUSPENDED;
}

static int ask_move(struct node *n)
{
	SMG_AUTOJSON json_t *req = json_pack("{s:s,s:I,s:s}", "op", "move", "job", (json_int_t)JOB, "to", "n2"), *reply = NULL;
	struct smg_caller root = {0};
	struct daemon *d = daemon_of(n);
	struct smg_err err = {0};

	return d ? smg_engine_operate(d->engine, &root, req, &reply, &err) : -1;
}

static bool is_leaving(struct world *world)
{
	struct smg_job j = look_job(world, JOB);

	return j.completing || j.requeuing || j.state == SMG_JOB_PENDING;
}

/* Until Slurm takes the job off n1, by itself where nobody has had it done. */
static void leave_n1(struct walk *k)
{
	struct node *n = &k->w->nodes[N1];

	smg_slurm_fake_could_start(&k->w->slurm, k->way == DISK ? "" : "n2");
	if (k->way == SUSPENDED) {
		smg_slurm_fake_change(&k->w->slurm, JOB, suspend_it);
		tell_again(n, smg_engine_job_signal,
			json_pack("{s:I,s:s,s:i}", "job", (json_int_t)JOB, "step", "extern", "signal", SIGTSTP));
	}
	k->w->crash.at = k->at; /* armed */
	if (k->way == BY_HAND) {
		ask_move(n);
	} else {
		smg_slurm_fake_change(&k->w->slurm, JOB, mark_preempted);
		tell_again(n, smg_engine_job_signal,
			json_pack("{s:I,s:s,s:i}", "job", (json_int_t)JOB, "step", "extern", "signal", SIGTERM));
	}
	if (!WITHIN(300, is_leaving(k->w)))
		smg_slurm_fake_change(&k->w->slurm, JOB, mark_requeued);
	place(k, NULL, false);
	pthread_mutex_lock(&k->w->clients_lock);
	for (struct client *c = k->w->clients; c; c = c->next)
		hang_up(c);
	pthread_mutex_unlock(&k->w->clients_lock);
	tell_again(n, smg_engine_job_epilog, json_pack("{s:I}", "job", (json_int_t)JOB));
	smg_slurm_fake_epilog_done(&k->w->slurm, JOB);
}

static bool land_on_n2(struct walk *k)
{
	struct node *n = &k->w->nodes[N2];

	if (!WITHIN(500, smg_slurm_fake_schedule(&k->w->slurm, JOB, "n2"))) {
		smg_slurm_fake_change(&k->w->slurm, JOB, mark_eligible);
		if (!WITHIN(LONG_MS, smg_slurm_fake_schedule(&k->w->slurm, JOB, "n2")))
			return broke(k, "the job is not started again");
	}
	tell_again(n, smg_engine_job_prolog, json_pack("{s:I,s:s}", "job", (json_int_t)JOB, "file", "w.yaml"));
	place(k, n, true);
	return WITHIN(LONG_MS, runs_all(k, n)) || broke(k, "it does not land");
}

static bool is_done(struct walk *k)
{
	struct client *c;

	pthread_mutex_lock(&k->lock);
	c = k->c;
	pthread_mutex_unlock(&k->lock);
	return LOOK(c, done) && LOOK(c, status) == 0;
}

static bool state_says_done(struct walk *k)
{
	struct daemon *d = daemon_of(&k->w->nodes[CTL]);

	return d && wf_is(d->state, ID, "done");
}

static bool nothing_left(struct walk *k)
{
	for (int i = N1; i < N_NODES; i++)
		if (has_dir(&k->w->nodes[i], ID))
			return false;
	for (const char *s = "abc"; *s; s++)
		if (places(k->w, (char[]){'7', '.', 'w', '.', *s, '\0'}))
			return false;
	return true;
}

static bool end_well(struct walk *k)
{
	for (const char *s = "abc"; *s; s++)
		smg_fake_end(&k->w->nodes[N2].rt, (char[]){'7', '.', 'w', '.', *s, '\0'}, 0, "");
	if (!WITHIN(LONG_MS, is_done(k)))
		return broke(k, "it does not end well");
	smg_slurm_fake_change(&k->w->slurm, JOB, mark_cancelled); /* over: whoever keeps a copy sees that by itself */
	tell_again(&k->w->nodes[N2], smg_engine_job_epilog, json_pack("{s:I}", "job", (json_int_t)JOB));
	if (!WITHIN(LONG_MS, state_says_done(k)))
		return broke(k, "the state host does not know the end");
	return WITHIN(LONG_MS, nothing_left(k)) || broke(k, "something is left");
}

static void walk_one(struct walk *k)
{
	pthread_t t;

	pthread_mutex_init(&k->lock, NULL);
	k->w = new_world();
	k->w->crash = (struct crash){.node = &k->w->nodes[k->node], .after = k->after, .at = -1};
	pthread_create(&t, NULL, keeper, k);
	submit(&k->w->nodes[N1], JOB);
	place(k, &k->w->nodes[N1], false);
	if (WITHIN(LONG_MS, runs_all(k, &k->w->nodes[N1]))) {
		atomic_store(&k->w->crash.count, 0);
		leave_n1(k);
		if (land_on_n2(k) && end_well(k) && !started_once(k->w, "abc"))
			broke(k, "a service was started twice");
		if (k->w->wrong[0])
			broke(k, k->w->wrong);
	} else {
		broke(k, "it does not start");
	}
	atomic_store(&k->over, true);
	atomic_store(&k->w->crash.off, true);
	pthread_join(t, NULL);
	if (k->fault[0])
		tell_world(k->w, k->fault, k->c);
}

static void walk_free(struct walk *k)
{
	free_world(k->w);
	pthread_mutex_destroy(&k->lock);
}

/* ---- all of them ---- */

struct job {
	enum way way;
	int node, at;
	bool after;
};
static struct job *jobs;
static int n_places, n_jobs, next_job, reached, bad;
static pthread_mutex_t jobs_lock = PTHREAD_MUTEX_INITIALIZER;

static void *walker(void *arg)
{
	for (;;) {
		struct walk k = {0};
		struct job *j;

		pthread_mutex_lock(&jobs_lock);
		j = next_job < n_jobs ? &jobs[next_job++] : NULL;
		pthread_mutex_unlock(&jobs_lock);
		if (!j)
			return arg;
		k.way = j->way;
		k.node = j->node;
		k.at = j->at;
		k.after = j->after;
		walk_one(&k);
		pthread_mutex_lock(&jobs_lock);
		reached += k.reached;
		bad += k.fault[0] != '\0';
		if (k.fault[0])
			print_error("%s, the daemon of %s dies %s its act number %d: %s\n", way_names[j->way], node_names[j->node],
				j->after ? "after" : "before", j->at, k.fault);
		pthread_mutex_unlock(&jobs_lock);
		walk_free(&k);
	}
}

/* One of eight, which of them by SMG_TEST_SEED; SMG_TEST_CRASH=all takes all, SMG_TEST_CRASH="WAY NODE AFTER AT" one alone. */
static bool is_taken(int i)
{
	const char *all = getenv("SMG_TEST_CRASH"), *seed = getenv("SMG_TEST_SEED");

	return (all && !strcmp(all, "all")) || (i + (seed ? atoi(seed) : 0)) % 8 == 0;
}

static void add_jobs(enum way way, int node, bool after, int n)
{
	for (int at = 1; at <= n; at++) {
		if (!is_taken(n_places++))
			continue;
		jobs = smg_xrealloc(jobs, (size_t)n_jobs + 1, sizeof(*jobs));
		jobs[n_jobs++] = (struct job){way, node, at, after};
	}
}

/* How many acts there are without a crash; a few more may come with one. */
static void count_acts(enum way way, int node, bool after)
{
	struct walk k = {.way = way, .node = node, .after = after};

	walk_one(&k);
	assert_string_equal(k.fault, "");
	add_jobs(way, node, after, atomic_load(&k.w->crash.count));
	walk_free(&k);
}

static void at_every_act(void **state)
{
	static const int nodes[] = {N1, N2, CTL};
	const char *only = getenv("SMG_TEST_CRASH");
	int way, node, after, at;
	pthread_t t[WALKERS];

	(void)state;
	if (only && sscanf(only, "%d %d %d %d", &way, &node, &after, &at) == 4) {
		jobs = smg_xcalloc(1, sizeof(*jobs));
		jobs[n_jobs++] = (struct job){(enum way)way, node, at, after};
	} else {
		for (way = 0; way < N_WAYS; way++)
			for (size_t i = 0; i < sizeof(nodes) / sizeof(nodes[0]); i++)
				for (after = 0; after < 2; after++)
					count_acts((enum way)way, nodes[i], after);
	}
	for (int i = 0; i < WALKERS; i++)
		pthread_create(&t[i], NULL, walker, NULL);
	for (int i = 0; i < WALKERS; i++)
		pthread_join(t[i], NULL);
	print_message("%d places to die at, %d taken, %d of them come to; %d lost\n", n_places, n_jobs, reached, bad);
	assert_int_equal(bad, 0);
	assert_true(only || reached > n_jobs * 3 / 4);
	free(jobs);
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(at_every_act)};

	smg_log_level(getenv("SMG_TEST_LOG") ? SMG_DEBUG : SMG_ERROR);
	return cmocka_run_group_tests(tests, NULL, NULL);
}

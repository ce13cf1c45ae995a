/* Random interleavings of all that can befall a job: migrations, deaths, failures, losses; each by its seed. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "life.h"

#define WALKS 200
#define WALKERS 16
#define STEPS 3

/* One walk: a job with its diamond is driven about at random; what must hold, holds. */
struct walk {
	struct world *w;
	unsigned seed;
	struct node *on;
	struct client *c;
	int restores_fail;
	char fault[512];
};

static bool chance(struct walk *k, int in)
{
	return rand_r(&k->seed) % in == 0;
}

static bool broke(struct walk *k, const char *what)
{
	if (!k->fault[0])
		snprintf(k->fault, sizeof(k->fault), "%.500s", what);
	return false;
}

static bool walk_all_run(struct walk *k)
{
	const struct node *n = k->on;

	for (const char *s = "abc"; *s; s++)
		if (!runs_on(k->on, (char[]){'7', '.', 'w', '.', *s, '\0'}) ||
			!cell_is(n->daemon->journal, "services", "name = ?1", (char[]){*s, '\0'}, "state", "running"))
			return false;
	return wf_is(n->daemon->journal, ID, "running");
}

static void walk_run(struct walk *k, bool attach)
{
	k->c = run_as(k->on, JOB, spec("w", "a b>a c>a,b"), 1000, attach);
}

static void bad_luck(struct walk *k)
{
	static const char *const ops[] = {"where", "claim", "fetch", "release", "report"};

	if (chance(k, 3))
		smg_fake_net_fail(k->w->net, ops[rand_r(&k->seed) % 5], NULL, chance(k, 4) ? SMG_ETIME : SMG_EAGAIN, 1);
	if (chance(k, 3))
		smg_fake_net_lose(k->w->net, ops[rand_r(&k->seed) % 5], NULL, 1);
	if (k->restores_fail < 2 && chance(k, 4)) { /* three in a row are given up, rightly */
		k->restores_fail++;
		smg_fake_fail(&k->w->nodes[N1 + rand_r(&k->seed) % 3].rt, "restore", NULL, SMG_ESYS, 1);
	}
	if (chance(k, 5))
		smg_slurm_fake_fail(
			&k->w->slurm, chance(k, 2) ? "start_now" : "job", JOB, chance(k, 2) ? SMG_EBUSY : SMG_EAGAIN, 1);
}

/* kill -9 and a new start, at any moment. */
static bool walk_kill(struct walk *k, struct node *n)
{
	struct smg_err err = {0};

	if (chance(k, 4) && start_daemon_later(n, rand_r(&k->seed) % 5, &err) < 0)
		return broke(k, err.msg);
	return true;
}

static void mark_suspended_(struct smg_job *j)
{
	if (j->state == SMG_JOB_RUNNING && !j->completing)
		j->state = SMG_JOB_SUSPENDED;
}

static void mark_resumed(struct smg_job *j)
{
	if (j->state == SMG_JOB_SUSPENDED && !j->completing)
		j->state = SMG_JOB_RUNNING;
}

/* Suspended, and mostly resumed: the words may come in the middle of anything, or be lost with a daemon. */
static bool walk_suspend(struct walk *k)
{
	bool alive = true, resumed;

	for (int i = 0; i < 2 && chance(k, 3); i++) {
		smg_slurm_fake_change(&k->w->slurm, JOB, mark_suspended_);
		signalled(k->on, JOB, SIGTSTP);
		real_sleep_ms(rand_r(&k->seed) % 5);
		alive = alive && walk_kill(k, k->on);
		resumed = chance(k, 2);
		if (resumed) {
			smg_slurm_fake_change(&k->w->slurm, JOB, mark_resumed);
			signalled(k->on, JOB, SIGCONT);
		}
	}
	return alive;
}

/* Until Slurm has taken the job off its node. */
static bool walk_leave(struct walk *k)
{
	bool alive = walk_suspend(k);

	/* Foretold rightly, wrongly, or not at all. */
	smg_slurm_fake_could_start(&k->w->slurm, chance(k, 3) ? "" : node_names[N1 + rand_r(&k->seed) % 3]);
	if (chance(k, 4)) {
		smg_slurm_fake_change(&k->w->slurm, JOB, mark_requeued);
	} else {
		preempt(k->on, JOB);
		real_sleep_ms(rand_r(&k->seed) % 8);
	}
	alive = alive && walk_kill(k, k->on);
	/* Nobody heard of it, say because the workflow was not on the node yet: then the grace ends. */
	if (!WITHIN(200, look_job(k->w, JOB).completing))
		smg_slurm_fake_change(&k->w->slurm, JOB, mark_requeued);
	end_run(k->on, JOB);
	return alive && walk_kill(k, k->on);
}

static bool walk_go(struct walk *k)
{
	/* In its own time: the daemon may have been killed before it could ask. */
	if (!WITHIN(500, smg_slurm_fake_schedule(&k->w->slurm, JOB, k->on->name))) {
		smg_slurm_fake_change(&k->w->slurm, JOB, mark_eligible);
		if (!WITHIN(LONG_MS, smg_slurm_fake_schedule(&k->w->slurm, JOB, k->on->name)))
			return broke(k, "the job is not started again");
	}
	prolog(k->on, JOB);
	walk_run(k, false);
	real_sleep_ms(rand_r(&k->seed) % 10);
	if (chance(k, 3)) {
		if (start_daemon_later(k->on, 0, &(struct smg_err){0}) < 0)
			return broke(k, "cannot start again");
		walk_run(k, true);
	}
	return chance(k, 3) || WITHIN(LONG_MS, walk_all_run(k)) || broke(k, "it does not land");
}

static bool walk_end(struct walk *k)
{
	bool cancelled = chance(k, 2);

	if (!WITHIN(LONG_MS, walk_all_run(k)))
		return broke(k, "it does not land at last");
	if (cancelled) {
		smg_slurm_fake_change(&k->w->slurm, JOB, mark_cancelled);
		term(k->on, JOB);
	}
	for (const char *s = "abc"; *s && !cancelled; s++)
		smg_fake_end(&k->on->rt, (char[]){'7', '.', 'w', '.', *s, '\0'}, 0, "");
	if (!WITHIN(LONG_MS, LOOK(k->c, done)) || k->c->status != (cancelled ? 143 : 0))
		return broke(k, "it does not end as it should");
	return WITHIN(LONG_MS, wf_is(state_of(k->w), ID, cancelled ? "stopped" : "done")) ||
	       broke(k, "the state host does not know the end");
}

static bool walk_check(struct walk *k)
{
	if (!started_once(k->w, "abc"))
		return broke(k, "a service was started twice");
	for (const char *s = "abc"; *s; s++)
		if (places(k->w, (char[]){'7', '.', 'w', '.', *s, '\0'}))
			return broke(k, "a container is left over");
	return !k->w->wrong[0] || broke(k, k->w->wrong);
}

static void walk_one(struct walk *k)
{
	k->w = new_world();
	k->on = &k->w->nodes[N1];
	submit(k->on, JOB);
	walk_run(k, false);
	if (!WITHIN(LONG_MS, walk_all_run(k)))
		broke(k, "it does not start");
	for (int i = 0; i < STEPS && !k->fault[0]; i++) {
		bad_luck(k);
		if (!walk_leave(k))
			break;
		k->on = &k->w->nodes[N1 + rand_r(&k->seed) % 3];
		if (!walk_go(k))
			break;
	}
	if (!k->fault[0] && walk_end(k))
		walk_check(k);
	if (k->fault[0])
		tell_world(k->w, k->fault, k->c);
	free_world(k->w);
}

static pthread_mutex_t walk_lock = PTHREAD_MUTEX_INITIALIZER;
static unsigned next_walk, last_walk, bad_walks;

static void *walker(void *arg)
{
	for (;;) {
		struct walk k = {0};
		unsigned number;

		pthread_mutex_lock(&walk_lock);
		number = k.seed = ++next_walk;
		pthread_mutex_unlock(&walk_lock);
		if (number > last_walk)
			return arg;
		walk_one(&k);
		if (!k.fault[0])
			continue;
		print_error("walk %u: %s\n", number, k.fault);
		pthread_mutex_lock(&walk_lock);
		bad_walks++;
		pthread_mutex_unlock(&walk_lock);
	}
}

/* SMG_TEST_WALK=N takes the N-th alone, SMG_TEST_WALKS=N the first N: where these have found nothing, thousands may. */
static void random_walks(void **state)
{
	const char *only = getenv("SMG_TEST_WALK"), *many = getenv("SMG_TEST_WALKS");
	pthread_t t[WALKERS];

	(void)state;
	next_walk = only ? (unsigned)atoi(only) - 1 : 0;
	last_walk = only		 ? next_walk + 1
		    : many		 ? (unsigned)atoi(many)
		    : getenv("VALGRIND") ? WALKS / 10
					 : WALKS; /* a hundred times as long each */
	for (int i = 0; i < WALKERS; i++)
		pthread_create(&t[i], NULL, walker, NULL);
	for (int i = 0; i < WALKERS; i++)
		pthread_join(t[i], NULL);
	assert_int_equal(bad_walks, 0);
}

/* One word: only the tests that match it ("killed*"). SMG_TEST_LOG=1: what the daemons say, too. */
int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
#define T(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)
		cmocka_unit_test(random_walks),
	};

	smg_log_level(getenv("SMG_TEST_LOG") ? SMG_DEBUG : SMG_ERROR);
	if (argc > 1)
		cmocka_set_test_filter(argv[1]);
	return cmocka_run_group_tests(tests, NULL, NULL);
}

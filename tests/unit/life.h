/* A job's life in few words: what the tests of whole migrations begin with. Include it after cmocka.h. */
#include "fixture.h"

#define JOB 7
#define ID "7.w"
#define DIAMOND "a b>a c>a d>b,c"
#define SOON(cond)                                                                                                                 \
	do {                                                                                                                       \
		if (!WITHIN(LONG_MS, cond))                                                                                        \
			fail_msg("does not come true: %s", #cond);                                                                 \
	} while (0)

static struct world *w;
static struct node *ctl, *n1, *n2, *n3;

static inline int set_up(void **state)
{
	(void)state;
	w = new_world();
	ctl = &w->nodes[CTL];
	n1 = &w->nodes[N1];
	n2 = &w->nodes[N2];
	n3 = &w->nodes[N3];
	return 0;
}

static inline int tear_down(void **state)
{
	bool wrong = w->wrong[0];

	(void)state;
	if (wrong)
		print_error("%s\n", w->wrong);
	free_world(w);
	return wrong ? -1 : 0;
}

/* ---- a job ---- */

static inline struct client *run(struct node *n, const char *services)
{
	return run_as(n, JOB, spec("w", services), 1000, false);
}

/* A job on n1 whose services all run. */
static inline struct client *begin(const char *services)
{
	struct client *c;

	submit(n1, JOB);
	c = run(n1, services);
	SOON(LOOK(c, ok));
	return c;
}

static inline bool all_run(struct node *n, const char *names)
{
	SMG_AUTOFREE char *text = strdup(names);
	char *save = NULL, id[64];

	for (char *p = strtok_r(text, " ", &save); p; p = strtok_r(NULL, " ", &save)) {
		snprintf(id, sizeof(id), ID ".%s", p);
		if (!runs_on(n, id) || !cell_is(n->daemon->journal, "services", "name = ?1", p, "state", "running"))
			return false;
	}
	return true;
}

static inline bool completing(uint32_t job)
{
	return look_job(w, job).completing;
}

/* Preempted on `from`, until Slurm could start it again. */
static inline void take_away(struct node *from)
{
	preempt(from, JOB);
	SOON(completing(JOB));
	end_run(from, JOB);
}

/* Slurm starts it again, once it has been asked to. */
static inline void start_again(struct node *to)
{
	SOON(smg_slurm_fake_schedule(&w->slurm, JOB, to->name));
	prolog(to, JOB);
}

static inline struct client *move(struct node *from, struct node *to, const char *services)
{
	take_away(from);
	start_again(to);
	return run(to, services);
}

/* 0, or the error's code; *reply is the caller's. */
static inline int claim_as(struct node *by, struct node *at, int64_t restarts, const char *not_at, json_t **reply)
{
	SMG_AUTOJSON json_t *req =
		json_pack("{s:s,s:s,s:I,s:s}", "op", "claim", "workflow", ID, "restarts", (json_int_t)restarts, "not_at", not_at);
	struct smg_peer *p = &by->daemon->peer;
	struct smg_err err = {0};

	*reply = NULL;
	return p->ops->call(p->ctx, at->name, req, 1000, reply, &err) < 0 ? (int)err.code : 0;
}

/* ---- what becomes of it ---- */

static inline void end_service(struct node *n, const char *id, int status)
{
	SOON(smg_fake_end(&n->rt, id, status, ""));
}

static inline void assert_done(struct client *c, int status)
{
	SOON(LOOK(c, done));
	assert_int_equal(LOOK(c, status), status);
}

static inline void assert_nothing_left(struct node *n)
{
	SMG_AUTOJSON json_t *rows = NULL;

	SOON(!has_dir(n, ID));
	SOON(wf_is(n->daemon->journal, ID, ""));
	assert_int_equal(smg_store_query(n->daemon->journal, "services", "workflow = ?1", ID, NULL, NULL, &rows, NULL), 0);
	assert_int_equal(json_array_size(rows), 0);
}

static inline void assert_log(char *log, const char *want)
{
	SMG_AUTOFREE char *own = log;

	assert_string_equal(own, want);
}

static inline int count_rows(struct smg_store *st, const char *table, const char *where, const char *arg)
{
	SMG_AUTOJSON json_t *rows = NULL;

	return smg_store_query(st, table, where, arg, NULL, NULL, &rows, NULL) < 0 ? -1 : (int)json_array_size(rows);
}

/* ---- bad luck ---- */

static inline void reborn(struct node *n)
{
	struct smg_err err = {0};

	if (start_daemon_later(n, 0, &err) < 0)
		fail_msg("%s", err.msg);
}

static inline bool released(const struct node *n)
{
	SMG_AUTOFREE char *log = smg_fake_net_log(w->net), *line = smg_xasprintf("release %s\n", n->name);

	return strstr(log, line) != NULL;
}

static inline void rejoin(struct node *n)
{
	smg_fake_join(w->net, n->name, asked, n->daemon, &n->daemon->peer);
}

static inline void cancel(struct node *on)
{
	smg_slurm_fake_change(&w->slurm, JOB, mark_cancelled);
	if (on)
		term(on, JOB);
}

static inline struct client *back(struct node *n, const char *services)
{
	return run_as(n, JOB, spec("w", services), 1000, true);
}

static inline void assert_moved_rows(struct smg_store *st)
{
	static const char *const phases[] = {"freeze", "dump", "send", "restore"};

	SOON(cell_is(st, "migrations", "id = ?1", ID ".1", "state", "done"));
	SOON(wf_is(st, ID, "running") && cell_is(st, "workflows", "id = ?1", ID, "node", "n2"));
	assert_true(cell_is(st, "migrations", "id = ?1", ID ".1", "cause", "preempt"));
	assert_true(cell_is(st, "migrations", "id = ?1", ID ".1", "from_node", "n1"));
	assert_true(cell_is(st, "migrations", "id = ?1", ID ".1", "to_node", "n2"));
	assert_true(cell_is(st, "migrations", "id = ?1", ID ".1", "moved", "4"));
	assert_int_equal(count_rows(st, "services", "state = 'running' AND node = 'n2' AND workflow = ?1", ID), 4);
	for (size_t i = 0; i < 4; i++)
		SOON(count_rows(st, "phases", "phase = ?1 AND end_us > 0 AND end_us >= start_us", phases[i]) == 4);
	assert_int_equal(count_rows(st, "phases", "phase = ?1 AND service = '*'", "pending"), 1);
}

/* ---- at the end of a walk ---- */

static inline struct daemon *daemon_of(struct node *n)
{
	struct daemon *d;

	pthread_mutex_lock(&n->lock);
	d = n->daemon && n->daemon->serving ? n->daemon : NULL;
	pthread_mutex_unlock(&n->lock);
	return d;
}

/* Each service, a letter each, has been launched once, wherever that was. */
static inline bool started_once(struct world *world, const char *letters)
{
	for (const char *s = letters; *s; s++) {
		SMG_AUTOFREE char *launch = smg_xasprintf("launch " ID ".%c\n", *s);
		int n = 0;

		for (int i = 0; i < N_NODES; i++)
			n += acts(&world->nodes[i], launch);
		if (n != 1)
			return false;
	}
	return true;
}

/* Where things stood when it went wrong. */
static inline void tell_world(struct world *world, const char *fault, struct client *c)
{
	SMG_AUTOFREE char *net = smg_fake_net_log(world->net), *slurm = smg_slurm_fake_log(&world->slurm);

	pthread_mutex_lock(&c->lock);
	print_error("%s; the last client was told:\n%s%s%s", fault, c->said, net, slurm);
	pthread_mutex_unlock(&c->lock);
	for (int i = CTL; i < N_NODES; i++) {
		struct node *n = &world->nodes[i];
		struct daemon *d = daemon_of(n);
		SMG_AUTOFREE char *log = smg_fake_log(&n->rt);
		SMG_AUTOJSON json_t *doc = NULL;

		if (d && smg_store_show(d->state ? d->state : d->journal, -1, ID, &doc, NULL) == 0)
			json_object_del(doc, "migrations");
		print_error("%s%s: ", n->name, has_dir(n, ID) ? " (has a folder)" : "");
		json_dumpf(doc ? doc : json_null(), stderr, JSON_INDENT(1));
		print_error("\n%s", log);
	}
}

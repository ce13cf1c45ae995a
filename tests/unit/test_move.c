/* Moves by hand against a fake world: what is refused, what is called off, and that the way back is always there. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "life.h"

#define OWNER 1000
#define OTHER 1001

/* ---- asking ---- */

static json_t *last; /* the answer to the last request, or NULL */
static struct smg_err last_err;

/* 0, or the code of the refusal. steals the request */
static int ask(struct node *n, uid_t uid, json_t *request)
{
	SMG_AUTOJSON json_t *req = request;
	struct smg_caller caller = {.pid = 1, .uid = uid, .gid = uid};

	json_decref(last);
	last = NULL;
	memset(&last_err, 0, sizeof(last_err));
	return smg_engine_operate(n->daemon->engine, &caller, req, &last, &last_err) < 0 ? last_err.code : 0;
}

static int ask_move(uid_t uid, const char *to, bool dry)
{
	return ask(ctl, uid, json_pack("{s:s,s:i,s:s,s:b}", "op", "move", "job", JOB, "to", to, "dry_run", dry));
}

static int ask_cancel(uid_t uid, const char *id, bool dry)
{
	return ask(ctl, uid, json_pack("{s:s,s:s,s:b}", "op", "cancel", "id", id, "dry_run", dry));
}

static int ask_node_op(uid_t uid, const char *op, const char *node, const char *key, bool value)
{
	return ask(ctl, uid, json_pack("{s:s,s:s,s:b}", "op", op, "node", node, key, value));
}

static bool refusal_has(const char *what)
{
	return strstr(last_err.msg, what) != NULL;
}

/* ---- looking ---- */

static bool mig_is(const char *id, const char *column, const char *want)
{
	return cell_is(state_of(w), "migrations", "id = ?1", id, column, want);
}

static bool holds(struct node *n)
{
	SMG_AUTOFREE char *memory = smg_xasprintf("%s/memory.%s/hold/" ID, w->dir, n->name);

	return access(memory, F_OK) == 0;
}

/* As n1 has it on record, which it does a moment after the container runs. */
static bool is_running(const char *workflow)
{
	return cell_is(n1->daemon->journal, "services", "workflow = ?1", workflow, "state", "running");
}

static bool has_frozen(struct node *n)
{
	return smg_fake_state(&n->rt, ID ".a") == SMG_FAKE_FROZEN || smg_fake_state(&n->rt, ID ".b") == SMG_FAKE_FROZEN;
}

static struct client *aimed(const char *services, const char *names)
{
	struct client *c;

	smg_slurm_fake_could_start(&w->slurm, "n2");
	c = begin(services);
	SOON(all_run(n1, names));
	SOON(wf_is(state_of(w), ID, "running"));
	return c;
}

/* It is where it was, the very same life of it; nothing has been asked of Slurm, and nobody holds anything. */
static void assert_back(struct client *c, const char *names, const char *why)
{
	SMG_AUTOFREE char *text = NULL;

	SOON(mig_is(ID ".1", "state", "failed"));
	text = cell(state_of(w), "migrations", "id = ?1", ID ".1", "error");
	if (!strstr(text, why))
		fail_msg("'%s' is not in '%s'", why, text);
	SOON(all_run(n1, names));
	SOON(wf_is(n1->daemon->journal, ID, "running"));
	assert_int_equal(slurm_acts(w, "requeue") + slurm_acts(w, "end_script") + slurm_acts(w, "start_now"), 0);
	assert_int_equal(acts(n1, "restore "), 0);
	assert_false(LOOK(c, moved) || LOOK(c, end) || LOOK(c, gone));
	SOON(!holds(n2) && !holds(n3));
	assert_int_equal(look_job(w, JOB).state, SMG_JOB_RUNNING);
}

/* Slurm does its part: the job goes from n1 and starts on `to`. */
static struct client *land(struct node *to, const char *services)
{
	SOON(completing(JOB));
	end_run(n1, JOB);
	start_again(to);
	return run(to, services);
}

/* Nothing was in its way: it can be moved still, and goes on exactly. */
static void assert_moves_now(struct node *to, const char *services, const char *names)
{
	struct client *c;

	SOON(!ask_move(0, "", false)); /* on record as failed a moment before the next may begin */
	c = land(to, services);
	SOON(said(c, "run again on"));
	SOON(all_run(to, names));
	assert_nothing_left(n1);
}

/* ---- as it should be ---- */

static void moved_by_its_owner(void **state)
{
	struct client *c = aimed(DIAMOND, "a b c d");
	struct smg_job j;

	(void)state;
	w->config.user_moves = 6;
	reborn(n1);
	c = back(n1, DIAMOND);
	SOON(LOOK(c, ok));
	assert_int_equal(ask_move(OWNER, "", false), 0);
	assert_string_equal(json_string_value(json_object_get(json_object_get(last, "data"), "to")), "n2");
	c = land(n2, DIAMOND);
	SOON(said(c, "run again on n2: 4 moved, 0 to be started again"));
	SOON(all_run(n2, "a b c d"));
	SOON(mig_is(ID ".1", "state", "done") && mig_is(ID ".1", "cause", "move") && mig_is(ID ".1", "from_node", "n1"));
	assert_nothing_left(n1);
	assert_int_equal(acts(n1, "dump ") + acts(n2, "launch "), 0);
	assert_int_equal(slurm_acts(w, "requeue 7"), 1);
	assert_int_equal(slurm_acts(w, "end_script"), 0);
	j = look_job(w, JOB);
	assert_int_equal(j.priority, 5);
	assert_string_equal(j.req_nodes, "n2");
}

static void to_a_node_by_an_operator(void **state)
{
	struct client *c = aimed("a b>a", "a b");

	(void)state;
	smg_slurm_fake_could_start(&w->slurm, "n2,n3");
	assert_int_equal(ask_move(SMG_FAKE_SLURM_USER, "n3", false), 0);
	c = land(n3, "a b>a");
	SOON(said(c, "run again on n3: 2 moved"));
	SOON(mig_is(ID ".1", "cause", "operator") && mig_is(ID ".1", "to_node", "n3"));
}

/* All that the file says of published ways is for comparison: they cannot go back. */
static void always_streams(void **state)
{
	json_t *s = spec("w", "a b>a");
	struct client *c;

	(void)state;
	json_object_set_new(s, "strategy", json_string("sequential"));
	smg_slurm_fake_could_start(&w->slurm, "n2");
	submit(n1, JOB);
	c = run_as(n1, JOB, s, OWNER, false);
	SOON(LOOK(c, ok) && all_run(n1, "a b"));
	assert_int_equal(ask_move(0, "", false), 0);
	SOON(LOOK(c, moved));
	assert_int_equal(acts(n1, "dump "), 0);
	assert_int_equal(acts(n1, "dump_pages"), 2);
	SOON(mig_is(ID ".1", "strategy", "stream"));
}

static void all_of_a_job(void **state)
{
	struct client *c = aimed("a", "a"), *second = run_as(n1, JOB, spec("v", "x"), OWNER, false);

	(void)state;
	SOON(LOOK(second, ok) && is_running("7.v"));
	assert_int_equal(ask_move(0, "", false), 0);
	assert_int_equal(json_array_size(json_object_get(json_object_get(last, "data"), "moves")), 2);
	c = land(n2, "a");
	second = run_as(n2, JOB, spec("v", "x"), OWNER, false);
	SOON(said(c, "run again on n2") && said(second, "run again on n2"));
	assert_int_equal(slurm_acts(w, "requeue 7"), 1);
}

static void dry_run_does_nothing(void **state)
{
	struct client *c = aimed("a b>a", "a b");
	const json_t *plan;

	(void)state;
	assert_int_equal(ask_move(0, "", true), 0);
	plan = json_array_get(json_object_get(json_object_get(last, "data"), "plans"), 0);
	assert_string_equal(json_string_value(json_object_get(plan, "to")), "n2");
	assert_int_equal(json_array_size(json_object_get(plan, "services")), 2);
	assert_int_equal(acts(n1, "freeze") + slurm_acts(w, "requeue"), 0);
	assert_int_equal(count_rows(n1->daemon->journal, "migrations", "workflow = ?1", ID), 0);
	assert_false(LOOK(c, moved));
	assert_moves_now(n2, "a b>a", "a b");
}

/* ---- refused ---- */

static void mark_held(struct smg_job *j)
{
	j->priority = 0;
	j->held = true;
}
static void mark_freed(struct smg_job *j)
{
	j->priority = 5;
	j->held = false;
}
static void mark_suspended(struct smg_job *j)
{
	j->state = SMG_JOB_SUSPENDED;
}
static void mark_running(struct smg_job *j)
{
	j->state = SMG_JOB_RUNNING;
	j->completing = j->requeuing = false;
	j->preempted = 0;
}
static void mark_no_requeue(struct smg_job *j)
{
	j->requeue_ok = false;
}
static void mark_requeue(struct smg_job *j)
{
	j->requeue_ok = true;
}
static void mark_bound(struct smg_job *j)
{
	snprintf(j->req_nodes, sizeof(j->req_nodes), "n1");
}
static void mark_free(struct smg_job *j)
{
	j->req_nodes[0] = '\0';
	snprintf(j->exc_nodes, sizeof(j->exc_nodes), "n3");
}

/* What changes the job, what is asked then, the refusal's code and a part of it, and what puts it back. */
static void job_refused(void **state)
{
	static const struct {
		void (*change)(struct smg_job *j);
		const char *to;
		int code;
		const char *words;
		void (*back)(struct smg_job *j);
	} cases[] = {
		{mark_held, "", SMG_EPERM, "held", mark_freed},
		{mark_suspended, "", SMG_EBUSY, "suspended", mark_running},
		{mark_preempted, "", SMG_EBUSY, "preempted", mark_running},
		{mark_no_requeue, "", SMG_EUNSUP, "--no-requeue", mark_requeue},
		{mark_bound, "", SMG_EBUSY, "keeps it on n1", NULL},
		{NULL, "n2", SMG_EPERM, "not in the job's own list", mark_free},
		{NULL, "n3", SMG_EPERM, "--exclude", NULL},
		{NULL, "n1", SMG_EINVAL, "on n1 already", NULL},
		{NULL, "n9", SMG_ENOENT, "knows no node n9", NULL},
	};
	struct client *c = aimed("a b>a", "a b");

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		if (cases[i].change)
			smg_slurm_fake_change(&w->slurm, JOB, cases[i].change);
		if (ask_move(0, cases[i].to, false) != cases[i].code || !refusal_has(cases[i].words))
			fail_msg("case %zu: %d, %s", i, last_err.code, last_err.msg);
		if (cases[i].back)
			smg_slurm_fake_change(&w->slurm, JOB, cases[i].back);
	}
	assert_int_equal(acts(n1, "freeze") + slurm_acts(w, "requeue"), 0);
	assert_int_equal(count_rows(n1->daemon->journal, "migrations", "workflow = ?1", ID), 0);
	assert_false(LOOK(c, moved));
	assert_moves_now(n2, "a b>a", "a b");
}

static void others_and_nowhere(void **state)
{
	struct client *c = aimed("a b>a", "a b");

	(void)state;
	assert_int_equal(ask_move(OTHER, "", false), SMG_ENOENT);
	assert_int_equal(ask_cancel(OTHER, "7", false), SMG_ENOENT);
	smg_slurm_fake_could_start(&w->slurm, "");
	assert_int_equal(ask_move(0, "", false), SMG_EBUSY);
	assert_true(refusal_has("nowhere to go"));
	smg_slurm_fake_could_start(&w->slurm, "n2");
	assert_int_equal(ask_node_op(0, "drain", "n3", "dry_run", false), 0);
	assert_int_equal(ask_move(0, "n3", false), SMG_EBUSY);
	assert_true(refusal_has("drained"));
	smg_fake_fail(&n1->rt, "obstacles", ID ".b", SMG_EUNSUP, 1);
	assert_int_equal(ask_move(0, "", false), SMG_EUNSUP);
	assert_true(refusal_has("service b cannot be saved as it is"));
	assert_int_equal(ask(ctl, 0, json_pack("{s:s,s:i}", "op", "move", "job", 99)), SMG_ENOENT);
	assert_false(LOOK(c, moved));
	assert_moves_now(n2, "a b>a", "a b");
}

static void as_often_as_the_site_allows(void **state)
{
	struct client *c = aimed("a", "a");

	(void)state;
	assert_int_equal(ask_move(OWNER, "", false), SMG_EPERM); /* UserMoves=0 here */
	assert_true(refusal_has("UserMoves=0"));
	w->config.user_moves = 1;
	for (int i = N1; i <= N2; i++)
		reborn(&w->nodes[i]);
	c = back(n1, "a");
	SOON(LOOK(c, ok));
	assert_int_equal(ask_move(OWNER, "", false), 0);
	c = land(n2, "a");
	SOON(said(c, "run again on n2"));
	smg_slurm_fake_could_start(&w->slurm, "n3");
	SOON(wf_is(state_of(w), ID, "running"));
	assert_int_equal(ask_move(OWNER, "", false), SMG_EPERM);
	assert_true(refusal_has("1 times within an hour"));
	assert_int_equal(ask_move(0, "", true), 0);
	step_clock(CLOCK_REALTIME, 3700);
	assert_int_equal(ask_move(OWNER, "", true), 0);
}

/* ---- it goes back ---- */

static void service_cannot_be_saved(void **state)
{
	struct client *c = aimed(DIAMOND, "a b c d");

	(void)state;
	smg_fake_fail(&n1->rt, "dump_pages", ID ".b", SMG_EUNSUP, 1);
	assert_int_equal(ask_move(0, "", false), 0);
	assert_back(c, "a b c d", "service b");
	assert_int_equal(acts(n1, "dump "), 0); /* nor to the disk */
	assert_moves_now(n2, DIAMOND, "a b c d");
}

static void service_cannot_be_frozen(void **state)
{
	struct client *c = aimed(DIAMOND, "a b c d");

	(void)state;
	smg_fake_fail(&n1->rt, "freeze", ID ".b", SMG_ESYS, 3);
	assert_int_equal(ask_move(0, "", false), 0);
	assert_back(c, "a b c d", "service b");
	assert_moves_now(n2, DIAMOND, "a b c d");
}

static void no_room_there(void **state)
{
	struct client *c = aimed("a b>a", "a b");

	(void)state;
	smg_fake_net_fail(w->net, "room", "n2", SMG_ENOSPC, 1);
	assert_int_equal(ask_move(0, "", false), 0);
	assert_back(c, "a b", "n2 makes no room");
	assert_int_equal(acts(n1, "freeze"), 0);
	assert_moves_now(n2, "a b>a", "a b");
}

static void target_dies(void **state)
{
	struct client *c = aimed(DIAMOND, "a b c d");
	struct smg_err err;

	(void)state;
	smg_fake_delay(&n1->rt, "dump_pages", 1000);
	assert_int_equal(ask_move(0, "", false), 0);
	SOON(has_frozen(n1));
	kill_daemon(n2);
	SOON(mig_is(ID ".1", "state", "failed"));
	assert_int_equal(start_daemon(n2, &err), 0);
	assert_back(c, "a b c d", "service ");
	assert_moves_now(n2, DIAMOND, "a b c d");
}

/* Complete, and gone again before Slurm is asked. */
static void target_forgets(void **state)
{
	struct client *c = aimed("a b>a", "a b");

	(void)state;
	smg_fake_net_fail(w->net, "holding", "n2", SMG_EAGAIN, 1);
	assert_int_equal(ask_move(0, "", false), 0);
	assert_back(c, "a b", "fake failure");
	assert_moves_now(n2, "a b>a", "a b");
}

static void slurm_does_not_requeue(void **state)
{
	struct client *c = aimed("a b>a", "a b");

	(void)state;
	smg_slurm_fake_fail(&w->slurm, "requeue", JOB, SMG_EAGAIN, 1);
	assert_int_equal(ask_move(0, "", false), 0);
	assert_back(c, "a b", "fake failure");
	assert_moves_now(n2, "a b>a", "a b");
}

/* slurmctld is away when all is there: nobody stands still for long. */
static void slurm_is_away(void **state)
{
	struct client *c = aimed("a b>a", "a b");

	(void)state;
	smg_fake_delay(&n1->rt, "dump_pages", 500);
	assert_int_equal(ask_move(0, "", false), 0);
	SOON(has_frozen(n1));
	smg_slurm_fake_fail(&w->slurm, "job", JOB, SMG_EAGAIN, 1);
	assert_back(c, "a b", "fake failure");
	assert_moves_now(n2, "a b>a", "a b");
}

/* An admin holds it while it is being sent: started again it would not be. */
static void held_meanwhile(void **state)
{
	struct client *c = aimed("a b>a", "a b");

	(void)state;
	smg_fake_delay(&n1->rt, "dump_pages", 500);
	assert_int_equal(ask_move(0, "", false), 0);
	SOON(has_frozen(n1));
	smg_slurm_fake_change(&w->slurm, JOB, mark_held);
	assert_back(c, "a b", "held");
	smg_slurm_fake_change(&w->slurm, JOB, mark_freed);
	assert_moves_now(n2, "a b>a", "a b");
}

static void network_is_let_go(void **state)
{
	struct client *c = aimed("a& b&>a", "a b");

	(void)state;
	smg_fake_fail(&n1->rt, "dump_pages", ID ".b", SMG_EUNSUP, 1);
	assert_int_equal(ask_move(0, "", false), 0);
	assert_back(c, "a b", "service b");
	assert_int_equal(acts(n1, "net_hold"), 1);
	SOON(acts(n1, "net_free") == 1);
	assert_int_equal(acts(n1, "net_down"), 0);
	assert_moves_now(n2, "a& b&>a", "a b");
}

static void second_workflow_fails(void **state)
{
	struct client *c = aimed("a", "a"), *second = run_as(n1, JOB, spec("v", "x"), OWNER, false);

	(void)state;
	SOON(LOOK(second, ok) && is_running("7.v"));
	smg_fake_fail(&n1->rt, "dump_pages", "7.v.x", SMG_EUNSUP, 1);
	assert_int_equal(ask_move(0, "", false), 0);
	assert_back(c, "a", "service x");
	SOON(runs_on(n1, "7.v.x"));
	SOON(mig_is("7.v.1", "state", "failed"));
}

/* ---- called off ---- */

static void cancelled_in_time(void **state)
{
	struct client *c = aimed(DIAMOND, "a b c d");

	(void)state;
	w->config.user_moves = 6;
	reborn(n1);
	c = back(n1, DIAMOND);
	SOON(LOOK(c, ok));
	assert_int_equal(ask_cancel(OWNER, "7", false), SMG_EBUSY);
	assert_true(refusal_has("nothing of job 7"));
	smg_fake_delay(&n1->rt, "dump_pages", 1000);
	assert_int_equal(ask_move(OWNER, "", false), 0);
	SOON(has_frozen(n1));
	assert_int_equal(ask_move(0, "", false), SMG_EBUSY);
	assert_int_equal(ask_cancel(OTHER, "7", false), SMG_ENOENT);
	assert_int_equal(ask_cancel(OWNER, "7.w.9", false), SMG_EBUSY);
	assert_int_equal(ask_cancel(OWNER, "x", false), SMG_EINVAL);
	assert_int_equal(ask_cancel(OWNER, "7", true), 0);
	assert_true(has_frozen(n1)); /* a dry run */
	assert_int_equal(ask_cancel(OWNER, ID ".1", false), 0);
	assert_false(has_frozen(n1)); /* all is back when it says so */
	assert_back(c, "a b c d", "called off by its owner");
	assert_moves_now(n2, DIAMOND, "a b c d");
}

/* One has the link, another is prepared and waits for its turn, the others have not begun. */
static void cancelled_in_line(void **state)
{
	struct client *c;

	(void)state;
	w->config.dump_parallel = 1;
	reborn(n1);
	c = aimed("a b c d", "a b c d");
	smg_fake_delay(&n1->rt, "dump_seal", 5000); /* the first keeps the link until all is called off */
	assert_int_equal(ask_move(0, "", false), 0);
	SOON(acts(n1, "dump_pages ") == 2);
	smg_fake_delay(&n1->rt, "dump_seal", 0);
	assert_int_equal(ask_cancel(0, "7", false), 0);
	assert_int_equal(acts(n1, "dump_pages "), 2);
	assert_back(c, "a b c d", "called off");
	assert_moves_now(n2, "a b c d", "a b c d");
}

static void cancelled_too_late(void **state)
{
	struct client *c = aimed("a b>a", "a b");

	(void)state;
	smg_fake_delay(&n1->rt, "dump_end", 500);
	assert_int_equal(ask_move(0, "", false), 0);
	SOON(completing(JOB));
	assert_int_equal(ask_cancel(0, "7", false), SMG_EBUSY);
	assert_true(refusal_has("no way back"));
	SOON(LOOK(c, moved));
	assert_int_equal(ask_cancel(0, "7", false), SMG_EBUSY);
	c = land(n2, "a b>a");
	SOON(said(c, "run again on n2: 2 moved"));
}

static void preemption_is_not_cancelled(void **state)
{
	struct client *c = aimed("a b>a", "a b");

	(void)state;
	smg_fake_delay(&n1->rt, "dump_pages", 1000);
	preempt(n1, JOB);
	SOON(has_frozen(n1));
	SOON(wf_is(state_of(w), ID, "saving"));
	assert_int_equal(ask_cancel(0, "7", false), SMG_EPERM);
	assert_true(refusal_has("preempt"));
	c = land(n2, "a b>a");
	SOON(said(c, "run again on n2: 2 moved"));
}

/* ---- what Slurm does in the middle ---- */

static void preempted_meanwhile(void **state)
{
	struct client *c = aimed("a b>a", "a b");

	(void)state;
	smg_slurm_fake_site(&w->slurm, 60, SMG_PREEMPT_REQUEUE);
	smg_fake_delay(&n1->rt, "dump_pages", 1000);
	assert_int_equal(ask_move(0, "", false), 0);
	SOON(has_frozen(n1));
	preempt(n1, JOB);
	c = land(n2, "a b>a");
	SOON(said(c, "run again on n2: 2 moved"));
	assert_int_equal(slurm_acts(w, "requeue"), 0); /* inside a grace the script is ended */
	assert_int_equal(slurm_acts(w, "end_script"), 1);
}

/* And the move fails: the preemption is seen to as if nothing had been. */
static void preempted_and_failed(void **state)
{
	struct client *c = aimed("a b>a", "a b");

	(void)state;
	smg_fake_delay(&n1->rt, "dump_pages", 1000);
	smg_fake_fail(&n1->rt, "dump_pages", ID ".a", SMG_ENOSPC, 1);
	assert_int_equal(ask_move(0, "", false), 0);
	SOON(has_frozen(n1));
	preempt(n1, JOB);
	c = land(n2, "a b>a");
	SOON(said(c, "run again on n2: 2 moved"));
	assert_true(mig_is(ID ".1", "state", "failed") && mig_is(ID ".2", "cause", "preempt"));
}

static void requeued_and_failed(void **state)
{
	struct client *c = aimed("a b>a", "a b");

	(void)state;
	smg_fake_delay(&n1->rt, "dump_pages", 1000);
	smg_fake_fail(&n1->rt, "dump_pages", ID ".a", SMG_ENOSPC, 1);
	assert_int_equal(ask_move(0, "", false), 0);
	SOON(has_frozen(n1));
	smg_slurm_fake_change(&w->slurm, JOB, mark_requeued);
	term(n1, JOB);
	c = land(n2, "a b>a");
	SOON(said(c, "run again on n2: 2 moved"));
}

static void cancelled_meanwhile(void **state)
{
	struct client *c = aimed("a b>a", "a b");

	(void)state;
	smg_fake_delay(&n1->rt, "dump_pages", 1000);
	assert_int_equal(ask_move(0, "", false), 0);
	SOON(has_frozen(n1));
	cancel(n1);
	SOON(LOOK(c, done));
	SOON(wf_is(state_of(w), ID, "stopped"));
	assert_int_equal(places(w, ID ".a") + places(w, ID ".b"), 0);
	SOON(!holds(n2));
	assert_int_equal(slurm_acts(w, "requeue"), 0);
}

/* ---- a daemon is away ---- */

/* Then Slurm says where the job is, and that node knows the rest. */
static void state_host_is_away(void **state)
{
	struct client *c = aimed("a b>a", "a b");
	struct smg_err err;

	(void)state;
	kill_daemon(ctl);
	assert_int_equal(
		ask(n3, OTHER, json_pack("{s:s,s:i,s:s,s:b}", "op", "move", "job", JOB, "to", "", "dry_run", false)), SMG_EPERM);
	assert_int_equal(ask(n3, 0, json_pack("{s:s,s:i,s:s,s:b}", "op", "move", "job", JOB, "to", "", "dry_run", false)), 0);
	SOON(completing(JOB));
	assert_int_equal(start_daemon(ctl, &err), 0);
	c = land(n2, "a b>a");
	SOON(said(c, "run again on n2: 2 moved"));
}

/* ---- the daemon dies ---- */

static void source_dies_while_it_sends(void **state)
{
	struct client *c = aimed(DIAMOND, "a b c d");

	(void)state;
	smg_fake_delay(&n1->rt, "dump_pages", 1000);
	assert_int_equal(ask_move(0, "", false), 0);
	SOON(has_frozen(n1) && holds(n2));
	reborn(n1);
	c = back(n1, DIAMOND);
	SOON(LOOK(c, ok));
	assert_back(c, "a b c d", "smigrated ended");
	SOON(wf_is(state_of(w), ID, "running"));
	assert_moves_now(n2, DIAMOND, "a b c d");
}

static void mark_last_run(struct smg_job *j)
{
	j->restarts--;
}
static void mark_next_run(struct smg_job *j)
{
	j->restarts++;
}

/* `smigrate run` of the run that ends connects again, when Slurm counts the next one already: it is not the one to resume. */
static void left_over_client(void **state)
{
	struct client *c = aimed(DIAMOND, "a b c d"), *old;

	(void)state;
	assert_int_equal(ask_move(0, "", false), 0);
	SOON(LOOK(c, moved));
	SOON(completing(JOB));
	smg_slurm_fake_change(&w->slurm, JOB, mark_next_run);
	old = back(n1, DIAMOND);
	real_sleep_ms(150);
	assert_false(LOOK(old, ok) || said(old, "resuming"));
	smg_slurm_fake_change(&w->slurm, JOB, mark_last_run); /* the fake counts it at the end of the epilog */
	c = land(n2, DIAMOND);
	SOON(said(c, "run again on n2: 4 moved, 0 to be started again"));
	assert_int_equal(acts(n1, "restore "), 0);
}

/* Requeued, and not all of it is written down: what runs here still is saved again, by the epilog. */
static void source_dies_after_the_requeue(void **state)
{
	struct client *c = aimed(DIAMOND, "a b c d");

	(void)state;
	smg_fake_delay(&n1->rt, "dump_end", 300);
	assert_int_equal(ask_move(0, "", false), 0);
	SOON(completing(JOB));
	reborn(n1);
	c = land(n2, DIAMOND);
	SOON(said(c, "run again on n2: 4 moved, 0 to be started again"));
	SOON(all_run(n2, "a b c d"));
}

/* Killed at any moment: never in two places, never back in time (the fixture looks), and it can always go on. */
static void source_dies_at_any_time(void **state)
{
	(void)state;
	for (int i = 0; i < 12; i++) {
		struct client *c;

		if (i) {
			tear_down(state);
			set_up(state);
		}
		c = aimed("a b>a", "a b");
		smg_fake_delay(&n1->rt, "dump_pages", 150);
		smg_fake_delay(&n1->rt, "dump_end", 150);
		assert_int_equal(ask_move(0, "", false), 0);
		real_sleep_ms(4 * i);
		reborn(n1);
		real_sleep_ms(10);
		if (look_job(w, JOB).state == SMG_JOB_RUNNING) {
			c = back(n1, "a b>a");
			SOON(LOOK(c, ok) && wf_is(n1->daemon->journal, ID, "running"));
			SOON(wf_is(state_of(w), ID, "running"));
			assert_moves_now(n2, "a b>a", "a b");
		} else {
			c = land(n2, "a b>a");
			SOON(said(c, "run again on n2: 2 moved, 0 to be started again"));
		}
	}
}

/* Ended while it was being sent: there is nothing to move, and the job is not requeued for it. */
static void ends_meanwhile(void **state)
{
	struct client *c = aimed("a", "a");

	(void)state;
	smg_fake_delay(&n1->rt, "memory", 500);
	assert_int_equal(ask_move(0, "", false), 0);
	SOON(acts(n1, "memory 7.w.a") == 1);
	end_service(n1, ID ".a", 0);
	assert_done(c, 0);
	SOON(mig_is(ID ".1", "state", "failed"));
	assert_int_equal(slurm_acts(w, "requeue"), 0);
	SOON(!holds(n2));
}

/* It runs here, or is on its way. */
static bool settled(void)
{
	struct smg_job j = look_job(w, JOB);

	return j.state != SMG_JOB_RUNNING || j.completing || (all_run(n1, "a b") && wf_is(n1->daemon->journal, ID, "running"));
}

/* Whatever happens in the middle: it runs on, or moves, or ends; never in two places, never back in time. */
static void anything_at_any_time(void **state)
{
	enum { KILL_SOURCE, KILL_TARGET, CANCEL, PREEMPT, REQUEUE, SCANCEL, N_EVENTS };

	(void)state;
	for (int i = 0; i < 4 * N_EVENTS; i++) {
		struct client *c;
		struct smg_job j;

		if (i) {
			tear_down(state);
			set_up(state);
		}
		c = aimed("a& b&>a", "a b");
		smg_fake_delay(&n1->rt, "dump_pages", 120);
		smg_fake_delay(&n1->rt, "dump_end", 120);
		assert_int_equal(ask_move(0, "", false), 0);
		real_sleep_ms(i / N_EVENTS * 9);
		switch (i % N_EVENTS) {
		case KILL_SOURCE:
			reborn(n1);
			break;
		case KILL_TARGET:
			reborn(n2);
			break;
		case CANCEL:
			ask_cancel(0, "7", false);
			break;
		case PREEMPT:
			preempt(n1, JOB);
			break;
		case REQUEUE:
			smg_slurm_fake_change(&w->slurm, JOB, mark_requeued);
			term(n1, JOB);
			break;
		case SCANCEL:
			cancel(n1);
			break;
		}
		real_sleep_ms(80);
		SOON(settled());
		j = look_job(w, JOB);
		if (j.state == SMG_JOB_CANCELLED) {
			end_run(n1, JOB);
			SOON(places(w, ID ".a") + places(w, ID ".b") == 0);
		} else if (j.state == SMG_JOB_RUNNING && !j.completing) {
			SOON(all_run(n1, "a b"));
			SOON(wf_is(n1->daemon->journal, ID, "running"));
			assert_int_equal(slurm_acts(w, "requeue"), 0);
		} else {
			c = land(n2, "a& b&>a");
			SOON(said(c, "run again on n2: 2 moved, 0 to be started again"));
		}
	}
}

/* ---- draining ---- */

static const json_t *drained(uint32_t job)
{
	const json_t *list = json_object_get(json_object_get(last, "data"), "jobs");
	json_t *j;
	size_t i;

	json_array_foreach(list, i, j) if (json_integer_value(json_object_get(j, "job")) == job) return j;
	return NULL;
}

static bool drain_has(uint32_t job, const char *stage, const char *why)
{
	const json_t *j;

	if (ask_node_op(0, "drain_look", "n1", "x", false))
		return false;
	j = drained(job);
	return j && !strcmp(json_string_value(json_object_get(j, "state")), stage) &&
	       strstr(json_string_value(json_object_get(j, "why")), why);
}

static struct client *begin_job(uint32_t job, const char *name)
{
	struct client *c;

	submit(n1, job);
	c = run_as(n1, job, spec(name, "a"), OWNER, false);
	SOON(LOOK(c, ok));
	return c;
}

static void drained_but_for_those_that_stay(void **state)
{
	struct client *c = aimed("a b>a", "a b"), *d = begin_job(8, "w"), *e = begin_job(9, "w");

	(void)state;
	SOON(is_running("8.w") && is_running("9.w"));
	submit(n1, 10); /* without a workflow */
	smg_fake_fail(&n1->rt, "obstacles", "9.w.a", SMG_EUNSUP, 99);
	assert_int_equal(ask_node_op(OWNER, "drain", "n1", "dry_run", false), SMG_EPERM);
	assert_int_equal(ask_node_op(0, "drain", "n9", "dry_run", false), SMG_ENOENT);
	assert_int_equal(ask_node_op(0, "drain", "n1", "dry_run", true), 0);
	assert_string_equal(json_string_value(json_object_get(drained(JOB), "to")), "n2");
	assert_string_equal(json_string_value(json_object_get(drained(10), "state")), "stays");
	assert_int_equal(slurm_acts(w, "node_drain") + acts(n1, "freeze"), 0);
	assert_int_equal(ask_node_op(SMG_FAKE_SLURM_USER, "drain", "n1", "dry_run", false), 0);
	assert_int_equal(slurm_acts(w, "node_drain 1"), 1);
	SOON(drain_has(9, "stays", "service a cannot be saved as it is"));
	SOON(drain_has(10, "stays", "not under smigrate"));
	/* The first goes to the only place there is; the other one waits for it. */
	SOON(completing(JOB) || completing(8));
	SOON(drain_has(JOB, "waits", "nowhere") || drain_has(8, "waits", "nowhere"));
	smg_slurm_fake_could_start(&w->slurm, "n2,n3");
	SOON(completing(JOB) && completing(8));
	end_run(n1, JOB);
	end_run(n1, 8);
	start_again(n2);
	SOON(smg_slurm_fake_schedule(&w->slurm, 8, "n3"));
	prolog(n3, 8);
	c = run(n2, "a b>a");
	d = run_as(n3, 8, spec("w", "a"), OWNER, false);
	SOON(said(c, "run again on n2") && said(d, "run again on n3"));
	SOON(drain_has(JOB, "left", "") && drain_has(8, "left", ""));
	SOON(!json_is_true(json_object_get(json_object_get(last, "data"), "running")));
	SOON(mig_is(ID ".1", "cause", "drain") && mig_is("8.w.1", "cause", "drain"));
	assert_false(LOOK(e, moved));
	assert_int_equal(ask_node_op(0, "undrain", "n1", "force", false), 0);
	assert_int_equal(slurm_acts(w, "node_resume 1"), 1);
	assert_int_equal(ask_node_op(0, "undrain", "n1", "force", false), SMG_EINVAL);
}

static void drain_with_nowhere_to_go(void **state)
{
	struct client *c = aimed("a b>a", "a b");

	(void)state;
	smg_slurm_fake_could_start(&w->slurm, "");
	assert_int_equal(ask_node_op(0, "drain", "n1", "dry_run", false), 0);
	SOON(drain_has(JOB, "stays", "nowhere to go"));
	assert_false(LOOK(c, moved));
	/* Once more, now that there is a place: the reason in Slurm stays ours, and is given once. */
	smg_slurm_fake_could_start(&w->slurm, "n3");
	assert_int_equal(ask_node_op(0, "drain", "n1", "dry_run", false), 0);
	c = land(n3, "a b>a");
	SOON(said(c, "run again on n3"));
	SOON(drain_has(JOB, "left", ""));
	assert_int_equal(slurm_acts(w, "node_drain"), 1);
}

/* One is on its way, one waits for a place: given back, the node keeps the one that waits. */
static void undrain_stops(void **state)
{
	struct client *c = aimed("a b>a", "a b"), *d = begin_job(8, "w");
	bool first;

	(void)state;
	SOON(is_running("8.w"));
	assert_int_equal(ask_node_op(0, "drain", "n1", "dry_run", false), 0);
	SOON(completing(JOB) || completing(8));
	first = completing(JOB);
	SOON(drain_has(first ? 8 : JOB, "waits", "nowhere"));
	assert_int_equal(ask_node_op(0, "undrain", "n1", "force", false), 0);
	SOON(drain_has(first ? 8 : JOB, "stays", "called off"));
	assert_false(completing(first ? 8 : JOB));
	assert_false(LOOK(first ? d : c, moved));
	SOON(drain_has(first ? JOB : 8, "moves", ""));
}

/* Slurm preempts it just now: it leaves without our doing, and does not count as one that stays. */
static void drained_while_preempted(void **state)
{
	struct client *c = aimed("a b>a", "a b");

	(void)state;
	smg_fake_delay(&n1->rt, "dump_pages", 1000);
	preempt(n1, JOB);
	SOON(has_frozen(n1));
	assert_int_equal(ask_node_op(0, "drain", "n1", "dry_run", false), 0);
	SOON(drain_has(JOB, "moves", ""));
	c = land(n2, "a b>a");
	SOON(said(c, "run again on n2: 2 moved"));
	SOON(drain_has(JOB, "left", ""));
	SOON(mig_is(ID ".1", "cause", "preempt"));
}

static void operators_moves_are_operators(void **state)
{
	struct client *c = aimed("a b>a", "a b");

	(void)state;
	smg_fake_delay(&n1->rt, "dump_pages", 1000);
	assert_int_equal(ask_node_op(0, "drain", "n1", "dry_run", false), 0);
	SOON(has_frozen(n1));
	assert_int_equal(ask_cancel(OWNER, "7", false), SMG_EPERM);
	assert_int_equal(ask_cancel(0, "7", false), 0);
	assert_back(c, "a b", "called off by an operator");
	SOON(drain_has(JOB, "stays", "called off"));
}

static void others_drain_is_theirs(void **state)
{
	struct smg_err err;

	(void)state;
	assert_int_equal(w->slurm.ops->node_drain(w->slurm.ctx, "n1", "bad fan", &err), 0);
	assert_int_equal(ask_node_op(0, "drain", "n1", "dry_run", false), 0);
	assert_int_equal(slurm_acts(w, "node_drain"), 1);
	assert_int_equal(ask_node_op(0, "undrain", "n1", "force", false), SMG_EPERM);
	assert_true(refusal_has("bad fan"));
	assert_int_equal(slurm_acts(w, "node_resume"), 0);
	assert_int_equal(ask_node_op(0, "undrain", "n1", "force", true), 0);
	assert_int_equal(slurm_acts(w, "node_resume"), 1);
}

/* Nobody is there to move its jobs: then the node is not drained either. */
static void node_without_a_daemon(void **state)
{
	struct smg_err err;

	(void)state;
	kill_daemon(n1);
	assert_int_equal(ask_node_op(0, "drain", "n1", "dry_run", false), SMG_EAGAIN);
	assert_true(refusal_has("nothing is done"));
	assert_int_equal(slurm_acts(w, "node_drain"), 0);
	assert_int_equal(start_daemon(n1, &err), 0);
	assert_int_equal(ask_node_op(0, "drain", "n1", "dry_run", false), 0);
}

static int end(void **state)
{
	json_decref(last);
	last = NULL;
	return tear_down(state);
}

int main(int argc, char **argv)
{
#define T(f) cmocka_unit_test_setup_teardown(f, set_up, end)
	const struct CMUnitTest tests[] = {
		T(moved_by_its_owner),
		T(to_a_node_by_an_operator),
		T(always_streams),
		T(all_of_a_job),
		T(dry_run_does_nothing),
		T(job_refused),
		T(others_and_nowhere),
		T(as_often_as_the_site_allows),
		T(service_cannot_be_saved),
		T(service_cannot_be_frozen),
		T(no_room_there),
		T(target_dies),
		T(target_forgets),
		T(slurm_does_not_requeue),
		T(slurm_is_away),
		T(held_meanwhile),
		T(network_is_let_go),
		T(second_workflow_fails),
		T(cancelled_in_time),
		T(cancelled_in_line),
		T(cancelled_too_late),
		T(preemption_is_not_cancelled),
		T(preempted_meanwhile),
		T(preempted_and_failed),
		T(requeued_and_failed),
		T(cancelled_meanwhile),
		T(state_host_is_away),
		T(source_dies_while_it_sends),
		T(left_over_client),
		T(source_dies_after_the_requeue),
		T(source_dies_at_any_time),
		T(ends_meanwhile),
		T(anything_at_any_time),
		T(drained_but_for_those_that_stay),
		T(drain_with_nowhere_to_go),
		T(undrain_stops),
		T(drained_while_preempted),
		T(operators_moves_are_operators),
		T(others_drain_is_theirs),
		T(node_without_a_daemon),
	};

	smg_log_level(getenv("SMG_TEST_LOG") ? SMG_DEBUG : SMG_ERROR);
	if (argc > 1)
		cmocka_set_test_filter(argv[1]);
	return cmocka_run_group_tests(tests, NULL, NULL);
}

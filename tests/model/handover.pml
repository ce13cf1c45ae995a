/*
 * The hand-over of one service between nodes, the state host and Slurm, as the daemons do it; `make model` explores all of it.
 *
 * Held to be true at every instant:
 *   never twice    no two processes of the service compute at one time, and none goes on from a copy that another has outrun
 *   never nowhere  a process, or a complete copy of the latest of them, exists
 *   never stuck    where nothing more can happen, it computes, in the job's present run
 * and that it computes again, in the job's present run, once preemptions and faults have stopped.
 *
 * A node's row, images and process outlive its daemon; a daemon may be killed between any two steps, and comes back. Names are the
 * code's: rows and their states are core/state/machine.h's, saver is core/engine/save.c and stream.c, lander run.c and land.c, a claim
 * and a release former.c, what a daemon does as it comes back recover.c, the trail land.c's find_trail, the note pointer.c.
 *
 * A slurmctld that is killed forgets its last seconds (core/engine/forgotten.c): a run that began in them, whose number the next one
 * gets, a requeue, a note. Two things are taken for granted then, since nobody can see to them: of a job's very first run the note is
 * there again before the job's next one begins, and a script that is left over from a forgotten run has ended when the next one does.
 *
 * -DMOVES=n -DKILLS=n -DSILENT=n -DFORGETS=n: how many preemptions, kills, unanswered questions to the state host, and deaths of
 * slurmctld.
 * -DWITHOUT_x leaves out one rule, and a counterexample is to be found:
 *   DURABLE  the former node's copy is released as the landing begins, not when it is over
 *   LATER    a claim needs no later run of the job than the one in which the service was saved
 *   SAVED    what is still running may be claimed
 *   LATE     what is saved since its end was missed counts as being saved only when that begins, maybe in the job's next run
 *   CLAIMED  a copy that another node has claimed is used without asking that node first
 *   RECORD   who has claimed it is forgotten when the daemon dies
 *   FIRST    a first run begins anew, whatever note there is of a first run that is forgotten
 *   BEGAN    what was saved in the forgotten run counts as saved in this one, which has its number
 *   ONE      where two runs have one number, whichever asks last has the copy
 *   ASKING   a node that is just taking a copy over says that it never had one
 *   OLDER    a copy that has been claimed for one run of the job is given to, and dropped for, an older one
 *   OLDEST   a node that was asked since it had claimed the copy says what it has or knows from before that
 *   NOTE     services are started, or brought back, before Slurm has the note of the node that they are on
 *   REST     what was once streamed to a node stays there when the workflow lands there from another copy
 *   NAMED    a release drops whatever was streamed there, not only what its own migration brought
 */
#ifndef N
#define N 2
#endif
#ifndef MOVES
#define MOVES 2
#endif
#ifndef KILLS
#define KILLS 1
#endif
#ifndef SILENT
#define SILENT 1
#endif
#ifndef FORGETS
#define FORGETS 0
#endif
#define NOWHERE 15
#define FIRST 1 /* restart 0, so that a run that is forgotten may get the number before it */

mtype:row = { NO_ROW, RUNNING, FROZEN, SAVED, RESTORING };
mtype:job = { RUNS, COMPLETING, PENDING };
mtype:proc = { GONE, COMPUTES, STANDS };

/* What a node has on disk, and the process. */
typedef node_t {
	mtype:row row;
	byte nth;       /* restarts of the job in the row, */
	byte began;     /* and when that run began */
	byte at;        /* SAVED: where the images are */
	byte from;      /* the node that the workflow came from */
	bool landing;   /* the workflow is LANDING: its service is being brought back */
	byte images;    /* of which life they are complete; 0: none */
	byte held;      /* likewise, what was streamed here */
	bool news;      /* the state host is yet to be told */
	mtype:proc proc;
	byte life;      /* of the process */
	byte stems;     /* of which life the copy was that it stems from: what the migration's id says */
	byte claimed;   /* on record: the node that has taken over what was saved here, */
	byte crun;      /* for this run of the job, */
	byte cgen;      /* and of which life the copy was */
	/* the daemon's own */
	bool up, late, saving, busy, asking, saver_dead, lander_dead;
};
node_t nd[N];

/* Slurm's record. note: AdminComment; missing: its run is not on the node where Slurm has it */
mtype:job job = PENDING;
byte host = 0, restarts = FIRST, note = NOWHERE;
byte began = 0; /* how often it has been started: a time, which is not forgotten */
bool missing = false;
/* What Slurm has on its disk, of the moment from which on it writes nothing down any more, and how often the job has changed since */
mtype:job disk_job;
byte disk_host, disk_restarts, disk_note, since;
bool behind = false;
byte ghost = NOWHERE, ghost_run; /* a run that Slurm has forgotten, until its node ends it */
/* the state host's */
byte sh_node = NOWHERE, sh_run = 0, sh_before = NOWHERE;

byte moves = MOVES, kills = KILLS, silent = SILENT, forgets = FORGETS;
byte latest = 0; /* how often a process has begun to compute, from a copy or from where it stood: older copies are outrun */
byte lost = 0;   /* it was taken for lost though it was not */

inline compute(n) { latest++; nd[n].proc = COMPUTES; nd[n].life = latest }
#define computing(n) (nd[n].proc == COMPUTES)
#define in_job(n) (job == RUNS && host == n && nd[n].nth == restarts)
#define client(n) ((job == RUNS && host == n && restarts == r && !missing) || (ghost == n && ghost_run == r)) /* `smigrate run` of that run lives; else nothing is started */
#define exists(n) ((nd[n].proc != GONE && nd[n].life == latest) || nd[n].images == latest || nd[n].held == latest)

/* ---- Slurm: preempts, waits for the epilog at most HoldMax, starts the job again wherever it likes ---- */

#define may_change (!behind || since < 2) /* five seconds are not for ever */
#define unknown (FORGETS && latest > 0 && note == NOWHERE)
inline changed() { since = (behind -> since + 1 : 0) }

active proctype slurm()
{
	do
	:: atomic { job == RUNS && !missing && ghost == NOWHERE && moves > 0 && may_change -> moves--; job = COMPLETING; changed() }
	:: atomic { job == RUNS && missing && may_change -> missing = false; job = COMPLETING; changed() }
	:: atomic { job == COMPLETING && may_change -> job = PENDING; restarts++; changed() }
	:: atomic { job == PENDING && may_change && !unknown ->
		job = RUNS;
#if FORGETS
		began++;
#endif
		changed();
		if
		:: host = 0
		:: host = 1
#if N > 2
		:: host = 2
#endif
		fi }
	od
}

/* slurmctld is killed, and comes back with what it had written down. */
active proctype forgetter()
{
	do
	:: atomic { forgets > 0 && !behind ->
		behind = true; disk_job = job; disk_host = host; disk_restarts = restarts; disk_note = note }
	:: atomic { behind ->
		forgets--; behind = false; since = 0;
		if
		:: job == RUNS && !missing && latest > 0 && (disk_job != RUNS || host != disk_host || restarts != disk_restarts) -> ghost = host; ghost_run = restarts
		:: else
		fi;
		missing = (disk_job == RUNS && (missing || job != RUNS || host != disk_host || restarts != disk_restarts));
		job = disk_job; host = disk_host; restarts = disk_restarts; note = disk_note;
		disk_job = RUNS; disk_host = 0; disk_restarts = 0; disk_note = 0 }
	:: atomic { ghost != NOWHERE -> ghost = NOWHERE; ghost_run = 0 }
	:: forgets == 0 && !behind && ghost == NOWHERE -> break
	od
}

/* ---- what dies ---- */

active proctype reaper()
{
	byte n;
	do
	:: kills > 0 -> atomic {
		if
		:: n = 0
		:: n = 1
#if N > 2
		:: n = 2
#endif
		fi
		if
		:: nd[n].up -> nd[n].up = false; kills--
		:: else
		fi }
	:: kills == 0 -> break
	od
}

/* ---- a daemon comes back (recover.c) ---- */

proctype recover(byte n)
{
	do
	:: atomic { !nd[n].up && nd[n].saver_dead && nd[n].lander_dead ->
		nd[n].late = false; nd[n].saving = false; nd[n].busy = false; nd[n].asking = false;
#ifdef WITHOUT_RECORD
		nd[n].claimed = NOWHERE; nd[n].crun = 0;
#endif
		if
		:: (nd[n].row == RUNNING || nd[n].row == FROZEN) && nd[n].proc == STANDS ->
			compute(n); nd[n].row = RUNNING; nd[n].images = 0
		:: (nd[n].row == RUNNING || nd[n].row == FROZEN) && nd[n].proc == COMPUTES ->
			nd[n].row = RUNNING; nd[n].images = 0
		:: (nd[n].row == RUNNING || nd[n].row == FROZEN) && nd[n].proc == GONE ->
			assert(nd[n].images); /* dump_finished */
			nd[n].row = SAVED; nd[n].at = n; nd[n].landing = true
		:: nd[n].row == RESTORING && nd[n].proc != GONE -> nd[n].row = RUNNING; nd[n].images = 0
		:: nd[n].row == RESTORING && nd[n].proc == GONE -> nd[n].row = SAVED; nd[n].at = n
		:: nd[n].row == SAVED -> nd[n].proc = GONE
		:: nd[n].row == NO_ROW
		fi
		nd[n].up = true }
	od
}

inline forget_run(n, to)
{
	nd[n].crun = (nd[n].crun > nd[n].nth -> nd[n].crun : nd[n].nth); nd[n].claimed = n; nd[n].cgen = nd[n].life; nd[n].nth = to
}
#define runs_here(n) (job == RUNS && host == n)
#define is_forgotten(n) (nd[n].row != NO_ROW && (runs_here(n) -> restarts < nd[n].nth : job != COMPLETING && restarts <= nd[n].nth))

/* ---- news for the state host, from the outbox; notes for Slurm ---- */

proctype reporter(byte n)
{
	do
	:: atomic { nd[n].up && nd[n].news && nd[n].row != NO_ROW ->
		nd[n].news = false;
		if
		:: sh_node == NOWHERE || nd[n].nth >= sh_run ->
			sh_node = n; sh_run = nd[n].nth;
			sh_before = (nd[n].landing -> nd[n].from : NOWHERE)
		:: else
		fi }
	:: atomic { nd[n].up && in_job(n) && nd[n].row != NO_ROW && note != n -> note = n }
	/* forgotten.c */
	:: atomic { nd[n].up && is_forgotten(n) && runs_here(n) -> forget_run(n, restarts) }
	:: atomic { nd[n].up && is_forgotten(n) && !runs_here(n) -> forget_run(n, restarts - 1) }
	/* follow.c, as it has the job started: */
	:: atomic { nd[n].up && job == PENDING && nd[n].row == SAVED && restarts <= nd[n].nth + 1 && note != n -> note = n }
	od
}

#define is_claimed(f) (nd[f].claimed != NOWHERE && nd[f].claimed != f && nd[f].crun > nd[f].nth)
#ifdef WITHOUT_OLDER
#define may_have(f, run) true
#else
#define may_have(f, run) (!is_claimed(f) || run >= nd[f].crun)
#endif
#ifdef WITHOUT_ONE
#define two(f) false
#else
#define two(f) (is_claimed(f) && nd[f].crun == r && nd[f].claimed != n && !(job == RUNS && host == n && restarts == r))
#endif

inline drop_for(who, f)
{
	if
	:: !is_claimed(f) -> nd[f].claimed = who; nd[f].crun = nd[f].nth + 1; nd[f].cgen = nd[f].life
	:: else
	fi;
	nd[f].row = NO_ROW; nd[f].images = 0; nd[f].news = false
}

/* ---- the job leaves this node (save.c, stream.c) ---- */

inline disk_or_stream(n, t)
{
	t = n;
	if
	:: t = n
	:: n != 0 && nd[0].up -> t = 0
	:: n != 1 && nd[1].up -> t = 1
#if N > 2
	:: n != 2 && nd[2].up -> t = 2
#endif
	fi
}

proctype saver(byte n)
{
	byte t;
dead:	atomic { nd[n].up; nd[n].saver_dead = false; t = n };
	{
		do
		:: atomic { nd[n].row == RUNNING && !nd[n].busy && (!in_job(n) || nd[n].late) -> nd[n].late = false; nd[n].saving = true; nd[n].row = FROZEN };
			if
			:: computing(n) -> nd[n].proc = STANDS
			:: else
			fi
			atomic { disk_or_stream(n, t) };
			if
			/* CRIU ends the container as the last page is written */
			:: atomic { t == n -> nd[n].images = nd[n].life; nd[n].proc = GONE }
			:: atomic { t != n && nd[t].up ->
				if
				:: nd[t].row == SAVED && nd[t].life < nd[n].life -> drop_for(n, t) /* land_outdated: by the migration's number */
				:: else
				fi;
				nd[t].held = nd[n].life }
			/* the target has gone: it goes on, and is saved again */
			:: atomic { t != n && !nd[t].up -> compute(n); nd[n].row = RUNNING; nd[n].saving = false; goto next }
			fi
			atomic { nd[n].row = SAVED; nd[n].at = t; nd[n].landing = false; nd[n].news = true };
			atomic { nd[n].proc = GONE; nd[n].saving = false };
next:			t = n
		/* it was still being brought back as it had to leave again */
		:: atomic { nd[n].row == SAVED && nd[n].landing && (!in_job(n) || nd[n].late) -> nd[n].landing = false; nd[n].late = false; nd[n].saving = false; nd[n].news = true }
		od
	} unless { !nd[n].up };
	nd[n].saver_dead = true;
	goto dead
}

/* ---- the job's next run is here (run.c, land.c), and the former node's side of it (former.c) ---- */

inline find_trail(n)
{
	t = note; before = NOWHERE; answered = true;
	if
	:: silent > 0 -> silent--; answered = false
	:: true
	fi
	if
	:: answered && sh_node != NOWHERE ->
		if
		:: note != NOWHERE && note != sh_node && sh_run + 1 < r -> before = sh_node
		:: else -> t = sh_node; before = sh_before
		fi
	:: else
	fi
}

#ifdef WITHOUT_LATER
#define later(f) true
#else
#define later(f) (nd[f].nth < r)
#endif
#ifdef WITHOUT_SAVED
#define claimable(f) (nd[f].row != NO_ROW)
#else
#define claimable(f) (nd[f].row == SAVED && !nd[f].landing && !nd[f].saving)
#endif

#ifdef WITHOUT_CLAIMED
#define asks_on(f) false
#define outdated(n) false
#else
#define asks_on(f) (is_claimed(f) && nd[f].claimed != n && nd[f].claimed != not_at)
#define outdated(n) is_claimed(n)
#endif

#ifdef WITHOUT_OLDEST
#define older(f) false
#else
#define older(f) (nd[f].life < hgen || (nd[f].life == hgen && nd[f].nth < hrun && nd[f].crun < hrun))
#endif

#ifdef WITHOUT_LATE
#define save_late(f) nd[f].late = true
#else
#define save_late(f) nd[f].late = (nd[f].saving -> nd[f].late : true); nd[f].saving = true
#endif

/* One answer of node f to a claim: sets `got`; HOP: f has become the next to ask, keeper the one that still has its copy, hrun the run
 * for which it was claimed there */
#ifdef WITHOUT_ASKING
#define is_asking(f) false
#else
#define is_asking(f) (f != n && nd[f].asking)
#endif
#define TAKEN 1
#define AGAIN 2
#define HOP 3
#define UNKNOWN 4
inline claim(f)
{
	if
	:: !nd[f].up -> got = AGAIN
	:: nd[f].up && nd[f].row == NO_ROW && is_asking(f) -> got = AGAIN
	:: nd[f].up && nd[f].row == NO_ROW && !is_asking(f) ->
		if
		:: nd[f].claimed != NOWHERE && nd[f].claimed != f && (nd[f].cgen > hgen || (nd[f].cgen == hgen && nd[f].crun >= hrun)) ->
			got = HOP; keeper = NOWHERE; hrun = nd[f].crun; hgen = nd[f].cgen; f = nd[f].claimed
		:: else -> got = UNKNOWN
		fi
	:: nd[f].up && nd[f].row != NO_ROW && older(f) -> got = (is_asking(f) -> AGAIN : UNKNOWN)
	:: nd[f].up && nd[f].row != NO_ROW && !older(f) && (!later(f) || !may_have(f, r) || two(f)) -> got = AGAIN
	:: nd[f].up && nd[f].row != NO_ROW && !older(f) && later(f) && may_have(f, r) && !two(f) && claimable(f) ->
		if
		:: !asks_on(f) -> got = TAKEN; nd[f].claimed = n; nd[f].crun = r; nd[f].cgen = nd[f].life
		:: asks_on(f) -> got = HOP; keeper = f; hrun = nd[f].crun; hgen = nd[f].life; f = nd[f].claimed
		fi
	:: nd[f].up && nd[f].row != NO_ROW && !older(f) && later(f) && may_have(f, r) && !two(f) && !claimable(f) -> save_late(f); got = AGAIN
	fi
}

inline begin_landing(me, where, who)
{
#ifndef WITHOUT_NOTE
	note = me;
#endif
	nd[me].row = SAVED; nd[me].nth = r; nd[me].began = began; nd[me].at = where; nd[me].from = who; nd[me].life = nd[who].life; nd[me].landing = true; nd[me].news = true
}

#ifdef WITHOUT_NAMED
#define its_own(n, f) true
#else
#define its_own(n, f) (nd[f].held == nd[n].stems)
#endif
inline release(n, f)
{
	atomic {
		if
		:: f != n && f != NOWHERE && nd[f].up ->
			if
			:: its_own(n, f) -> nd[f].held = 0
			:: else
			fi;
			if
			:: nd[f].row == SAVED && nd[f].nth < nd[n].nth && may_have(f, nd[n].nth) ->
				drop_for(n, f)
			:: else
			fi
		:: else
		fi
	}
}

/* The note comes first (engine_note_node_first) */
inline start_fresh(me)
{
#ifndef WITHOUT_NOTE
	note = me;
#endif
	nd[me].row = RUNNING; nd[me].nth = r; nd[me].began = began; nd[me].news = true; compute(me)
}

#ifdef WITHOUT_BEGAN
#define forgot(n) false
#else
#define forgot(n) (nd[n].row == SAVED && nd[n].nth == restarts && nd[n].began < began && !nd[n].landing && !nd[n].saving)
#endif
#ifdef WITHOUT_FIRST
#define noted(n) false
#else
#define noted(n) (note != NOWHERE && note != n)
#endif

proctype lander(byte n)
{
	byte r, t, before, got, hops, copy, keeper, not_at, hrun, hgen;
	bool answered;
dead:	atomic { nd[n].up; nd[n].lander_dead = false; r = 0; t = NOWHERE; before = NOWHERE; got = 0; hops = 0; copy = 0; keeper = NOWHERE; not_at = NOWHERE; hrun = 0; hgen = 0; answered = false };
	{
		do
		/* `smigrate run` comes */
		:: atomic { job == RUNS && host == n && (nd[n].row == NO_ROW || nd[n].nth != restarts || forgot(n)) -> r = restarts };
			if
			:: atomic { nd[n].row == NO_ROW && r == FIRST && !noted(n) && client(n) -> assert(latest == 0); start_fresh(n) }
			:: atomic { forgot(n) && client(n) -> forget_run(n, r - 1) }
			/* its end here was missed */
			:: atomic { nd[n].row == RUNNING && nd[n].nth < r && !nd[n].saving && client(n) -> nd[n].nth = r; nd[n].began = began; nd[n].news = true }
			:: atomic { nd[n].row == SAVED && nd[n].nth < r && !nd[n].landing && !nd[n].saving && !outdated(n) -> begin_landing(n, nd[n].at, n) }
			:: atomic { (nd[n].row == NO_ROW && (r > FIRST || noted(n))) || (nd[n].row == SAVED && nd[n].nth < r && !nd[n].landing && !nd[n].saving && outdated(n)) ->
				find_trail(n); hops = 0; got = 0; nd[n].asking = true;
				if
				:: nd[n].row == SAVED -> t = n
				:: else
				fi };
				/* nobody knows of a former run: it has never been started, and starts now */
				if
				:: atomic { t == NOWHERE && client(n) ->
					lost = (latest -> 1 : lost);
					if
					:: nd[n].row == NO_ROW -> start_fresh(n)
					:: else
					fi }
				:: else
				fi;
				do
				:: t != NOWHERE && hops < 6 -> atomic {
					copy = t; claim(t);
					if
					:: got == TAKEN -> copy = nd[t].at; goto taken
					:: got == HOP -> hops++
					:: got == AGAIN -> goto landed
					:: got == UNKNOWN && keeper != NOWHERE -> not_at = t; t = keeper; keeper = NOWHERE; hrun = 0; hgen = 0; hops++
					:: got == UNKNOWN && keeper == NOWHERE && before != NOWHERE -> t = before; before = NOWHERE; hops++
					:: got == UNKNOWN && keeper == NOWHERE && before == NOWHERE && !answered -> goto landed /* patience */
					:: got == UNKNOWN && keeper == NOWHERE && before == NOWHERE && answered -> lost = (client(n) -> 1 : lost); goto landed
					fi }
				:: else -> goto landed
				od;
taken:				atomic {
					if
					:: client(n) ->
						begin_landing(n, copy, t);
#ifdef WITHOUT_DURABLE
						nd[t].row = (t != n -> NO_ROW : nd[t].row); nd[t].images = (t != n -> 0 : nd[t].images);
#endif
						/* of the row that was here nothing counts any more */
						if
						:: copy != n ->
							nd[n].images = 0;
#ifndef WITHOUT_REST
							nd[n].held = 0 /* hold_rest */
#endif
						:: else
						fi
					:: else
					fi }
			:: else
			fi;
landed:			atomic { nd[n].asking = false; r = 0; t = NOWHERE; before = NOWHERE; got = 0; hops = 0; copy = 0; keeper = NOWHERE; not_at = NOWHERE; hrun = 0; hgen = 0; answered = false }
		/* bring it here */
		:: atomic { nd[n].row == SAVED && nd[n].landing && !nd[n].saving && in_job(n) && nd[n].at != n -> t = nd[n].at };
			if
			:: atomic { nd[t].up && nd[t].held -> copy = nd[t].held }
			:: atomic { nd[t].up && !nd[t].held ->
				copy = (nd[t].images && nd[t].row == SAVED && nd[t].nth < nd[n].nth && may_have(t, nd[n].nth) -> nd[t].images : 0);
				lost = (!nd[t].images && (nd[t].row == NO_ROW || nd[t].row == SAVED && !nd[t].saving) && in_job(n) && t != nd[n].from -> 2 : lost) }
			:: !nd[t].up -> copy = 0
			fi;
			if
			:: atomic { copy && nd[n].row == SAVED -> nd[n].images = copy; nd[n].at = n }
			:: else
			fi
		/* what was streamed here is its own */
		:: atomic { nd[n].row == SAVED && nd[n].landing && !nd[n].saving && in_job(n) && nd[n].at == n && !nd[n].images ->
			if
			:: nd[n].held -> nd[n].images = nd[n].held; nd[n].held = 0
			:: else -> lost = 3
			fi }
		:: atomic { nd[n].row == SAVED && nd[n].landing && !nd[n].saving && in_job(n) && nd[n].at == n && nd[n].images -> nd[n].row = RESTORING; nd[n].busy = true };
			atomic { assert(nd[n].images == latest); nd[n].stems = nd[n].images; compute(n) };
			nd[n].row = RUNNING;
			atomic { nd[n].images = 0; nd[n].busy = false }
		/* all is back (land_release_at): once, but a release that is not heard may come again */
		:: atomic { nd[n].row == RUNNING && nd[n].landing -> t = nd[n].from };
			release(n, t);
			atomic { nd[n].landing = false; nd[n].news = true }
		od
	} unless { !nd[n].up };
	nd[n].lander_dead = true;
	goto dead
}

/* ---- what is held to be true ---- */

active proctype checker()
{
end:	do
	:: atomic { latest > 0 && !(exists(0) || exists(1)
#if N > 2
		|| exists(2)
#endif
		) -> assert(false) } /* never nowhere */
	:: atomic { computing(0) && computing(1) -> assert(false) } /* never twice */
#if N > 2
	:: atomic { (computing(0) && computing(2)) || (computing(1) && computing(2)) -> assert(false) }
#endif
	:: atomic { lost -> assert(false) } /* nor taken for lost */
	:: atomic { timeout -> assert(job == RUNS && !missing && in_job(host) && computing(host)); break } /* nor stuck */
	od
}

init {
	byte i;
	atomic {
		for (i : 0 .. N - 1) {
			nd[i].row = NO_ROW; nd[i].proc = GONE; nd[i].up = true; nd[i].saver_dead = true; nd[i].lander_dead = true; nd[i].at = NOWHERE;
			nd[i].from = NOWHERE; nd[i].claimed = NOWHERE;
			run recover(i); run reporter(i); run saver(i); run lander(i)
		}
	}
}

ltl progress { <>[] (moves > 0 || kills > 0 || forgets > 0 || behind || (job == RUNS && computing(host) && in_job(host))) }

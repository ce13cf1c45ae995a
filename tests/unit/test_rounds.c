/* Pre-copy's stop rule: over writers of many kinds it is never much worse than the best number of rounds. */
#include "workflow/rounds.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <math.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define MB 1e6

/* Writes at random to `set` bytes, at `rate` bytes a second. */
struct writer {
	double memory, set, rate;
};

struct link {
	double rate, round_s, stop_s;
};

/* Different bytes that it has written to after s seconds. */
static double dirtied(const struct writer *w, double s)
{
	return w->set > 0 ? w->set * -expm1(-w->rate * s / w->set) : 0;
}

static double standstill(const struct link *l, double bytes)
{
	return l->stop_s + bytes / l->rate;
}

static double round_s(const struct link *l, double bytes)
{
	return l->round_s + bytes / l->rate;
}

/* For how long it stands still after so many rounds; *total: from the first byte on. */
static double with_rounds(const struct writer *w, const struct link *l, int rounds, double *total)
{
	double left = w->memory;

	*total = 0;
	for (int i = 0; i < rounds; i++) {
		double s = round_s(l, left);

		*total += s;
		left = dirtied(w, s);
	}
	*total += standstill(l, left);
	return standstill(l, left);
}

static double best(const struct writer *w, const struct link *l)
{
	double least = HUGE_VAL, total;

	for (int n = 0; n <= 12; n++) {
		double s = with_rounds(w, l, n, &total);

		least = s < least ? s : least;
	}
	return least;
}

static struct smg_rounds first_looks(const struct writer *w, const struct link *l)
{
	return (struct smg_rounds){.memory = w->memory,
		.dirty = dirtied(w, 0.3),
		.dirty_s = 0.3,
		.former = dirtied(w, 0.1),
		.former_s = 0.1,
		.rate = l->rate,
		.round_s = l->round_s,
		.stop_s = l->stop_s,
		.left_s = HUGE_VAL,
		.room = HUGE_VAL};
}

static void next_look(struct smg_rounds *r, const struct writer *w, double s)
{
	r->former = r->dirty;
	r->former_s = r->dirty_s;
	r->dirty = dirtied(w, s);
	r->dirty_s = s;
	r->done++;
}

/* As the engine does it; *why: the last word. */
static int rounds_of(const struct writer *w, const struct link *l, enum smg_rounds_word *why)
{
	struct smg_rounds r = first_looks(w, l);

	while ((*why = smg_rounds_next(&r, NULL)) == SMG_ROUNDS_ON)
		next_look(&r, w, round_s(l, r.done ? r.dirty : r.memory));
	return r.done;
}

static const struct link gigabit = {125 * MB, 0.05, 0.5};

static void assert_word(const struct smg_rounds *r, enum smg_rounds_word want)
{
	assert_int_equal(smg_rounds_next(r, NULL), want);
}

static void an_idle_service_needs_one(void **state)
{
	const struct writer w = {1000 * MB, 0, 0};
	enum smg_rounds_word why;

	(void)state;
	assert_int_equal(rounds_of(&w, &gigabit, &why), 1);
	assert_int_equal(why, SMG_ROUNDS_LITTLE);
}

static void nothing_is_gained_where_all_is_written_at_once(void **state)
{
	const struct writer w = {1000 * MB, 1000 * MB, 4000 * MB};
	enum smg_rounds_word why;

	(void)state;
	assert_int_equal(rounds_of(&w, &gigabit, &why), 0);
	assert_int_equal(why, SMG_ROUNDS_NO_GAIN);
}

static void a_small_set_is_written_to_again_and_again(void **state)
{
	const struct writer w = {1000 * MB, 50 * MB, 1000 * MB};
	enum smg_rounds_word why;

	(void)state;
	assert_in_range(rounds_of(&w, &gigabit, &why), 1, 2);
	assert_int_equal(why, SMG_ROUNDS_NO_GAIN);
}

static void a_small_service_is_not_worth_it(void **state)
{
	const struct writer w = {2 * MB, 0, 0};
	enum smg_rounds_word why;

	(void)state;
	assert_int_equal(rounds_of(&w, &gigabit, &why), 0);
	assert_int_equal(why, SMG_ROUNDS_LITTLE);
}

static void time_room_and_number_are_limits(void **state)
{
	const struct writer w = {1000 * MB, 500 * MB, 20 * MB};
	struct smg_rounds r = first_looks(&w, &gigabit);
	double next = 0;

	(void)state;
	assert_int_equal(smg_rounds_next(&r, &next), SMG_ROUNDS_ON);
	assert_true(next > 100 * MB && next < 300 * MB);
	r.left_s = 9; /* 8 s for all of it, then 1.5 s for what it has written to, and the standstill */
	assert_word(&r, SMG_ROUNDS_LATE);
	r.left_s = 20;
	r.room = 50 * MB;
	assert_word(&r, SMG_ROUNDS_NO_ROOM);
	r.room = 1000 * MB;
	assert_word(&r, SMG_ROUNDS_ON);
	r.done = 12;
	assert_word(&r, SMG_ROUNDS_MANY);
}

static void words_are_told(void **state)
{
	(void)state;
	assert_string_equal(smg_rounds_why(SMG_ROUNDS_ON), "");
	for (int w = SMG_ROUNDS_LITTLE; w <= SMG_ROUNDS_NO_ROOM; w++)
		assert_true(strlen(smg_rounds_why((enum smg_rounds_word)w)) > 5);
	assert_string_equal(smg_rounds_why((enum smg_rounds_word)99), "");
}

/* Of a writer that is as the model has it the whole course is known from the first two looks. */
static void the_course_is_foretold(void **state)
{
	const struct writer w = {1000 * MB, 100 * MB, 60 * MB};
	struct smg_rounds r = first_looks(&w, &gigabit);
	struct smg_rounds_course c;
	enum smg_rounds_word why;
	double total, stop;
	int n = rounds_of(&w, &gigabit, &why);

	(void)state;
	smg_rounds_foretell(&r, &c);
	assert_int_equal(c.rounds, n);
	assert_int_equal(c.word, why);
	stop = with_rounds(&w, &gigabit, n, &total);
	assert_true(fabs(c.seconds + stop - total) < 0.01 * total);
	assert_true(fabs(standstill(&gigabit, c.left) - stop) < 0.01 * stop);
	assert_true(c.sent > w.memory && c.sent < 2 * w.memory);
}

static double between(double from, double to)
{
	return from * pow(to / from, drand48());
}

/* Nor does it go on for long where a round gains nothing: what is sent in vain has its limit, too. */
static void never_much_worse_than_the_best(void **state)
{
	double worst = 0, longest = 0;

	(void)state;
	srand48(7);
	for (int i = 0; i < 20000; i++) {
		const struct writer w = {between(4 * MB, 64e9), 0, between(0.1 * MB, 20e9)};
		const struct link l = {between(20 * MB, 5e9), between(0.01, 0.5), between(0.1, 5)};
		struct writer v = w;
		enum smg_rounds_word why;
		double total, none, s;
		int n;

		v.set = w.memory * drand48();
		n = rounds_of(&v, &l, &why);
		s = with_rounds(&v, &l, n, &total) / best(&v, &l);
		worst = s > worst ? s : worst;
		if (s > 1.2)
			printf("memory %.0f MB, set %.0f MB, written at %.1f MB/s; link %.0f MB/s, round %.2f s, stop %.2f s: %d "
			       "rounds "
			       "(%s): %.2f\n",
				v.memory / MB, v.set / MB, v.rate / MB, l.rate / MB, l.round_s, l.stop_s, n, smg_rounds_why(why),
				s);
		none = standstill(&l, v.memory);
		longest = total / none > longest ? total / none : longest;
	}
	printf("worst standstill: %.3f of the best; longest: %.2f of one sending\n", worst, longest);
	assert_true(worst <= 1.2);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(an_idle_service_needs_one),
		cmocka_unit_test(nothing_is_gained_where_all_is_written_at_once),
		cmocka_unit_test(a_small_set_is_written_to_again_and_again),
		cmocka_unit_test(a_small_service_is_not_worth_it),
		cmocka_unit_test(time_room_and_number_are_limits),
		cmocka_unit_test(words_are_told),
		cmocka_unit_test(the_course_is_foretold),
		cmocka_unit_test(never_much_worse_than_the_best),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

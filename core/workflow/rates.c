/* Lines fitted to measured phases: fixed seconds and bytes per second. */
#include "workflow/rates.h"

#include <math.h>

#define DECAY 0.85	   /* of the old sums at each new sample */
#define DECAY_CHANGED 0.05 /* likewise, when the machine is another than it was */
#define TRUSTED 2.5	   /* samples (decayed: three) from which on a sample may be called an outlier */
#define FAR_OFF 1.5	   /* times the prediction, at most, that a sample counts as once the line is trusted */
#define FAR_MANY 3	   /* such samples in one direction: the machine has changed */
#define SAME 1.1	   /* times the prediction: as fast as that */
#define PRIOR_WEIGHT 1e-4  /* of a sample, for what is believed before anything was measured */
#define PRIOR_BYTES 1e9
#define FASTEST 1e-12 /* seconds a byte */
#define SLOWEST 1.0
#define LEAST_SECONDS 1e-6
#define MOST_SECONDS 1e9
#define MOST_AT_ONCE 1e5
#define MOST_SUM 1e80 /* of anything that can be summed up here */

/* What is believed before anything was measured. */
static const struct {
	const char *name;
	double fixed_s, bytes_s;
} priors[SMG_N_LINES] = {
	[SMG_STREAM_ONE] = {"stream_one", 0.3, 110e6}, /* 1 Gbit/s */
	[SMG_STREAM_MANY] = {"stream_many", 0.3, 110e6},
	[SMG_DISK_ONE] = {"disk_one", 0.3, 200e6},
	[SMG_DISK_MANY] = {"disk_many", 0.3, 200e6},
	[SMG_RESTORES] = {"restores", 0.4, 500e6},
	[SMG_LANDINGS] = {"landings", 1, 500e6},
};

static double clamp(double v, double low, double high)
{
	return !(v > low) ? low : v > high ? high : v; /* NaN is low: sums that were read may be absurd */
}

static void add(struct smg_line *l, double x, double y, double weight)
{
	l->w += weight;
	l->x += weight * x;
	l->y += weight * y;
	l->xx += weight * x * x;
	l->xy += weight * x * y;
}

/* The line with two faint samples of the prior: nothing measured leaves a fit undetermined, and much measured hides them. */
static struct smg_line with_prior(const struct smg_rates *r, size_t which)
{
	struct smg_line l = r->line[which];
	double fixed = priors[which].fixed_s, big = fixed + PRIOR_BYTES / priors[which].bytes_s;

	add(&l, 0, fixed, PRIOR_WEIGHT / (fixed * fixed));
	add(&l, PRIOR_BYTES, big, PRIOR_WEIGHT / (big * big));
	return l;
}

struct fit {
	double fixed, slope[SMG_N_LINES];
};

/*
 * Fits lines [from, to) that cross at zero bytes: each has a slope of its own, the fixed part is common. Least squares: for a
 * given fixed part each slope is (xy - fixed * x) / xx; put in, what is left has its minimum at the quotient below.
 */
static void fit_lines(const struct smg_rates *r, size_t from, size_t to, struct fit *f)
{
	double over = 0, under = 0;

	for (size_t i = from; i < to; i++) {
		struct smg_line l = with_prior(r, i);

		over += l.y - l.x * l.xy / l.xx;
		under += l.w - l.x * l.x / l.xx;
	}
	f->fixed = clamp(over / under, 0, MOST_SECONDS);
	for (size_t i = from; i < to; i++) {
		struct smg_line l = with_prior(r, i);

		f->slope[i] = clamp((l.xy - f->fixed * l.x) / l.xx, FASTEST, SLOWEST);
	}
}

static bool measured(const struct smg_rates *r, size_t which)
{
	return r->line[which].n > 0;
}

/* A pipe that was never seen shared carries what one dump got through it, at least. */
static struct smg_pipe pipe_of(const struct smg_rates *r, const struct fit *f, size_t one, size_t many)
{
	struct smg_pipe p = {1 / f->slope[one], 1 / f->slope[many]};

	if (!measured(r, many) && p.all_bytes_s < p.one_bytes_s)
		p.all_bytes_s = p.one_bytes_s;
	return p;
}

void smg_rates_speeds(const struct smg_rates *r, struct smg_speeds *out)
{
	struct fit dumps, restores, landings;

	fit_lines(r, SMG_STREAM_ONE, SMG_RESTORES, &dumps);
	fit_lines(r, SMG_RESTORES, SMG_LANDINGS, &restores);
	fit_lines(r, SMG_LANDINGS, SMG_N_LINES, &landings);
	out->dump_fixed_s = dumps.fixed;
	out->link = pipe_of(r, &dumps, SMG_STREAM_ONE, SMG_STREAM_MANY);
	out->disk = pipe_of(r, &dumps, SMG_DISK_ONE, SMG_DISK_MANY);
	out->restore_fixed_s = restores.fixed;
	out->restore_bytes_s = 1 / restores.slope[SMG_RESTORES];
	out->land_s = landings.fixed;
}

/* How the count of samples far off goes on: one up or down, or back towards none. */
static double count_far(double far, double y, double predicted)
{
	if (y > predicted * FAR_OFF)
		return far < 0 ? 1 : far + 1;
	if (y < predicted / FAR_OFF)
		return far > 0 ? -1 : far - 1;
	return far > 0 ? far - 1 : far < 0 ? far + 1 : 0;
}

static void learn_line(struct smg_line *l, double x, double y, double predicted)
{
	double decay = DECAY;

	l->far = l->n >= TRUSTED ? clamp(count_far(l->far, y, predicted), -FAR_MANY, FAR_MANY) : 0;
	if (l->far >= FAR_MANY || l->far <= -FAR_MANY)
		decay = DECAY_CHANGED;
	else if (l->n >= TRUSTED)
		y = clamp(y, predicted / FAR_OFF, predicted * FAR_OFF);
	y = clamp(y, LEAST_SECONDS / MOST_AT_ONCE, MOST_SECONDS);
	l->n = l->n * decay + 1;
	l->w *= decay;
	l->x *= decay;
	l->y *= decay;
	l->xx *= decay;
	l->xy *= decay;
	add(l, x, y, 1 / (y * y));
}

/* A fit of one line, and one sample more for it. */
static void learn_alone(struct smg_rates *r, size_t which, double x, double y)
{
	struct fit f;

	fit_lines(r, which, which + 1, &f);
	learn_line(&r->line[which], x, y, f.fixed + x * f.slope[which]);
}

/* y: seconds of a core; beside: how many as fast as this one would fill the pipe, as far as cores go round. */
static void learn_dump(struct smg_rates *r, size_t one, size_t many, double bytes, double y, double beside)
{
	struct fit f;
	double alone, shared;

	fit_lines(r, SMG_STREAM_ONE, SMG_RESTORES, &f);
	alone = f.fixed + bytes * f.slope[one];
	shared = f.fixed + bytes * beside * f.slope[many];
	if (beside < SAME || y <= alone * SAME)
		learn_line(&r->line[one], bytes, y, alone);
	/* Also of one alone: what it gets through, the pipe carries. Who took a pipe for slow would send one at a time from then
	 * on, and never see it shared again. */
	if ((beside >= SAME && y > alone * SAME) || y < shared)
		learn_line(&r->line[many], bytes * beside, y, shared);
}

bool smg_rates_learn(struct smg_rates *r, enum smg_phase phase, int64_t bytes, double seconds, double at_once, unsigned cores)
{
	double share, y;

	if (bytes < 0 || !(seconds >= LEAST_SECONDS && seconds <= MOST_SECONDS) || !(at_once >= 1 && at_once <= MOST_AT_ONCE) ||
		!cores)
		return false;
	share = at_once > cores ? at_once / cores : 1;
	y = seconds / share;
	switch (phase) {
	case SMG_PHASE_STREAM:
		learn_dump(r, SMG_STREAM_ONE, SMG_STREAM_MANY, (double)bytes, y, at_once / share);
		break;
	case SMG_PHASE_DISK:
		learn_dump(r, SMG_DISK_ONE, SMG_DISK_MANY, (double)bytes, y, at_once / share);
		break;
	case SMG_PHASE_RESTORE:
		learn_alone(r, SMG_RESTORES, (double)bytes, y);
		break;
	case SMG_PHASE_LAND:
		learn_alone(r, SMG_LANDINGS, 0, y);
		break;
	}
	return true;
}

json_t *smg_rates_to_json(const struct smg_rates *r)
{
	json_t *j = json_object();

	for (size_t i = 0; i < SMG_N_LINES; i++) {
		const struct smg_line *l = &r->line[i];

		json_object_set_new(
			j, priors[i].name, json_pack("[f, f, f, f, f, f, f]", l->n, l->w, l->x, l->y, l->xx, l->xy, l->far));
	}
	return j;
}

static int read_line(const json_t *j, const char *name, struct smg_line *out, struct smg_err *err)
{
	double v[7];

	if (!json_is_array(j) || json_array_size(j) != 7)
		return smg_fail(err, SMG_EINVAL, "rates: %s: seven numbers are wanted", name);
	for (size_t i = 0; i < 7; i++) {
		const json_t *number = json_array_get(j, i);
		double low = i < 6 ? 0 : -FAR_MANY, high = i < 6 ? MOST_SUM : FAR_MANY;

		v[i] = json_is_number(number) ? json_number_value(number) : NAN;
		if (!(v[i] >= low && v[i] <= high))
			return smg_fail(err, SMG_EINVAL, "rates: %s: value %zu is no number from %g to %g", name, i + 1, low, high);
	}
	*out = (struct smg_line){v[0], v[1], v[2], v[3], v[4], v[5], v[6]};
	/* No samples have a mean square below the square of their mean; a fit through such sums would divide by zero. */
	if (out->x * out->x > out->w * out->xx * (1 + 1e-9) || (out->n > 0) != (out->w > 0))
		return smg_fail(err, SMG_EINVAL, "rates: %s: no samples sum up to these numbers", name);
	return 0;
}

int smg_rates_from_json(const json_t *j, struct smg_rates *out, struct smg_err *err)
{
	struct smg_rates r;

	if (!json_is_object(j) || json_object_size(j) != SMG_N_LINES)
		return smg_fail(err, SMG_EINVAL, "rates: an object of %d lines is wanted", SMG_N_LINES);
	for (size_t i = 0; i < SMG_N_LINES; i++)
		if (read_line(json_object_get(j, priors[i].name), priors[i].name, &r.line[i], err) < 0)
			return -1;
	*out = r;
	return 0;
}

/*
 * Bad luck on order, for tests: named points at which the process dies, fails or waits. Nothing is armed unless the environment has
 * SMIGRATE_FAULTS=FILE when the process starts; then FILE is read at each point, so that a test can change it. Its lines:
 *
 *   POINT N ACTION [MS]   the N-th time from now on that the process comes to POINT (0: each time); # begins a comment
 *   trace PATH            each point that is come to is appended to PATH, one a line
 *
 * ACTION: `crash` (SIGKILL; FILE is removed first, so that the next life is spared), `error` (the act fails, as the point has it),
 * `delay MS`, `short` (of a write, half is done). Counting begins anew where FILE is made anew.
 */
#ifndef SMG_BASE_FAULT_H
#define SMG_BASE_FAULT_H

#include "base/err.h"

#include <stdbool.h>
#include <stddef.h>

extern bool smg_faults_on; /* for smg_fault alone */

/* Reads the environment; before threads are there. True: faults may be ordered. */
bool smg_faults_init(void);
int smg_faults_at(const char *point, int code, struct smg_err *err);
size_t smg_faults_bytes(const char *point, size_t n);

/* We are at the point. 0, or -1 where an error is ordered: with that code. code 0: no error can come of this point. */
static inline int smg_fault(const char *point, int code, struct smg_err *err)
{
	return __builtin_expect(smg_faults_on, 0) ? smg_faults_at(point, code, err) : 0;
}

/* How many of the n bytes are to be written: fewer where a short write is ordered, 0 for an error (as of a full disk). */
static inline size_t smg_fault_bytes(const char *point, size_t n)
{
	return __builtin_expect(smg_faults_on, 0) ? smg_faults_bytes(point, n) : n;
}

#endif

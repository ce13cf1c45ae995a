/* `smigrate doctor`: what is wrong or missing on this node and between it and the cluster, as lines for people. */
#ifndef SMG_ENGINE_DOCTOR_H
#define SMG_ENGINE_DOCTOR_H

#include "base/config.h"
#include "slurm/slurm.h"

#include <jansson.h>

enum doctor_level { DOCTOR_OK, DOCTOR_WARNING, DOCTOR_ERROR };

/* Appends {"check", "level", "text"} to the list: text says what is, and behind a colon or semicolon what to do about it. */
void doctor_say(json_t *list, enum doctor_level level, const char *check, const char *fmt, ...)
	__attribute__((format(printf, 4, 5)));

/* What of the site's Slurm does not go with this configuration. Pure. */
void doctor_site(json_t *list, const struct smg_config *config, const struct smg_site *site);
/* Whether the plugin is in plugstack.conf (path, as slurmctld has it; "" for the usual one) and in this node's slurmd. */
void doctor_plugin(json_t *list, const char *plugstack);
/* StateDir's file system. */
void doctor_disk(json_t *list, const struct smg_config *config);
/* Whether so many inotify instances a user are enough for what comes back at one time to a node of so many CPUs. Pure. */
void doctor_inotify(json_t *list, long instances, long cpus);

#endif

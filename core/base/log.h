/* One log: lines on stderr (journald or a file keeps them), each with time, level and text. */
#ifndef SMG_BASE_LOG_H
#define SMG_BASE_LOG_H

enum smg_level { SMG_ERROR, SMG_WARN, SMG_INFO, SMG_DEBUG };

/* Lines below the level are dropped. Not thread-safe: set before threads start. */
void smg_log_level(enum smg_level level);
/* One write(2) a line, so that lines of several threads do not mix. Keeps errno. */
void smg_log(enum smg_level level, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

#define smg_error(...) smg_log(SMG_ERROR, __VA_ARGS__)
#define smg_warn(...) smg_log(SMG_WARN, __VA_ARGS__)
#define smg_info(...) smg_log(SMG_INFO, __VA_ARGS__)
#define smg_debug(...) smg_log(SMG_DEBUG, __VA_ARGS__)

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A sentence on stderr: one line, whatever a file name or an option put into it, so that it cannot
 * steer a terminal or pass for two.
 */
#ifndef BW_MOUNT_HELPERS_SAY_H
#define BW_MOUNT_HELPERS_SAY_H

#include "store/base/err.h"

#include <stdarg.h>

/* "WHO: ..." and a newline.  Returns code, the exit code to end with. */
int bw_complain(const char *who, int code, const char *fmt, ...) bw_printf_like(3, 4);
int bw_vcomplain(const char *who, int code, const char *fmt, va_list ap);

/* The word with the option that getopt_long() has just called unknown; at: optind before that call. */
const char *bw_unknown_option(char **argv, int at);

#endif

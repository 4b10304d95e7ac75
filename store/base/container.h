/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BW_BASE_CONTAINER_H
#define BW_BASE_CONTAINER_H

#include <stddef.h>

/*
 * The struct of type (written as "struct it") whose member ptr points at: how run() of a task, or done() of a request,
 * finds what it is embedded in.  A ptr of another type than the member's does not compile.
 */
#define bw_container_of(ptr, type, member) \
	((type *)((char *)(1 ? (ptr) : &((type *)0)->member) - offsetof(type, member)))

#endif

/* SPDX-License-Identifier: Apache-2.0 */
#include "mount-helpers/command.h"
#include "mount-helpers/mount_main.h"

#include <signal.h>

int bw_cmd_mount(const struct bw_command *c, int argc, char **argv)
{
	(void)c;
	signal(SIGINT, SIG_DFL);
	return bw_mount_main("batchweave mount", argc, argv);
}

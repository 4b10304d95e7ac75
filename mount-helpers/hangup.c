/* SPDX-License-Identifier: Apache-2.0 */
#include "mount-helpers/hangup.h"

#include <signal.h>

bool bw_hangup_ignored(void)
{
	struct sigaction hangup;

	return sigaction(SIGHUP, NULL, &hangup) == 0 && hangup.sa_handler == SIG_IGN;
}

/* SPDX-License-Identifier: Apache-2.0 */
#include "mount-helpers/mount_main.h"

int main(int argc, char **argv)
{
	return bw_mount_main("mount.batchweave", argc, argv);
}

/* SPDX-License-Identifier: Apache-2.0 */
#include "mount-helpers/mount_main.h"
#include "mount-helpers/output.h"

int main(int argc, char **argv)
{
	return bw_output_finish("mount.batchweave", bw_mount_main("mount.batchweave", argc, argv));
}

/* SPDX-License-Identifier: Apache-2.0 */
/* A string of --json on standard output: valid JSON whatever bytes a name or a key holds. */
#ifndef BW_MOUNT_HELPERS_JSON_PRINT_H
#define BW_MOUNT_HELPERS_JSON_PRINT_H

/* Quoted; bytes that are no UTF-8 become U+FFFD. */
void bw_print_json_string(const char *text);

#endif

/*
 * Names and their attributes.
 */
/* SPDX-License-Identifier: MIT OR Apache-2.0 */

#ifndef OUROBOROS_NAME_H
#define OUROBOROS_NAME_H

#define NAME_SIZE      255
#define NAME_PATH_SIZE 511

/* Option of irm_bind_program(): start the program when a request for the name arrives. */
#define BIND_AUTO 0x01

/* How the requests for a name are shared between the processes that accept. */
enum pol_balance {
        LB_RR = 0, /* who has waited longest is first */
        LB_SPILL,  /* who asked last is first */
        LB_INVALID
};

/* Security files; empty: the default place. */
struct name_sec_paths {
        char enc[NAME_PATH_SIZE + 1]; /* encryption configuration */
        char key[NAME_PATH_SIZE + 1]; /* private key */
        char crt[NAME_PATH_SIZE + 1]; /* certificate */
};

struct name_info {
        char                  name[NAME_SIZE + 1];
        enum pol_balance      pol_lb;
        struct name_sec_paths s; /* for accepting */
        struct name_sec_paths c; /* for allocating */
};

#endif /* OUROBOROS_NAME_H */

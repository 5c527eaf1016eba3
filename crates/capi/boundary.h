/*
 * What the C parts of both libraries share.
 */
/* SPDX-License-Identifier: MIT OR Apache-2.0 */

#ifndef O7S_BOUNDARY_H
#define O7S_BOUNDARY_H

#include <limits.h>
#include <pthread.h>

/* Answer of the Rust part: wait, or be cancelled, and call again with the same arguments. */
#define O7S_AGAIN ((ssize_t) INT_MIN)

/* Executes a statement that calls Rust: no cancellation may reach it. */
#define IN_RUST(statement)                                            \
        do {                                                          \
                int o7s_state;                                        \
                pthread_setcancelstate(PTHREAD_CANCEL_DISABLE,        \
                                       &o7s_state);                   \
                statement;                                            \
                pthread_setcancelstate(o7s_state, &o7s_state);        \
        } while (0)

#endif /* O7S_BOUNDARY_H */

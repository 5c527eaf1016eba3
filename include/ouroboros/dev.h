/*
 * Flows: flow_alloc(3), flow_read(3).
 *
 * A flow descriptor is a small number from 64. It is no descriptor of the operating system; for one
 * that poll() takes see o7s_flow_fileno() in <ouroboros/o7s.h>.
 */
/* SPDX-License-Identifier: MIT OR Apache-2.0 */

#ifndef OUROBOROS_DEV_H
#define OUROBOROS_DEV_H

#include <ouroboros/cdefs.h>
#include <ouroboros/qos.h>

#include <sys/types.h>
#include <time.h>
#include <unistd.h>

/* Also where <time.h> keeps to the oldest standard. */
struct timespec;

__BEGIN_DECLS

/* Allocates a flow to a name. Waits at most timeo, NULL: 20 s. Returns the descriptor or an error. */
int     flow_alloc(const char *            dst_name,
                   qosspec_t *             qs,
                   const struct timespec * timeo);

/* Waits for a flow to a name that this process is bound to, at most timeo, NULL: for ever. */
int     flow_accept(qosspec_t *             qs,
                    const struct timespec * timeo);

/* Joins a broadcast layer. */
int     flow_join(const char *            bc,
                  const struct timespec * timeo);

/* Gives the flow back, after what was written on a reliable flow is acknowledged. */
int     flow_dealloc(int fd);

/* Sends one packet. Returns count or an error. */
ssize_t flow_write(int          fd,
                   const void * buf,
                   size_t       count);

/* Receives one packet, or as much of it as fits. Returns the number of bytes or an error. */
ssize_t flow_read(int    fd,
                  void * buf,
                  size_t count);

__END_DECLS

#endif /* OUROBOROS_DEV_H */

/*
 * What this implementation offers beyond the interface of 0.23. All names begin with o7s_.
 */
/* SPDX-License-Identifier: MIT OR Apache-2.0 */

#ifndef OUROBOROS_O7S_H
#define OUROBOROS_O7S_H

#include <ouroboros/cdefs.h>
#include <ouroboros/fqueue.h>
#include <ouroboros/qos.h>

#include <sys/types.h>
#include <time.h>

/* The version of the product. */
#define O7S_VERSION_MAJOR 0
#define O7S_VERSION_MINOR 1
#define O7S_VERSION_PATCH 0
#define O7S_VERSION_STRING "0.1.0"

__BEGIN_DECLS

/*
 * flow_alloc() with the least strength of encryption, 0 to 256 bits. The flow has at least that, or
 * there is none (-ECRYPT).
 */
int          o7s_flow_alloc(const char *            dst_name,
                            qosspec_t *             qs,
                            unsigned int            cypher_s,
                            const struct timespec * timeo);

/* Bits of the flow's encryption, 0: none. */
int          o7s_flow_cypher(int fd);

/*
 * Name in the certificate with which the other end proved who it is, as a string cut to size.
 * Returns its length, 0: it did not.
 */
ssize_t      o7s_flow_peer(int    fd,
                           char * buf,
                           size_t size);

/*
 * A descriptor of the operating system for poll() and its like, readable while flow_read() would not
 * wait. Made at the first call, closed with the flow; not to be read, written or closed.
 */
int          o7s_flow_fileno(int fd);

/* The same for a set and fevent() with an empty queue. */
int          o7s_fset_fileno(fset_t * set);

/*
 * Why the last function of libouroboros-dev that failed in this thread did: what was tried, why it
 * failed, what to do. Stays until the thread asks again.
 */
const char * o7s_last_error(void);

/* The same for libouroboros-irm. */
const char * o7s_irm_last_error(void);

__END_DECLS

#endif /* OUROBOROS_O7S_H */

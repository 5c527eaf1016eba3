/*
 * Sets of flows and queues of their events: fset(3), fqueue(3).
 */
/* SPDX-License-Identifier: MIT OR Apache-2.0 */

#ifndef OUROBOROS_FQUEUE_H
#define OUROBOROS_FQUEUE_H

#include <ouroboros/cdefs.h>

#include <stdbool.h>
#include <sys/types.h>
#include <time.h>

/* What happened to a flow. */
enum fqtype {
        FLOW_PKT     = (1 << 0), /* a packet can be read: one event per packet */
        FLOW_DOWN    = (1 << 1), /* taken down */
        FLOW_UP      = (1 << 2), /* up again */
        FLOW_ALLOC   = (1 << 3), /* allocated; never seen by programs in C */
        FLOW_DEALLOC = (1 << 4), /* deallocated at the other end */
        FLOW_PEER    = (1 << 5)  /* the other end is gone or silent */
};

struct flow_set;
struct fqueue;

typedef struct flow_set fset_t;
typedef struct fqueue fqueue_t;

/* Also where <time.h> keeps to the oldest standard. */
struct timespec;

__BEGIN_DECLS

/* An empty set; NULL without memory or descriptors. */
fset_t *    fset_create(void);

/* Ends a set; its flows stay allocated. */
void        fset_destroy(fset_t * set);

/* Removes all flows and what they had to report. */
void        fset_zero(fset_t * set);

/* Adds a flow that is in no set. Returns 0 or an error. */
int         fset_add(fset_t * set,
                     int      fd);

/* Whether the flow is in this set. */
bool        fset_has(const fset_t * set,
                     int            fd);

/* Removes a flow and what it had to report. */
void        fset_del(fset_t * set,
                     int      fd);

/* An empty queue; NULL without memory. */
fqueue_t *  fqueue_create(void);

/* Ends a queue. */
void        fqueue_destroy(struct fqueue * fq);

/* Goes to the next event. Returns the flow's descriptor, or -EPERM at the end. */
int         fqueue_next(fqueue_t * fq);

/* The type of the event that fqueue_next() went to. */
enum fqtype fqueue_type(fqueue_t * fq);

/* Waits until the set has events and moves them into an empty queue. Returns 1 or an error. */
ssize_t     fevent(fset_t *                set,
                   fqueue_t *              fq,
                   const struct timespec * timeo);

__END_DECLS

#endif /* OUROBOROS_FQUEUE_H */

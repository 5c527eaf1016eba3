/*
 * Sets of flows and queues of events: every function and every error of fqueue.h.
 */
#include "check.h"

#include <poll.h>

static const struct timespec now  = { 0, 0 };
static const struct timespec soon = { 10, 0 };

static void expect(fset_t *     set,
                   fqueue_t *   fq,
                   int          fd,
                   enum fqtype  type)
{
        CHECK(fevent(set, fq, &soon), 1);
        CHECK(fqueue_next(fq), fd);
        CHECK(fqueue_type(fq), type);
        CHECK(fqueue_next(fq), -EPERM);
}

static void nothing(void)
{
        fset_t *   set = fset_create();
        fqueue_t * fq  = fqueue_create();

        CHECK(set != NULL && fq != NULL, 1);
        CHECK(fevent(NULL, fq, &now), -EINVAL);
        CHECK(fevent(set, NULL, &now), -EINVAL);
        CHECK(fevent(set, fq, &now), -ETIMEDOUT);
        CHECK(fqueue_next(NULL), -EINVAL);
        CHECK(fqueue_next(fq), -EPERM);
        CHECK((int) fqueue_type(NULL), -EINVAL);
        CHECK((int) fqueue_type(fq), -EPERM);
        CHECK(fset_add(NULL, 64), -EINVAL);
        CHECK(fset_add(set, 70), -EINVAL);
        CHECK(fset_add(set, -1), -EINVAL);
        CHECK(fset_add(set, 4096), -EINVAL);
        CHECK(fset_has(NULL, 64), false);
        CHECK(fset_has(set, 70), false);
        CHECK(fset_has(set, -1), false);
        CHECK(o7s_fset_fileno(NULL), -EINVAL);
        fset_del(NULL, 64);
        fset_del(set, 70);
        fset_zero(NULL);
        fset_zero(set);
        fset_destroy(NULL);
        fqueue_destroy(NULL);
        fqueue_destroy(fq);
        fset_destroy(set);
}

static void packets(void)
{
        fset_t *   set   = fset_create();
        fset_t *   other = fset_create();
        fqueue_t * fq    = fqueue_create();
        int        a;
        int        b;
        int        i;
        char       buf[4];

        pair("self", NULL, &a, &b);
        CHECK(fset_add(set, b), 0);
        CHECK(fset_add(set, b), -EPERM);
        CHECK(fset_add(other, b), -EPERM);
        CHECK(fset_has(set, b), true);
        CHECK(fset_has(other, b), false);
        CHECK(fset_has(set, a), false);
        fset_del(other, b);
        CHECK(fset_has(set, b), true);

        /* One event per packet, and what is not read stays in the queue. */
        CHECK(flow_write(a, "1", 1), 1);
        CHECK(flow_write(a, "2", 1), 1);
        CHECK(fevent(set, fq, NULL), 1);
        CHECK(fevent(set, fq, NULL), 1);
        for (i = 0; i < 2; ++i) {
                CHECK(fqueue_next(fq), b);
                CHECK(fqueue_type(fq), FLOW_PKT);
                CHECK(flow_read(b, buf, 4), 1);
        }
        CHECK(fqueue_next(fq), -EPERM);
        CHECK(fevent(set, fq, &now), -ETIMEDOUT);

        /* Packets that are there already. */
        fset_del(set, b);
        CHECK(fset_has(set, b), false);
        CHECK(flow_write(a, "1", 1), 1);
        CHECK(flow_write(a, "2", 1), 1);
        CHECK(flow_write(a, "3", 1), 1);
        CHECK(fset_add(set, b), 0);
        CHECK(fevent(set, fq, &soon), 1);
        for (i = 0; i < 3; ++i)
                CHECK(fqueue_next(fq), b);
        CHECK(fqueue_next(fq), -EPERM);

        /* A queue lives longer than what filled it. */
        CHECK(flow_write(a, "4", 1), 1);
        CHECK(fevent(set, fq, &soon), 1);
        fset_zero(set);
        CHECK(fset_has(set, b), false);
        CHECK(fset_add(other, b), 0);
        fset_destroy(other);
        fset_destroy(set);
        CHECK(fqueue_next(fq), b);
        CHECK(fqueue_type(fq), FLOW_PKT);

        CHECK(flow_dealloc(a), 0);
        CHECK(flow_dealloc(b), 0);
        fqueue_destroy(fq);
}

static void ends(void)
{
        fset_t *   set = fset_create();
        fqueue_t * fq  = fqueue_create();
        int        a;
        int        b;

        pair("self", NULL, &a, &b);
        CHECK(fset_add(set, b), 0);
        CHECK(fccntl(a, FLOWSFLAGS, FLOWFDOWN | FLOWFRDWR), 0);
        expect(set, fq, b, FLOW_DOWN);
        /* Only a change is an event. */
        CHECK(fccntl(a, FLOWSFLAGS, FLOWFDOWN | FLOWFRDWR), 0);
        CHECK(fevent(set, fq, &now), -ETIMEDOUT);
        CHECK(fccntl(a, FLOWSFLAGS, FLOWFRDWR), 0);
        expect(set, fq, b, FLOW_UP);
        CHECK(flow_dealloc(a), 0);
        expect(set, fq, b, FLOW_DEALLOC);

        /* A flow that is deallocated here leaves its set, and its events with it. */
        CHECK(flow_dealloc(b), 0);
        CHECK(fset_has(set, b), false);
        pair("self", NULL, &a, &b);
        CHECK(fset_has(set, a), false);
        CHECK(fset_has(set, b), false);
        CHECK(fset_add(set, b), 0);
        CHECK(flow_write(a, "x", 1), 1);
        CHECK(fevent(set, fq, &soon), 1);
        CHECK(flow_dealloc(b), 0);
        CHECK(fqueue_next(fq), -EPERM);
        CHECK(flow_dealloc(a), 0);

        fqueue_destroy(fq);
        fset_destroy(set);
}

static int readable(int os_fd, int ms)
{
        struct pollfd fd;

        fd.fd      = os_fd;
        fd.events  = POLLIN;
        fd.revents = 0;

        return poll(&fd, 1, ms);
}

static void descriptors(void)
{
        fset_t *   set = fset_create();
        fqueue_t * fq  = fqueue_create();
        int        a;
        int        b;
        int        of_flow;
        int        of_set;
        char       buf[4];

        pair("self", NULL, &a, &b);
        of_flow = o7s_flow_fileno(b);
        CHECK(of_flow >= 0, 1);
        CHECK(o7s_flow_fileno(b), of_flow);
        CHECK(readable(of_flow, 0), 0);
        CHECK(fset_add(set, b), 0);
        of_set = o7s_fset_fileno(set);
        CHECK(of_set >= 0, 1);
        CHECK(flow_write(a, "x", 1), 1);
        CHECK(readable(of_flow, 10000), 1);
        CHECK(readable(of_set, 10000), 1);
        CHECK(fevent(set, fq, &now), 1);
        CHECK(fqueue_next(fq), b);
        CHECK(flow_read(b, buf, 4), 1);
        CHECK(readable(of_flow, 0), 0);

        CHECK(flow_dealloc(a), 0);
        CHECK(flow_dealloc(b), 0);
        fqueue_destroy(fq);
        fset_destroy(set);
}

int main(void)
{
        serve("self");
        nothing();
        packets();
        ends();
        descriptors();

        return 0;
}

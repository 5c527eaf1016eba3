/*
 * Threads that are cancelled in each call that waits, and what they leave behind.
 */
#include "check.h"

#include <stdbool.h>

static int             fd;
static fset_t *        set;
static fqueue_t *      fq;
static const char *    name;
static volatile int    cleaned;

static void clean(void * arg)
{
        (void) arg;
        ++cleaned;
}

static void in_accept(void)
{
        flow_accept(NULL, NULL);
}

static void in_alloc(void)
{
        flow_alloc(name, NULL, NULL);
}

static void in_read(void)
{
        char buf[8];

        flow_read(fd, buf, sizeof(buf));
}

static void in_write(void)
{
        static char buf[4096];

        for (;;)
                CHECK(flow_write(fd, buf, sizeof(buf)), sizeof(buf));
}

static void in_fevent(void)
{
        fevent(set, fq, NULL);
}

/* Waits for what is never announced: the daemon answers after a while. */
static void in_irm(void)
{
        for (;;)
                CHECK(irm_bind_process(1, "nobody") < 0, 1);
}

static void * run(void * call)
{
        pthread_cleanup_push(clean, NULL);
        (*(void (**)(void)) call)();
        pthread_cleanup_pop(0);

        return NULL;
}

static void cancelled(void (* call)(void))
{
        const struct timespec while_it_waits = { 0, 150000000 };
        pthread_t             thread;
        void *                result;
        int                   before = cleaned;
        int                   early;

        /* Before it waits, and while it does. */
        for (early = 0; early < 2; ++early) {
                CHECK(pthread_create(&thread, NULL, run, &call), 0);
                if (!early)
                        nanosleep(&while_it_waits, NULL);
                CHECK(pthread_cancel(thread), 0);
                CHECK(pthread_join(thread, &result), 0);
                CHECK(result == PTHREAD_CANCELED, 1);
        }
        CHECK(cleaned, before + 2);
}

/* A call that could do its work at once is a cancellation point all the same. */
static void * at_once(void * call)
{
        int state;

        pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &state);
        pthread_cancel(pthread_self());
        /* Not here. */
        (*(void (**)(void)) call)();
        pthread_setcancelstate(state, &state);
        (*(void (**)(void)) call)();

        return NULL;
}

static void write_once(void)
{
        flow_write(fd, "x", 1);
}

static void read_once(void)
{
        char buf[4];

        flow_read(fd, buf, sizeof(buf));
}

static void list_once(void)
{
        struct name_info * list = NULL;

        irm_list_names(&list);
        free(list);
}

static void immediate(void (* call)(void))
{
        pthread_t thread;
        void *    result;

        CHECK(pthread_create(&thread, NULL, at_once, &call), 0);
        CHECK(pthread_join(thread, &result), 0);
        CHECK(result == PTHREAD_CANCELED, 1);
}

static void * serve_events(void * arg)
{
        char buf[8];

        (void) arg;
        for (;;) {
                if (fevent(set, fq, NULL) < 0)
                        continue;
                while ((fd = fqueue_next(fq)) >= 0)
                        flow_read(fd, buf, sizeof(buf));
        }

        return NULL;
}

/* What servers do at their end: the set and the queue go before the thread that uses them. */
static void end_of_a_server(int client, int server)
{
        pthread_t thread;
        void *    result;
        int       round;

        for (round = 0; round < 20; ++round) {
                set = fset_create();
                fq  = fqueue_create();
                CHECK(fset_add(set, server), 0);
                CHECK(pthread_create(&thread, NULL, serve_events, NULL), 0);
                CHECK(flow_write(client, "x", 1), 1);
                CHECK(pthread_cancel(thread), 0);
                fset_destroy(set);
                fqueue_destroy(fq);
                CHECK(pthread_join(thread, &result), 0);
                CHECK(result == PTHREAD_CANCELED, 1);
                CHECK(fset_has(set, server), false);
                CHECK(fset_add(set, server), -EINVAL);
                CHECK(fqueue_next(fq), -EINVAL);
                fset_destroy(set);
                fqueue_destroy(fq);
        }
}

int main(void)
{
        int                   a;
        int                   b;
        char                  buf[8];
        const struct timespec soon = { 10, 0 };

        serve("self");
        pair("self", NULL, &a, &b);
        set = fset_create();
        fq  = fqueue_create();
        CHECK(fset_add(set, b), 0);

        cancelled(in_accept);
        /* The request that nobody accepts is dropped too. */
        name = "self";
        cancelled(in_alloc);
        fd = b;
        cancelled(in_read);
        cancelled(in_fevent);
        cancelled(in_irm);

        /* Everything goes on. */
        CHECK(flow_write(a, "x", 1), 1);
        CHECK(fevent(set, fq, &soon), 1);
        CHECK(flow_read(b, buf, sizeof(buf)), 1);
        fd = a;
        immediate(write_once);
        CHECK(flow_read(b, buf, sizeof(buf)), 1);
        fd = b;
        CHECK(flow_write(a, "xx", 2), 2);
        immediate(read_once);
        immediate(list_once);
        fd = a;
        cancelled(in_write);
        while (fccntl(b, FLOWSFLAGS, FLOWFNONBLOCK | FLOWFRDWR) == 0
               && flow_read(b, buf, sizeof(buf)) >= 0)
                ;
        CHECK(flow_dealloc(a), 0);
        CHECK(flow_dealloc(b), 0);
        fqueue_destroy(fq);
        fset_destroy(set);
        pair("self", NULL, &a, &b);
        end_of_a_server(a, b);
        CHECK(flow_dealloc(a), 0);
        CHECK(flow_dealloc(b), 0);

        return 0;
}

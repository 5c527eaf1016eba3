/*
 * Many threads at the same flows: nothing is lost, and whoever is late gets an error.
 */
#include "check.h"

#define PACKETS 20000
#define ROUNDS  200

static int          a;
static int          b;
static volatile int stop;

static void * write_all(void * arg)
{
        uint32_t i;

        (void) arg;
        for (i = 0; i < PACKETS; ++i)
                CHECK(flow_write(a, &i, sizeof(i)), sizeof(i));

        return NULL;
}

static void * read_all(void * arg)
{
        uint32_t i;
        uint32_t in;

        (void) arg;
        for (i = 0; i < PACKETS; ++i) {
                CHECK(flow_read(b, &in, sizeof(in)), sizeof(in));
                CHECK(in, i);
                /* The mark of the end of a packet that fills the buffer. */
                CHECK(flow_read(b, &in, sizeof(in)), 0);
        }

        return NULL;
}

static void * ask(void * arg)
{
        uint32_t flags;
        size_t   length;

        (void) arg;
        while (!stop) {
                CHECK(fccntl(a, FLOWGFLAGS, &flags), 0);
                CHECK(flags, FLOWFDEFAULT);
                CHECK(fccntl(b, FLOWGRXQLEN, &length), 0);
        }

        return NULL;
}

static void * read_until_gone(void * arg)
{
        char    buf[4];
        ssize_t result;

        (void) arg;
        do {
                result = flow_read(b, buf, sizeof(buf));
        } while (result >= 0);
        CHECK(result == -ENOTALLOC || result == -EFLOWDOWN, 1);

        return NULL;
}

static void * write_until_gone(void * arg)
{
        ssize_t result;

        (void) arg;
        do {
                result = flow_write(a, "abc", 3);
        } while (result >= 0);
        CHECK(result == -ENOTALLOC || result == -EFLOWDOWN, 1);

        return NULL;
}

static void * fill(void * fq)
{
        while (!stop)
                fqueue_next(fq);

        return NULL;
}

int main(void)
{
        pthread_t             threads[4];
        fset_t *              set = fset_create();
        fqueue_t *            fq  = fqueue_create();
        const struct timespec now = { 0, 0 };
        int                   i;
        int                   round;

        serve("self");
        pair("self", NULL, &a, &b);
        CHECK(pthread_create(&threads[0], NULL, write_all, NULL), 0);
        CHECK(pthread_create(&threads[1], NULL, read_all, NULL), 0);
        CHECK(pthread_create(&threads[2], NULL, ask, NULL), 0);
        CHECK(pthread_join(threads[0], NULL), 0);
        CHECK(pthread_join(threads[1], NULL), 0);
        stop = 1;
        CHECK(pthread_join(threads[2], NULL), 0);

        /* One queue, two threads. */
        stop = 0;
        CHECK(fset_add(set, b), 0);
        CHECK(pthread_create(&threads[0], NULL, fill, fq), 0);
        for (i = 0; i < 1000; ++i) {
                CHECK(flow_write(a, "x", 1), 1);
                fevent(set, fq, &now);
                fqueue_next(fq);
                fqueue_type(fq);
        }
        stop = 1;
        CHECK(pthread_join(threads[0], NULL), 0);
        CHECK(flow_dealloc(a), 0);
        CHECK(flow_dealloc(b), 0);

        /* Flows that go while they are used. */
        for (round = 0; round < ROUNDS; ++round) {
                pair("self", NULL, &a, &b);
                CHECK(pthread_create(&threads[0], NULL, read_until_gone, NULL), 0);
                CHECK(pthread_create(&threads[1], NULL, read_until_gone, NULL), 0);
                CHECK(pthread_create(&threads[2], NULL, write_until_gone, NULL), 0);
                CHECK(pthread_create(&threads[3], NULL, write_until_gone, NULL), 0);
                if (round % 2) {
                        CHECK(flow_dealloc(a), 0);
                        CHECK(flow_dealloc(b), 0);
                } else {
                        CHECK(flow_dealloc(b), 0);
                        CHECK(flow_dealloc(a), 0);
                }
                for (i = 0; i < 4; ++i)
                        CHECK(pthread_join(threads[i], NULL), 0);
        }
        fqueue_destroy(fq);
        fset_destroy(set);

        return 0;
}

/*
 * Joining a broadcast layer: what is written reaches the others.
 */
#include "check.h"

static volatile int cleaned;

static void clean(void * arg)
{
        (void) arg;
        ++cleaned;
}

/* Joins for ever, until it is cancelled. */
static void * keep_joining(void * arg)
{
        int fd;

        (void) arg;
        pthread_cleanup_push(clean, NULL);
        for (;;) {
                fd = flow_join("all", NULL);
                CHECK(fd >= 64, 1);
                CHECK(flow_dealloc(fd), 0);
        }
        pthread_cleanup_pop(0);

        return NULL;
}

int main(void)
{
        struct ipcp_config conf = bc_default_conf;
        struct timespec    soon = { 10, 0 };
        pid_t              pid;
        pthread_t          thread;
        void *             result;
        int                fds[3];
        int                i;
        char               buf[8];
        qosspec_t          qs;

        pid = irm_create_ipcp("bc", IPCP_BROADCAST);
        CHECK(pid > 0, 1);
        strcpy(conf.layer_info.name, "all");
        CHECK(irm_bootstrap_ipcp(pid, &conf), 0);

        for (i = 0; i < 3; ++i) {
                fds[i] = flow_join("all", i == 0 ? NULL : &soon);
                CHECK(fds[i], 64 + i);
                receive_timeout(fds[i], 10000);
        }
        CHECK(fccntl(fds[0], FLOWGQOSSPEC, &qs), 0);
        CHECK(qs.in_order, 0);
        CHECK(qs.timeout, 0);
        CHECK(flow_write(fds[0], "hello", 6), 6);
        for (i = 1; i < 3; ++i) {
                CHECK(flow_read(fds[i], buf, sizeof(buf)), 6);
                CHECK(strcmp(buf, "hello"), 0);
        }

        CHECK(pthread_create(&thread, NULL, keep_joining, NULL), 0);
        CHECK(flow_write(fds[1], "again", 6), 6);
        CHECK(flow_read(fds[2], buf, sizeof(buf)), 6);
        CHECK(pthread_cancel(thread), 0);
        CHECK(pthread_join(thread, &result), 0);
        CHECK(result == PTHREAD_CANCELED, 1);
        CHECK(cleaned, 1);

        for (i = 0; i < 3; ++i)
                CHECK(flow_dealloc(fds[i]), 0);
        CHECK(irm_destroy_ipcp(pid), 0);

        return 0;
}

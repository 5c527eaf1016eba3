/*
 * What the test programs share: checks, and flows from the process to itself.
 */
#ifndef CHECK_H
#define CHECK_H

#include <ouroboros/dev.h>
#include <ouroboros/errno.h>
#include <ouroboros/fccntl.h>
#include <ouroboros/fqueue.h>
#include <ouroboros/irm.h>
#include <ouroboros/o7s.h>

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

/* Ends the program unless both are equal. */
#define CHECK(is, should)                                                         \
        do {                                                                      \
                long long is_     = (long long) (is);                             \
                long long should_ = (long long) (should);                         \
                if (is_ != should_) {                                             \
                        fprintf(stderr, "%s:%d: %s is %lld, not %lld (%s; %s)\n", \
                                __FILE__, __LINE__, #is, is_, should_,            \
                                o7s_last_error(), o7s_irm_last_error());          \
                        exit(1);                                                  \
                }                                                                 \
        } while (0)

/* The pid of the local IPCP. */
static inline pid_t local_ipcp(void)
{
        struct ipcp_list_info * list = NULL;
        pid_t                   pid;

        CHECK(irm_list_ipcps(&list) > 0, 1);
        pid = list[0].pid;
        CHECK(list[0].type, IPCP_LOCAL);
        free(list);

        return pid;
}

/* Binds the process to a name in the local layer. */
static inline void serve(const char * name)
{
        struct name_info info;

        memset(&info, 0, sizeof(info));
        strcpy(info.name, name);
        CHECK(irm_create_name(&info), 0);
        CHECK(irm_reg_name(name, local_ipcp()), 0);
        CHECK(irm_bind_process(getpid(), name), 0);
}

static inline void * accept_one(void * fd)
{
        qosspec_t qs;

        memset(&qs, 0xff, sizeof(qs));
        *(int *) fd = flow_accept(&qs, NULL);

        return NULL;
}

/* Allocates a flow to oneself. */
static inline void pair(const char *      name,
                        const qosspec_t * qs,
                        int *             client,
                        int *             server)
{
        pthread_t acceptor;
        qosspec_t copy = qs == NULL ? qos_raw : *qs;

        *server = -1;
        CHECK(pthread_create(&acceptor, NULL, accept_one, server), 0);
        *client = flow_alloc(name, qs == NULL ? NULL : &copy, NULL);
        CHECK(*client >= 64, 1);
        CHECK(pthread_join(acceptor, NULL), 0);
        CHECK(*server >= 64, 1);
}

static inline void receive_timeout(int fd, long ms)
{
        struct timespec timeo;

        timeo.tv_sec  = ms / 1000;
        timeo.tv_nsec = ms % 1000 * 1000000;
        CHECK(fccntl(fd, FLOWSRCVTIMEO, &timeo), 0);
}

#endif /* CHECK_H */

/*
 * Flows: every function of dev.h and fccntl.h, every error, and the sequences of spec/api.md A11.
 */
#include "check.h"

#include <signal.h>

static void arguments(void)
{
        const struct timespec now = { 0, 0 };
        char                  buf[8];

        CHECK(flow_alloc(NULL, NULL, NULL), -EINVAL);
        CHECK(flow_alloc("", NULL, NULL), -EINVAL);
        CHECK(flow_alloc("\xff", NULL, NULL), -EINVAL);
        CHECK(flow_alloc("nowhere", NULL, NULL), -ENAME);
        CHECK(strlen(o7s_last_error()) > 0, 1);
        CHECK(flow_join(NULL, NULL), -EINVAL);
        CHECK(flow_join("nowhere", NULL), -EIPCP);
        CHECK(flow_accept(NULL, &now), -ETIMEDOUT);
        CHECK(o7s_flow_alloc("nowhere", NULL, 257, NULL), -EINVAL);

        CHECK(flow_write(70, NULL, 4), -EINVAL);
        CHECK(flow_write(-1, buf, 4), -EBADF);
        CHECK(flow_write(9999, buf, 4), -EBADF);
        CHECK(flow_write(4096, buf, 4), -EBADF);
        CHECK(flow_write(4095, buf, 4), -ENOTALLOC);
        CHECK(flow_write(70, buf, 4), -ENOTALLOC);
        CHECK(flow_read(-1, buf, 4), -EBADF);
        CHECK(flow_read(4096, buf, 4), -EBADF);
        CHECK(flow_read(70, buf, 4), -ENOTALLOC);
        CHECK(fccntl(-1, FLOWGFLAGS, NULL), -EBADF);
        CHECK(fccntl(10240, FLOWGFLAGS, NULL), -EBADF);
        CHECK(fccntl(70, FLOWGFLAGS, NULL), -ENOTALLOC);
        CHECK(flow_dealloc(-1), -EINVAL);
        CHECK(flow_dealloc(4096), -EINVAL);
        CHECK(flow_dealloc(70), -ENOTALLOC);
        CHECK(o7s_flow_fileno(70), -ENOTALLOC);
        CHECK(o7s_flow_cypher(-1), -EBADF);
}

static void numbers(void)
{
        int a[3];
        int b[3];
        int i;

        for (i = 0; i < 3; ++i)
                pair("self", NULL, &a[i], &b[i]);
        for (i = 0; i < 3; ++i) {
                CHECK(a[i] < 70, 1);
                CHECK(b[i] < 70, 1);
        }
        /* The lowest free one is next. */
        CHECK(flow_dealloc(64), 0);
        CHECK(flow_dealloc(64), -ENOTALLOC);
        CHECK(flow_dealloc(66), 0);
        pair("self", NULL, &a[0], &b[0]);
        CHECK(a[0] + b[0], 64 + 66);
        for (i = 64; i < 70; ++i)
                CHECK(flow_dealloc(i), 0);
}

static void reading(void)
{
        int    a;
        int    b;
        char   buf[16] = "0123456789";
        char   in[16];
        size_t length;

        pair("self", NULL, &a, &b);
        receive_timeout(b, 20);

        /* A packet that is longer is read in parts. */
        CHECK(flow_write(a, buf, 10), 10);
        CHECK(flow_read(b, in, 4), 4);
        CHECK(flow_read(b, in + 4, 4), 4);
        CHECK(flow_read(b, in + 8, 4), 2);
        CHECK(memcmp(in, buf, 10), 0);

        /* One that ends with the buffer has an end. */
        CHECK(flow_write(a, buf, 4), 4);
        CHECK(flow_read(b, in, 4), 4);
        CHECK(flow_read(b, in, 4), 0);
        CHECK(flow_read(b, in, 4), -ETIMEDOUT);
        CHECK(flow_write(a, buf, 4), 4);
        CHECK(flow_read(b, in, 4), 4);
        CHECK(flow_read(b, NULL, 0), 0);
        CHECK(flow_read(b, in, 4), -ETIMEDOUT);
        CHECK(flow_read(b, NULL, 4), -EINVAL);

        /* No parts. */
        CHECK(fccntl(b, FLOWSFLAGS, FLOWFRNOPART | FLOWFRDWR), 0);
        CHECK(flow_write(a, buf, 10), 10);
        CHECK(flow_write(a, buf, 2), 2);
        CHECK(flow_read(b, in, 4), -EMSGSIZE);
        CHECK(flow_read(b, in, 4), 2);

        /* No waiting; an empty packet is not seen. */
        CHECK(fccntl(b, FLOWSFLAGS, FLOWFNONBLOCK | FLOWFRDWR), 0);
        CHECK(flow_read(b, in, 9), -EAGAIN);
        CHECK(flow_write(a, buf, 0), 0);
        CHECK(flow_write(a, NULL, 0), 0);
        CHECK(flow_write(a, buf, 2), 2);
        CHECK(flow_read(b, in, 9), 2);
        CHECK(flow_read(b, in, 9), -EAGAIN);
        CHECK(fccntl(b, FLOWSFLAGS, FLOWFDEFAULT), 0);
        receive_timeout(b, 0);
        CHECK(flow_read(b, in, 9), -ETIMEDOUT);

        /* Packets in the queue. */
        CHECK(flow_write(a, buf, 1), 1);
        CHECK(flow_write(a, buf, 2), 2);
        CHECK(fccntl(b, FLOWGRXQLEN, &length), 0);
        CHECK(length, 2);
        CHECK(fccntl(a, FLOWGTXQLEN, &length), 0);
        CHECK(length, 2);
        CHECK(fccntl(b, FLOWGTXQLEN, &length), 0);
        CHECK(length, 0);
        CHECK(fccntl(b, FLOWGRXQLEN, NULL), -EINVAL);

        /* What came before the end is read first. */
        CHECK(flow_dealloc(a), 0);
        CHECK(flow_read(b, in, 9), 1);
        CHECK(flow_read(b, in, 9), 2);
        CHECK(flow_read(b, in, 9), -EFLOWDOWN);
        CHECK(flow_write(b, in, 9), -EFLOWDOWN);
        CHECK(flow_dealloc(b), 0);
}

static void writing(void)
{
        int             a;
        int             b;
        int             written;
        char *          large = calloc(1, 4 << 20);
        struct timespec timeo = { 0, 20000000 };
        struct timespec now   = { 0, 0 };

        pair("self", NULL, &a, &b);

        CHECK(flow_write(a, large, 4 << 20), -EMSGSIZE);
        /* Until it is full. */
        CHECK(fccntl(a, FLOWSFLAGS, FLOWFWNOBLOCK | FLOWFRDWR), 0);
        for (written = 0; flow_write(a, large, 4096) == 4096; ++written)
                CHECK(written < 1 << 20, 1);
        CHECK(flow_write(a, large, 4096), -EAGAIN);
        CHECK(fccntl(a, FLOWSFLAGS, FLOWFDEFAULT), 0);
        CHECK(fccntl(a, FLOWSSNDTIMEO, &timeo), 0);
        CHECK(flow_write(a, large, 4096), -ETIMEDOUT);
        CHECK(fccntl(a, FLOWSSNDTIMEO, &now), 0);
        CHECK(flow_write(a, large, 4096), -ETIMEDOUT);

        /* Access modes. */
        CHECK(fccntl(a, FLOWSFLAGS, FLOWFNONBLOCK), 0);
        CHECK(flow_write(a, large, 1), -EPERM);
        CHECK(fccntl(a, FLOWSFLAGS, FLOWFDEFAULT), 0);
        CHECK(fccntl(a, FLOWSFLAGS, FLOWFWRONLY), 0);
        CHECK(flow_write(b, large, 1), -EPERM);
        CHECK(fccntl(a, FLOWSFLAGS, FLOWFDEFAULT), 0);
        CHECK(flow_write(b, large, 1), 1);

        CHECK(flow_dealloc(a), 0);
        CHECK(flow_dealloc(b), 0);
        free(large);
}

static void properties(void)
{
        int             a;
        int             b;
        uint32_t        flags = 0;
        uint16_t        frct;
        struct timespec timeo = { 3, 4 };
        qosspec_t       qs;

        pair("self", NULL, &a, &b);

        CHECK(fccntl(a, FLOWGRCVTIMEO, &timeo), -EPERM);
        CHECK(fccntl(a, FLOWGSNDTIMEO, &timeo), -EPERM);
        CHECK(fccntl(a, FLOWSRCVTIMEO, &timeo), 0);
        timeo.tv_sec = 5;
        CHECK(fccntl(a, FLOWSSNDTIMEO, &timeo), 0);
        memset(&timeo, 0, sizeof(timeo));
        CHECK(fccntl(a, FLOWGRCVTIMEO, &timeo), 0);
        CHECK(timeo.tv_sec == 3 && timeo.tv_nsec == 4, 1);
        CHECK(fccntl(a, FLOWGSNDTIMEO, &timeo), 0);
        CHECK(timeo.tv_sec == 5 && timeo.tv_nsec == 4, 1);
        CHECK(fccntl(a, FLOWGRCVTIMEO, NULL), -EINVAL);
        CHECK(fccntl(a, FLOWGSNDTIMEO, NULL), -EINVAL);
        CHECK(fccntl(a, FLOWSRCVTIMEO, NULL), 0);
        CHECK(fccntl(a, FLOWGRCVTIMEO, &timeo), -EPERM);
        CHECK(fccntl(a, FLOWSSNDTIMEO, NULL), 0);
        CHECK(fccntl(a, FLOWGSNDTIMEO, &timeo), -EPERM);

        CHECK(fccntl(a, FLOWGQOSSPEC, &qs), 0);
        CHECK(qs.delay == UINT32_MAX && qs.loss == 1 && qs.ber == 1 && qs.in_order == 0, 1);
        CHECK(qs.timeout, DEFAULT_PEER_TIMEOUT);
        CHECK(fccntl(a, FLOWGQOSSPEC, NULL), -EINVAL);

        CHECK(fccntl(a, FLOWGFLAGS, &flags), 0);
        CHECK(flags, 020002);
        CHECK(fccntl(a, FLOWSFLAGS, FLOWFRDWR | FLOWFRNOPART), 0);
        CHECK(fccntl(a, FLOWGFLAGS, &flags), 0);
        CHECK(flags, 010002);
        CHECK(fccntl(a, FLOWGFLAGS, NULL), -EINVAL);

        CHECK(fccntl(a, FRCTGFLAGS, &frct), -EPERM);
        CHECK(fccntl(a, FRCTSFLAGS, FRCTFLINGER), -EPERM);
        CHECK(fccntl(a, 1234, &frct), -ENOTSUP);
        CHECK(fccntl(a, 0), -ENOTSUP);
        CHECK(o7s_flow_cypher(a), 0);
        CHECK(o7s_flow_peer(a, NULL, 0), 0);

        /* Down at one end, seen at the other, and up again. */
        receive_timeout(b, 0);
        CHECK(fccntl(a, FLOWSFLAGS, FLOWFDOWN | FLOWFRDWR), 0);
        CHECK(flow_read(b, &flags, 4), -EFLOWDOWN);
        CHECK(fccntl(a, FLOWSFLAGS, FLOWFRDWR), 0);
        CHECK(flow_read(b, &flags, 4), -ETIMEDOUT);

        CHECK(flow_dealloc(a), 0);
        CHECK(flow_dealloc(b), 0);
}

static void reliable(void)
{
        int       a;
        int       b;
        uint16_t  flags = 0;
        qosspec_t qs;
        char      buf[8];

        pair("self", &qos_data, &a, &b);
        CHECK(fccntl(b, FLOWGQOSSPEC, &qs), 0);
        CHECK(qs.loss == 0 && qs.in_order == 1 && qs.max_gap == 2000, 1);
        CHECK(fccntl(a, FRCTGFLAGS, &flags), 0);
        CHECK(flags, 7);
        CHECK(fccntl(a, FRCTSFLAGS, FRCTFRESCNTL | FRCTFLINGER), 0);
        CHECK(fccntl(a, FRCTGFLAGS, &flags), 0);
        CHECK(flags, 7);
        CHECK(fccntl(a, FRCTSFLAGS, 0), 0);
        CHECK(fccntl(a, FRCTGFLAGS, &flags), 0);
        CHECK(flags, 1);
        CHECK(fccntl(a, FRCTSFLAGS, FRCTFRESCNTL | FRCTFLINGER), 0);
        CHECK(fccntl(a, FRCTGFLAGS, NULL), -EINVAL);
        CHECK(flow_write(a, "there", 6), 6);
        CHECK(flow_read(b, buf, sizeof(buf)), 6);
        CHECK(flow_write(b, "back", 5), 5);
        CHECK(flow_read(a, buf, sizeof(buf)), 5);
        CHECK(strcmp(buf, "back"), 0);
        CHECK(flow_write(a, "last", 5), 5);
        CHECK(flow_dealloc(a), 0);
        CHECK(flow_read(b, buf, sizeof(buf)), 5);
        CHECK(flow_dealloc(b), 0);
}

static void secret(void)
{
        pthread_t acceptor;
        int       a;
        int       b = -1;
        char      buf[8];
        qosspec_t qs = qos_raw;

        CHECK(pthread_create(&acceptor, NULL, accept_one, &b), 0);
        a = o7s_flow_alloc("self", &qs, 256, NULL);
        CHECK(a >= 64, 1);
        CHECK(pthread_join(acceptor, NULL), 0);
        CHECK(o7s_flow_cypher(a), 256);
        CHECK(o7s_flow_cypher(b), 256);
        CHECK(flow_write(a, "secret", 7), 7);
        CHECK(flow_read(b, buf, sizeof(buf)), 7);
        CHECK(strcmp(buf, "secret"), 0);
        CHECK(flow_dealloc(a), 0);
        CHECK(flow_dealloc(b), 0);
}

/* A process at the other end that is killed is a peer that is gone. */
static void peer(void)
{
        int       fd;
        int       status;
        int       ready[2];
        char      buf[4];
        pid_t     child;

        CHECK(pipe(ready), 0);
        child = fork();
        if (child == 0) {
                fd = flow_accept(NULL, NULL);
                CHECK(flow_write(fd, "x", 1), 1);
                pause();
                _exit(1);
        }
        close(ready[0]);
        close(ready[1]);
        CHECK(irm_bind_process(child, "child"), 0);
        CHECK(irm_reg_name("child", local_ipcp()), 0);
        fd = flow_alloc("child", NULL, NULL);
        CHECK(fd >= 64, 1);
        CHECK(flow_read(fd, buf, 4), 1);
        CHECK(kill(child, SIGKILL), 0);
        CHECK(waitpid(child, &status, 0), child);
        CHECK(flow_read(fd, buf, 4), -EFLOWPEER);
        CHECK(flow_dealloc(fd), 0);
}

int main(int argc, char ** argv)
{
        (void) argv;

        serve("self");
        arguments();
        numbers();
        reading();
        writing();
        properties();
        reliable();
        secret();
        /* Not where forks are watched. */
        if (argc == 1)
                peer();

        return 0;
}

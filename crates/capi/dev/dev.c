/*
 * libouroboros-dev: the public functions of <ouroboros/dev.h>, <ouroboros/fccntl.h>,
 * <ouroboros/fqueue.h>, <ouroboros/cep.h>, and what <ouroboros/o7s.h> adds to them.
 *
 * The Rust part (src/) is called with cancellation disabled. Where a function may wait, it makes one
 * turn at a time and says O7S_AGAIN in between; the thread is cancelled here, where no Rust frame is
 * on its stack.
 */
/* SPDX-License-Identifier: MIT OR Apache-2.0 */

#define _POSIX_C_SOURCE 200809L

#include <ouroboros/cep.h>
#include <ouroboros/dev.h>
#include <ouroboros/errno.h>
#include <ouroboros/fccntl.h>
#include <ouroboros/fqueue.h>
#include <ouroboros/o7s.h>

#include "../boundary.h"

#include <poll.h>
#include <stdarg.h>

/* What a call keeps between its turns; all 0 at first. */
struct turn {
        uint64_t words[4];
};

#define NEW_TURN { { 0, 0, 0, 0 } }

/* Longer than any message of a component that is worth reading. */
#define CEP_MAX 4096

struct request;

void    o7s_c_load(void);

ssize_t o7s_c_alloc(const char *            dst,
                    const qosspec_t *       qs,
                    unsigned int            cypher_s,
                    const struct timespec * timeo,
                    struct request **       request);
ssize_t o7s_c_accept(const struct timespec * timeo,
                     struct request **       request);
ssize_t o7s_c_join(const char *            bc,
                   const struct timespec * timeo,
                   struct request **       request);
int     o7s_c_request_fd(const struct request * request);
ssize_t o7s_c_finish(struct request * request,
                     qosspec_t *      qs);
void    o7s_c_request_drop(struct request * request);

ssize_t o7s_c_read(int           fd,
                   void *        buf,
                   size_t        count,
                   struct turn * turn);
ssize_t o7s_c_write(int           fd,
                    const void *  buf,
                    size_t        count,
                    struct turn * turn);
ssize_t o7s_c_dealloc(int           fd,
                      struct turn * turn);
ssize_t o7s_c_fccntl(int      fd,
                     int      cmd,
                     void *   pointer,
                     uint32_t value);

fset_t *     o7s_c_fset_create(void);
void         o7s_c_fset_destroy(fset_t * set);
void         o7s_c_fset_zero(fset_t * set);
ssize_t      o7s_c_fset_add(fset_t * set,
                            int      fd);
ssize_t      o7s_c_fset_has(const fset_t * set,
                            int            fd);
void         o7s_c_fset_del(fset_t * set,
                            int      fd);
ssize_t      o7s_c_fset_fileno(fset_t * set);
fqueue_t *   o7s_c_fqueue_create(void);
void         o7s_c_fqueue_destroy(fqueue_t * fq);
ssize_t      o7s_c_fqueue_next(fqueue_t * fq);
unsigned int o7s_c_fqueue_type(fqueue_t * fq);
ssize_t      o7s_c_fevent(fset_t *                set,
                          fqueue_t *              fq,
                          const struct timespec * timeo,
                          struct turn *           turn);

ssize_t o7s_c_cep_encode(const struct conn_info * info,
                         unsigned char *          buf,
                         size_t                   size);
ssize_t o7s_c_cep_decode(const unsigned char * buf,
                         size_t                size,
                         struct conn_info *    info);

ssize_t      o7s_c_flow_fileno(int fd);
ssize_t      o7s_c_flow_cypher(int fd);
ssize_t      o7s_c_flow_peer(int    fd,
                             char * buf,
                             size_t size);
const char * o7s_c_last_error(void);

__attribute__((constructor)) static void load(void)
{
        IN_RUST(o7s_c_load());
}

/* Returns what turn_of, which mentions turn, says in the end. */
#define IN_TURNS(turn_of)                                     \
        do {                                                  \
                struct turn turn = NEW_TURN;                  \
                ssize_t     result;                           \
                                                              \
                for (;;) {                                    \
                        pthread_testcancel();                 \
                        IN_RUST(result = turn_of);            \
                        if (result != O7S_AGAIN)              \
                                return result;                \
                }                                             \
        } while (0)

static void drop_request(void * request)
{
        IN_RUST(o7s_c_request_drop(request));
}

/* Waits for the flow that was asked for. */
static int finish(struct request * request,
                  qosspec_t *      qs)
{
        struct pollfd answer;
        ssize_t       result = 0;

        answer.events = POLLIN;

        pthread_cleanup_push(drop_request, request);

        for (;;) {
                IN_RUST(result = o7s_c_finish(request, qs));
                if (result != O7S_AGAIN)
                        break;
                answer.fd      = o7s_c_request_fd(request);
                answer.revents = 0;
                /* Whatever it says: the next attempt finds out. */
                poll(&answer, 1, -1);
        }

        pthread_cleanup_pop(0);

        return result;
}

int o7s_flow_alloc(const char *            dst_name,
                   qosspec_t *             qs,
                   unsigned int            cypher_s,
                   const struct timespec * timeo)
{
        struct request * request = NULL;
        ssize_t          result;

        pthread_testcancel();
        IN_RUST(result = o7s_c_alloc(dst_name, qs, cypher_s, timeo, &request));

        return result < 0 ? result : finish(request, qs);
}

int flow_alloc(const char *            dst_name,
               qosspec_t *             qs,
               const struct timespec * timeo)
{
        return o7s_flow_alloc(dst_name, qs, 0, timeo);
}

int flow_accept(qosspec_t *             qs,
                const struct timespec * timeo)
{
        struct request * request = NULL;
        ssize_t          result;

        pthread_testcancel();
        IN_RUST(result = o7s_c_accept(timeo, &request));

        return result < 0 ? result : finish(request, qs);
}

int flow_join(const char *            bc,
              const struct timespec * timeo)
{
        struct request * request = NULL;
        ssize_t          result;

        pthread_testcancel();
        IN_RUST(result = o7s_c_join(bc, timeo, &request));

        return result < 0 ? result : finish(request, NULL);
}

int flow_dealloc(int fd)
{
        IN_TURNS(o7s_c_dealloc(fd, &turn));
}

ssize_t flow_write(int          fd,
                   const void * buf,
                   size_t       count)
{
        IN_TURNS(o7s_c_write(fd, buf, count, &turn));
}

ssize_t flow_read(int    fd,
                  void * buf,
                  size_t count)
{
        IN_TURNS(o7s_c_read(fd, buf, count, &turn));
}

int fccntl(int fd,
           int cmd,
           ...)
{
        void *   pointer = NULL;
        uint32_t value   = 0;
        ssize_t  result;
        va_list  arguments;

        va_start(arguments, cmd);
        switch (cmd) {
        case FLOWSRCVTIMEO:
        case FLOWGRCVTIMEO:
        case FLOWSSNDTIMEO:
        case FLOWGSNDTIMEO:
        case FLOWGQOSSPEC:
        case FLOWGFLAGS:
        case FLOWGRXQLEN:
        case FLOWGTXQLEN:
        case FRCTGFLAGS:
                pointer = va_arg(arguments, void *);
                break;
        case FLOWSFLAGS:
        case FRCTSFLAGS:
                value = va_arg(arguments, uint32_t);
                break;
        default:
                /* It may not even have an argument. */
                break;
        }
        va_end(arguments);

        IN_RUST(result = o7s_c_fccntl(fd, cmd, pointer, value));

        return result;
}

fset_t * fset_create(void)
{
        fset_t * set;

        IN_RUST(set = o7s_c_fset_create());

        return set;
}

void fset_destroy(fset_t * set)
{
        IN_RUST(o7s_c_fset_destroy(set));
}

void fset_zero(fset_t * set)
{
        IN_RUST(o7s_c_fset_zero(set));
}

int fset_add(fset_t * set,
             int      fd)
{
        ssize_t result;

        IN_RUST(result = o7s_c_fset_add(set, fd));

        return result;
}

bool fset_has(const fset_t * set,
              int            fd)
{
        ssize_t result;

        IN_RUST(result = o7s_c_fset_has(set, fd));

        return result > 0;
}

void fset_del(fset_t * set,
              int      fd)
{
        IN_RUST(o7s_c_fset_del(set, fd));
}

fqueue_t * fqueue_create(void)
{
        fqueue_t * fq;

        IN_RUST(fq = o7s_c_fqueue_create());

        return fq;
}

void fqueue_destroy(fqueue_t * fq)
{
        IN_RUST(o7s_c_fqueue_destroy(fq));
}

int fqueue_next(fqueue_t * fq)
{
        ssize_t result;

        IN_RUST(result = o7s_c_fqueue_next(fq));

        return result;
}

enum fqtype fqueue_type(fqueue_t * fq)
{
        unsigned int result;

        IN_RUST(result = o7s_c_fqueue_type(fq));

        return (enum fqtype) result;
}

ssize_t fevent(fset_t *                set,
               fqueue_t *              fq,
               const struct timespec * timeo)
{
        IN_TURNS(o7s_c_fevent(set, fq, timeo, &turn));
}

int cep_snd(int                      fd,
            const struct conn_info * in)
{
        unsigned char buf[CEP_MAX];
        ssize_t       result;

        IN_RUST(result = o7s_c_cep_encode(in, buf, sizeof(buf)));
        if (result < 0)
                return result;

        result = flow_write(fd, buf, result);

        return result < 0 ? result : 0;
}

int cep_rcv(int                fd,
            struct conn_info * out)
{
        unsigned char buf[CEP_MAX];
        ssize_t       length;
        ssize_t       result;

        if (out == NULL)
                return -EINVAL;

        length = flow_read(fd, buf, sizeof(buf));
        if (length < 0)
                return length;

        if (length == sizeof(buf)) {
                /* No such message; the rest goes with it. */
                do {
                        length = flow_read(fd, buf, sizeof(buf));
                } while (length == sizeof(buf));
                return length < 0 ? length : -EPERM;
        }

        IN_RUST(result = o7s_c_cep_decode(buf, length, out));

        return result;
}

int o7s_flow_cypher(int fd)
{
        ssize_t result;

        IN_RUST(result = o7s_c_flow_cypher(fd));

        return result;
}

ssize_t o7s_flow_peer(int    fd,
                      char * buf,
                      size_t size)
{
        ssize_t result;

        IN_RUST(result = o7s_c_flow_peer(fd, buf, size));

        return result;
}

int o7s_flow_fileno(int fd)
{
        ssize_t result;

        IN_RUST(result = o7s_c_flow_fileno(fd));

        return result;
}

int o7s_fset_fileno(fset_t * set)
{
        ssize_t result;

        IN_RUST(result = o7s_c_fset_fileno(set));

        return result;
}

const char * o7s_last_error(void)
{
        const char * text;

        IN_RUST(text = o7s_c_last_error());

        return text;
}

/*
 * libouroboros-irm: the public functions of <ouroboros/irm.h>.
 *
 * The Rust part (src/) makes one step of a call at a time, with cancellation disabled, and says
 * O7S_AGAIN while the daemon has not answered. The waiting is done here, in poll(), which is a
 * cancellation point: no Rust frame is on the stack of a thread that is cancelled.
 */
/* SPDX-License-Identifier: MIT OR Apache-2.0 */

#define _POSIX_C_SOURCE 200809L

#include <ouroboros/irm.h>
#include <ouroboros/o7s.h>

#include "../boundary.h"

#include <errno.h>
#include <poll.h>

struct call;

struct call * o7s_c_irm_open(void);
int           o7s_c_irm_fd(const struct call * call);
void          o7s_c_irm_close(struct call * call);
const char *  o7s_c_irm_last_error(void);

ssize_t o7s_c_irm_create_ipcp(struct call *  call,
                              const char *   name,
                              enum ipcp_type type);
ssize_t o7s_c_irm_destroy_ipcp(struct call * call,
                               pid_t         pid);
ssize_t o7s_c_irm_list_ipcps(struct call *            call,
                             struct ipcp_list_info ** ipcps);
ssize_t o7s_c_irm_enroll_ipcp(struct call * call,
                              pid_t         pid,
                              const char *  dst);
ssize_t o7s_c_irm_bootstrap_ipcp(struct call *              call,
                                 pid_t                      pid,
                                 const struct ipcp_config * conf);
ssize_t o7s_c_irm_connect_ipcp(struct call *     call,
                               pid_t             pid,
                               const char *      dst,
                               const char *      component,
                               const qosspec_t * qs);
ssize_t o7s_c_irm_disconnect_ipcp(struct call * call,
                                  pid_t         pid,
                                  const char *  dst,
                                  const char *  component);
ssize_t o7s_c_irm_bind_program(struct call * call,
                               const char *  prog,
                               const char *  name,
                               uint16_t      opts,
                               int           argc,
                               char **       argv);
ssize_t o7s_c_irm_unbind_program(struct call * call,
                                 const char *  prog,
                                 const char *  name);
ssize_t o7s_c_irm_bind_process(struct call * call,
                               pid_t         pid,
                               const char *  name);
ssize_t o7s_c_irm_unbind_process(struct call * call,
                                 pid_t         pid,
                                 const char *  name);
ssize_t o7s_c_irm_create_name(struct call *            call,
                              const struct name_info * info);
ssize_t o7s_c_irm_destroy_name(struct call * call,
                               const char *  name);
ssize_t o7s_c_irm_list_names(struct call *       call,
                             struct name_info ** names);
ssize_t o7s_c_irm_reg_name(struct call * call,
                           const char *  name,
                           pid_t         pid);
ssize_t o7s_c_irm_unreg_name(struct call * call,
                             const char *  name,
                             pid_t         pid);

static void close_call(void * call)
{
        IN_RUST(o7s_c_irm_close(call));
}

static void await_answer(struct call * call)
{
        struct pollfd answer;

        answer.fd      = o7s_c_irm_fd(call);
        answer.events  = POLLIN;
        answer.revents = 0;

        /* Whatever it says: the next step finds out. */
        poll(&answer, 1, -1);
}

/* Returns what step, which mentions call, says in the end. */
#define CALL(step)                                            \
        do {                                                  \
                struct call * call   = NULL;                  \
                ssize_t       result = 0;                     \
                                                              \
                pthread_testcancel();                         \
                IN_RUST(call = o7s_c_irm_open());             \
                if (call == NULL)                             \
                        return -ENOMEM;                       \
                pthread_cleanup_push(close_call, call);       \
                for (;;) {                                    \
                        IN_RUST(result = step);               \
                        if (result != O7S_AGAIN)              \
                                break;                        \
                        await_answer(call);                   \
                }                                             \
                pthread_cleanup_pop(1);                       \
                return result;                                \
        } while (0)

pid_t irm_create_ipcp(const char *   name,
                      enum ipcp_type type)
{
        CALL(o7s_c_irm_create_ipcp(call, name, type));
}

int irm_destroy_ipcp(pid_t pid)
{
        CALL(o7s_c_irm_destroy_ipcp(call, pid));
}

ssize_t irm_list_ipcps(struct ipcp_list_info ** ipcps)
{
        CALL(o7s_c_irm_list_ipcps(call, ipcps));
}

int irm_enroll_ipcp(pid_t        pid,
                    const char * dst)
{
        CALL(o7s_c_irm_enroll_ipcp(call, pid, dst));
}

int irm_bootstrap_ipcp(pid_t                      pid,
                       const struct ipcp_config * conf)
{
        CALL(o7s_c_irm_bootstrap_ipcp(call, pid, conf));
}

int irm_connect_ipcp(pid_t        pid,
                     const char * dst,
                     const char * component,
                     qosspec_t    qs)
{
        CALL(o7s_c_irm_connect_ipcp(call, pid, dst, component, &qs));
}

int irm_disconnect_ipcp(pid_t        pid,
                        const char * dst,
                        const char * component)
{
        CALL(o7s_c_irm_disconnect_ipcp(call, pid, dst, component));
}

int irm_bind_program(const char * prog,
                     const char * name,
                     uint16_t     opts,
                     int          argc,
                     char **      argv)
{
        CALL(o7s_c_irm_bind_program(call, prog, name, opts, argc, argv));
}

int irm_unbind_program(const char * prog,
                       const char * name)
{
        CALL(o7s_c_irm_unbind_program(call, prog, name));
}

int irm_bind_process(pid_t        pid,
                     const char * name)
{
        CALL(o7s_c_irm_bind_process(call, pid, name));
}

int irm_unbind_process(pid_t        pid,
                       const char * name)
{
        CALL(o7s_c_irm_unbind_process(call, pid, name));
}

int irm_create_name(struct name_info * info)
{
        CALL(o7s_c_irm_create_name(call, info));
}

int irm_destroy_name(const char * name)
{
        CALL(o7s_c_irm_destroy_name(call, name));
}

ssize_t irm_list_names(struct name_info ** names)
{
        CALL(o7s_c_irm_list_names(call, names));
}

int irm_reg_name(const char * name,
                 pid_t        pid)
{
        CALL(o7s_c_irm_reg_name(call, name, pid));
}

int irm_unreg_name(const char * name,
                   pid_t        pid)
{
        CALL(o7s_c_irm_unreg_name(call, name, pid));
}

const char * o7s_irm_last_error(void)
{
        const char * text;

        IN_RUST(text = o7s_c_irm_last_error());

        return text;
}

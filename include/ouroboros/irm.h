/*
 * Management of a node: IPCPs, names, bindings (irm_create_ipcp(3), irm_create_name(3)).
 *
 * Functions return 0, or what is said, or an error. They wait for the daemon's answer.
 */
/* SPDX-License-Identifier: MIT OR Apache-2.0 */

#ifndef OUROBOROS_IRM_H
#define OUROBOROS_IRM_H

#include <ouroboros/cdefs.h>
#include <ouroboros/ipcp.h>
#include <ouroboros/name.h>
#include <ouroboros/qos.h>

#include <stdint.h>
#include <sys/types.h>

/* An entry of irm_list_ipcps(). */
struct ipcp_list_info {
        pid_t          pid;
        enum ipcp_type type;
        char           name[NAME_SIZE];  /* cut to 254 bytes */
        char           layer[NAME_SIZE]; /* "Not enrolled." if it is in none */
};

__BEGIN_DECLS

/* Starts an IPCP. Returns its pid. */
pid_t   irm_create_ipcp(const char *   name,
                        enum ipcp_type type);

/* Stops an IPCP. */
int     irm_destroy_ipcp(pid_t pid);

/* Lists the IPCPs. Returns their number; *ipcps is to be given to free(). */
ssize_t irm_list_ipcps(struct ipcp_list_info ** ipcps);

/* Makes an IPCP a member of the layer that dst belongs to. */
int     irm_enroll_ipcp(pid_t        pid,
                        const char * dst);

/* Starts a layer in an IPCP. */
int     irm_bootstrap_ipcp(pid_t                      pid,
                           const struct ipcp_config * conf);

/* Connects a component, DT_COMP or MGMT_COMP, of an IPCP to its neighbour dst. */
int     irm_connect_ipcp(pid_t        pid,
                         const char * dst,
                         const char * component,
                         qosspec_t    qs);

/* Undoes it. */
int     irm_disconnect_ipcp(pid_t        pid,
                            const char * dst,
                            const char * component);

/* Binds a program, a path or a word to be looked for in PATH, to a name. argv has no argv[0]. */
int     irm_bind_program(const char * prog,
                         const char * name,
                         uint16_t     opts,
                         int          argc,
                         char **      argv);

/* Undoes it; name NULL: for all names. */
int     irm_unbind_program(const char * prog,
                           const char * name);

/* Binds a running process to a name. */
int     irm_bind_process(pid_t        pid,
                         const char * name);

/* Undoes it. */
int     irm_unbind_process(pid_t        pid,
                           const char * name);

/* Creates a name; not an error if it exists. */
int     irm_create_name(struct name_info * info);

/* Forgets a name and its bindings. */
int     irm_destroy_name(const char * name);

/* Lists the names. Returns their number; *names is to be given to free(). */
ssize_t irm_list_names(struct name_info ** names);

/* Registers a name with the layer of an IPCP. */
int     irm_reg_name(const char * name,
                     pid_t        pid);

/* Undoes it. */
int     irm_unreg_name(const char * name,
                       pid_t        pid);

__END_DECLS

#endif /* OUROBOROS_IRM_H */

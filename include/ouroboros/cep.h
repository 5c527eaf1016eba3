/*
 * Connection establishment between components: each tells the other who it is (cep_snd(3)).
 */
/* SPDX-License-Identifier: MIT OR Apache-2.0 */

#ifndef OUROBOROS_CEP_H
#define OUROBOROS_CEP_H

#include <ouroboros/cdefs.h>
#include <ouroboros/proto.h>

#include <stdint.h>
#include <sys/types.h>

#define OCEP_BUF_STRLEN 128

struct conn_info {
        char                       comp_name[OCEP_BUF_STRLEN + 1];
        char                       protocol[OCEP_BUF_STRLEN + 1];
        uint32_t                   pref_version;
        enum proto_concrete_syntax pref_syntax;
        /* Neither sent nor filled. */
        struct proto_field         fixed_conc_syntax[PROTO_MAX_FIELDS];
        size_t                     num_fields;
        uint64_t                   addr; /* in the layer, 0: none */
};

__BEGIN_DECLS

/* Sends what is known of oneself. Returns 0 or an error. */
int cep_snd(int                      fd,
            const struct conn_info * in);

/* Receives what the other end says of itself. Returns 0 or an error. */
int cep_rcv(int                fd,
            struct conn_info * out);

__END_DECLS

#endif /* OUROBOROS_CEP_H */

/*
 * Descriptions of protocols with fixed fields.
 */
/* SPDX-License-Identifier: MIT OR Apache-2.0 */

#ifndef OUROBOROS_PROTO_H
#define OUROBOROS_PROTO_H

#include <sys/types.h>

#define PROTO_FIELD_ABSENT   -1
#define PROTO_FIELD_VARIABLE 0
#define PROTO_MAX_FIELDS     128

enum proto_concrete_syntax {
        PROTO_GPB   = 0,
        PROTO_ASN_1 = 1,
        PROTO_FIXED = 2
};

struct proto_field {
        size_t  fid;
        ssize_t len; /* bytes, or a value above */
};

#endif /* OUROBOROS_PROTO_H */

/*
 * Nothing: a header that some programs include. See <ouroboros/ipcp.h> for the hashes of layers.
 */
/* SPDX-License-Identifier: MIT OR Apache-2.0 */

#ifndef OUROBOROS_HASH_H
#define OUROBOROS_HASH_H

#endif /* OUROBOROS_HASH_H */

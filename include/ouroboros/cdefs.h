/*
 * Brackets around declarations with C linkage.
 */
/* SPDX-License-Identifier: MIT OR Apache-2.0 */

#ifndef OUROBOROS_CDEFS_H
#define OUROBOROS_CDEFS_H

/* The C library has the same macros, with the same content. */
#ifndef __BEGIN_DECLS
#ifdef __cplusplus
#define __BEGIN_DECLS extern "C" {
#define __END_DECLS }
#else
#define __BEGIN_DECLS
#define __END_DECLS
#endif
#endif

#endif /* OUROBOROS_CDEFS_H */

/*
 * Properties of a flow: fccntl(3).
 */
/* SPDX-License-Identifier: MIT OR Apache-2.0 */

#ifndef OUROBOROS_FCCNTL_H
#define OUROBOROS_FCCNTL_H

#include <ouroboros/cdefs.h>

#include <sys/time.h>
#include <time.h>

/* Flags of a flow. */
#define FLOWFRDONLY   00000000 /* read only */
#define FLOWFWRONLY   00000001 /* write only */
#define FLOWFRDWR     00000002 /* read and write */
#define FLOWFACCMODE  00000003 /* the bits of the above */
#define FLOWFINVALID  00000003 /* no access mode */
#define FLOWFDOWN     00000004 /* down */
#define FLOWFRNOBLOCK 00001000 /* reads do not wait */
#define FLOWFWNOBLOCK 00002000 /* writes do not wait */
#define FLOWFNONBLOCK (FLOWFRNOBLOCK | FLOWFWNOBLOCK)
#define FLOWFRNOPART  00010000 /* a packet larger than the buffer is an error */
#define FLOWFWNOPART  00020000 /* writes are never partial, whatever this says */
#define FLOWFDEFAULT  (FLOWFRDWR | FLOWFWNOPART)

/* Flags of FRCP. */
#define FRCTFRTX      00000001 /* lost packets are sent again; not to be set */
#define FRCTFRESCNTL  00000002 /* the sender obeys the receiver's window */
#define FRCTFLINGER   00000004 /* deallocation waits for what is not acknowledged */

/* Commands, with the type of the third argument. */
#define FLOWSRCVTIMEO 00000001 /* struct timespec *, NULL: none */
#define FLOWGRCVTIMEO 00000002 /* struct timespec * */
#define FLOWSSNDTIMEO 00000003 /* struct timespec *, NULL: none */
#define FLOWGSNDTIMEO 00000004 /* struct timespec * */
#define FLOWGQOSSPEC  00000005 /* qosspec_t * */
#define FLOWSFLAGS    00000006 /* uint32_t; replaces all flags */
#define FLOWGFLAGS    00000007 /* uint32_t * */
#define FLOWGRXQLEN   00000010 /* size_t *, packets to read here */
#define FLOWGTXQLEN   00000011 /* size_t *, packets to read at the other end */
#define FRCTSFLAGS    00001000 /* uint32_t, of which 16 bits are taken */
#define FRCTGFLAGS    00002000 /* uint16_t * */

__BEGIN_DECLS

/* Carries out cmd. Returns 0 or an error. */
int fccntl(int fd,
           int cmd,
           ...);

__END_DECLS

#endif /* OUROBOROS_FCCNTL_H */

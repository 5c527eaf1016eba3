/*
 * Error numbers beside those of the system. Functions return them negated and leave errno alone;
 * o7s_strerror() in <ouroboros/o7s.h> gives their texts.
 */
/* SPDX-License-Identifier: MIT OR Apache-2.0 */

#ifndef OUROBOROS_ERRNO_H
#define OUROBOROS_ERRNO_H

#include <errno.h>

#define ENOTALLOC  1000 /* the flow is not allocated */
#define EIPCPTYPE  1001 /* no such IPCP type */
#define EIRMD      1002 /* no contact with the IRM daemon */
#define EIPCP      1003 /* no contact with the IPCP, or no layer reaches the name */
#define EIPCPSTATE 1004 /* the IPCP is in the wrong state */
#define EFLOWDOWN  1005 /* the flow is down */
#define EFLOWPEER  1006 /* the other end is gone or silent */
#define ENAME      1007 /* no such name, or not a name */
#define ECRYPT     1008 /* encryption failed, or is not as strong as asked */
#ifndef EAUTH
#define EAUTH      1009 /* authentication failed */
#endif

#endif /* OUROBOROS_ERRNO_H */

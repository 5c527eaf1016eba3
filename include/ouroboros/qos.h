/*
 * Quality of service of a flow.
 */
/* SPDX-License-Identifier: MIT OR Apache-2.0 */

#ifndef OUROBOROS_QOS_H
#define OUROBOROS_QOS_H

#include <stdbool.h>
#include <stdint.h>

#define DEFAULT_PEER_TIMEOUT 120000 /* ms */

/* What a flow is asked to be, or is. */
typedef struct qos_spec {
        uint32_t delay;        /* ms */
        uint64_t bandwidth;    /* bit/s */
        uint8_t  availability; /* class of nines */
        uint32_t loss;         /* 0: lost packets are sent again, if in_order is not 0 */
        uint32_t ber;          /* 0: packets are checked for bit errors */
        uint8_t  in_order;     /* not 0: packets arrive in order, under flow control */
        uint32_t max_gap;      /* ms */
        uint32_t timeout;      /* ms of silence after which the other end counts as gone; 0: never */
} qosspec_t;

/* Packets as they come. */
static const qosspec_t qos_raw = {
        0xFFFFFFFF, 0, 0, 1, 1, 0, 0xFFFFFFFF, DEFAULT_PEER_TIMEOUT
};

/* Packets as they come, damaged ones left out. */
static const qosspec_t qos_raw_no_errors = {
        0xFFFFFFFF, 0, 0, 1, 0, 0, 0xFFFFFFFF, DEFAULT_PEER_TIMEOUT
};

/* In order, with gaps. */
static const qosspec_t qos_best_effort = {
        0xFFFFFFFF, 0, 0, 1, 0, 1, 0xFFFFFFFF, DEFAULT_PEER_TIMEOUT
};

/* In order, with gaps, within 100 ms. */
static const qosspec_t qos_video = {
        100, UINT64_MAX, 3, 1, 0, 1, 100, DEFAULT_PEER_TIMEOUT
};

/* In order, with gaps, within 50 ms. */
static const qosspec_t qos_voice = {
        50, 100000, 5, 1, 0, 1, 50, DEFAULT_PEER_TIMEOUT
};

/* In order and complete. */
static const qosspec_t qos_data = {
        1000, 0, 0, 0, 0, 1, 2000, DEFAULT_PEER_TIMEOUT
};

#endif /* OUROBOROS_QOS_H */

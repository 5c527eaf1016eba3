/*
 * IPC processes and the configuration of layers.
 */
/* SPDX-License-Identifier: MIT OR Apache-2.0 */

#ifndef OUROBOROS_IPCP_H
#define OUROBOROS_IPCP_H

#include <netinet/in.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>
#include <time.h>
#include <unistd.h>

#define IPCP_NAME_SIZE  255
#define LAYER_NAME_SIZE 255
#define DEV_NAME_SIZE   255

/* Components, for irm_connect_ipcp(). */
#define DT_COMP   "Data Transfer"
#define MGMT_COMP "Management"

/* Members without a name of their own, and initialisers by name, are extensions of C89 and C++. */
#ifdef __GNUC__
#define O7S_EXTENSION __extension__
#else
#define O7S_EXTENSION
#endif

enum ipcp_state {
        IPCP_NULL = 0,
        IPCP_INIT,
        IPCP_BOOT,
        IPCP_BOOTSTRAPPED,
        IPCP_ENROLLED,
        IPCP_OPERATIONAL,
        IPCP_SHUTDOWN
};

/* In the order in which they are tried for a flow. */
enum ipcp_type {
        IPCP_LOCAL = 0,
        IPCP_UNICAST,
        IPCP_BROADCAST,
        IPCP_ETH_LLC,
        IPCP_ETH_DIX,
        IPCP_UDP4,
        IPCP_UDP6,
        IPCP_INVALID
};

struct ipcp_info {
        enum ipcp_type  type;
        pid_t           pid;
        char            name[IPCP_NAME_SIZE + 1];
        enum ipcp_state state;
};

/* Assignment of addresses. */
enum pol_addr_auth {
        ADDR_AUTH_FLAT_RANDOM = 0,
        ADDR_AUTH_INVALID
};

/* What link-state routing makes of the graph. */
enum pol_link_state {
        LS_SIMPLE = 0, /* shortest paths */
        LS_LFA,        /* loop-free alternates */
        LS_ECMP,       /* paths of equal cost share the load */
        LS_INVALID
};

struct ls_config {
        enum pol_link_state pol;
        time_t              t_recalc; /* s from a change to the new routes */
        time_t              t_update; /* s between updates */
        time_t              t_timeo;  /* s after which a link is forgotten */
};

enum pol_routing {
        ROUTING_LINK_STATE = 0,
        ROUTING_INVALID
};

struct routing_config {
        enum pol_routing pol;
        O7S_EXTENSION union {
                struct ls_config ls;
        };
};

/* Data transfer. */
struct dt_config {
        O7S_EXTENSION struct {
                uint8_t addr_size; /* bytes of an address: 4 */
                uint8_t eid_size;  /* bytes of an endpoint id: 8 */
                uint8_t max_ttl;   /* hops */
        };
        struct routing_config routing;
};

enum pol_cong_avoid {
        CA_NONE = 0,
        CA_MB_ECN, /* multi-bit explicit congestion notification */
        CA_INVALID
};

/* The directory. */
enum pol_dir {
        DIR_DHT = 0, /* a distributed hash table */
        DIR_INVALID
};

enum pol_dir_hash {
        DIR_HASH_SHA3_224 = 0,
        DIR_HASH_SHA3_256,
        DIR_HASH_SHA3_384,
        DIR_HASH_SHA3_512,
        DIR_HASH_INVALID
};

enum dir_dht_config_limits {
        DHT_ALPHA_MIN       = 1,
        DHT_ALPHA_MAX       = 10,
        DHT_K_MIN           = 1,
        DHT_K_MAX           = 20,
        DHT_T_EXPIRE_MIN    = 10,
        DHT_T_EXPIRE_MAX    = 86400,
        DHT_T_REFRESH_MIN   = 3,
        DHT_T_REFRESH_MAX   = 3600,
        DHT_T_REPLICATE_MIN = 3,
        DHT_T_REPLICATE_MAX = 3600
};

struct dir_dht_config {
        struct {
                uint32_t alpha;       /* parallel requests */
                uint32_t k;           /* replicas */
                uint32_t t_expire;    /* s */
                uint32_t t_refresh;   /* s */
                uint32_t t_replicate; /* s */
        } params;
        uint64_t peer; /* not used */
};

struct dir_config {
        enum pol_dir pol;
        O7S_EXTENSION union {
                struct dir_dht_config dht;
        };
};

struct uni_config {
        struct dt_config    dt;
        struct dir_config   dir;
        enum pol_addr_auth  addr_auth_type;
        enum pol_cong_avoid cong_avoid;
};

struct eth_config {
        char     dev[DEV_NAME_SIZE + 1];
        uint16_t ethertype; /* host order; of type DIX only */
};

struct udp4_config {
        struct in_addr ip_addr;
        struct in_addr dns_addr; /* 0: none */
        uint16_t       port;     /* host order */
};

struct udp6_config {
        struct in6_addr ip_addr;
        struct in6_addr dns_addr; /* 0: none */
        uint16_t        port;     /* host order */
};

struct layer_info {
        char              name[LAYER_NAME_SIZE + 1];
        enum pol_dir_hash dir_hash_algo;
};

/* The configuration of a layer: of the union that for the type is looked at. */
struct ipcp_config {
        struct layer_info layer_info;
        enum ipcp_type    type;
        O7S_EXTENSION union {
                struct uni_config  unicast;
                struct udp4_config udp4;
                struct udp6_config udp6;
                struct eth_config  eth;
        };
};

/* Initialisers, to be used in others. */
#define O7S_LS_CONFIG      { LS_SIMPLE, 4, 15, 60 }
#define O7S_ROUTING_CONFIG { ROUTING_LINK_STATE, { O7S_LS_CONFIG } }
#define O7S_DT_CONFIG      { { 4, 8, 60 }, O7S_ROUTING_CONFIG }
#define O7S_DHT_CONFIG     { { 3, 8, 86400, 900, 900 }, 0 }
#define O7S_DIR_CONFIG     { DIR_DHT, { O7S_DHT_CONFIG } }
#define O7S_UNI_CONFIG     { O7S_DT_CONFIG, O7S_DIR_CONFIG, ADDR_AUTH_FLAT_RANDOM, CA_MB_ECN }
#define O7S_NO_UNI_CONFIG                                                          \
        { { { 0, 0, 0 }, { ROUTING_LINK_STATE, { { LS_SIMPLE, 0, 0, 0 } } } },     \
          { DIR_DHT, { { { 0, 0, 0, 0, 0 }, 0 } } }, ADDR_AUTH_FLAT_RANDOM, CA_NONE }
#define O7S_NO_IN6_ADDR    { { { 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0 } } }

static const struct ls_config default_ls_config = O7S_LS_CONFIG;

static const struct routing_config default_routing_config = O7S_ROUTING_CONFIG;

static const struct dt_config default_dt_config = O7S_DT_CONFIG;

static const struct dir_dht_config default_dht_config = O7S_DHT_CONFIG;

static const struct dir_config default_dir_config = O7S_DIR_CONFIG;

static const struct uni_config default_uni_config = O7S_UNI_CONFIG;

static const struct ipcp_config local_default_conf = {
        { "", DIR_HASH_SHA3_256 }, IPCP_LOCAL, { O7S_NO_UNI_CONFIG }
};

static const struct ipcp_config uni_default_conf = {
        { "", DIR_HASH_SHA3_256 }, IPCP_UNICAST, { O7S_UNI_CONFIG }
};

static const struct ipcp_config bc_default_conf = {
        { "", DIR_HASH_SHA3_224 }, IPCP_BROADCAST, { O7S_NO_UNI_CONFIG }
};

O7S_EXTENSION static const struct ipcp_config eth_dix_default_conf = {
        { "", DIR_HASH_SHA3_256 }, IPCP_ETH_DIX, { .eth = { "", 0xA000 } }
};

O7S_EXTENSION static const struct ipcp_config eth_llc_default_conf = {
        { "", DIR_HASH_SHA3_256 }, IPCP_ETH_LLC, { .eth = { "", 0 } }
};

O7S_EXTENSION static const struct ipcp_config udp4_default_conf = {
        { "", DIR_HASH_SHA3_224 }, IPCP_UDP4, { .udp4 = { { 0 }, { 0 }, 3435 } }
};

O7S_EXTENSION static const struct ipcp_config udp6_default_conf = {
        { "", DIR_HASH_SHA3_224 }, IPCP_UDP6,
        { .udp6 = { O7S_NO_IN6_ADDR, O7S_NO_IN6_ADDR, 3435 } }
};

#endif /* OUROBOROS_IPCP_H */

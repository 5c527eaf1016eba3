/*
 * Components that introduce themselves: cep.h.
 */
#include "check.h"

#include <ouroboros/cep.h>

int main(void)
{
        struct conn_info out;
        struct conn_info in;
        int              a;
        int              b;
        char             large[5000];

        serve("self");
        pair("self", NULL, &a, &b);

        memset(&out, 0, sizeof(out));
        strcpy(out.comp_name, "Data Transfer");
        strcpy(out.protocol, "dtp");
        out.pref_version = 1;
        out.pref_syntax  = PROTO_FIXED;
        out.addr         = 0x8000000000000001ULL;
        memset(&in, 0xff, sizeof(in));

        CHECK(cep_snd(a, NULL), -EINVAL);
        CHECK(cep_rcv(b, NULL), -EINVAL);
        CHECK(cep_snd(70, &out), -ENOTALLOC);
        CHECK(cep_rcv(70, &in), -ENOTALLOC);

        CHECK(cep_snd(a, &out), 0);
        CHECK(cep_rcv(b, &in), 0);
        CHECK(strcmp(in.comp_name, "Data Transfer"), 0);
        CHECK(strcmp(in.protocol, "dtp"), 0);
        CHECK(in.pref_version, 1);
        CHECK(in.pref_syntax, PROTO_FIXED);
        CHECK(in.addr == out.addr, 1);

        CHECK(flow_write(a, "not a message", 14), 14);
        CHECK(cep_rcv(b, &in), -1);
        /* The whole of a packet that is too long is gone. */
        memset(large, 0, sizeof(large));
        CHECK(flow_write(a, large, sizeof(large)), sizeof(large));
        CHECK(cep_rcv(b, &in), -1);
        CHECK(cep_snd(a, &out), 0);
        CHECK(cep_rcv(b, &in), 0);
        receive_timeout(b, 1);
        CHECK(cep_rcv(b, &in), -ETIMEDOUT);
        CHECK(flow_dealloc(a), 0);
        CHECK(cep_rcv(b, &in), -EFLOWDOWN);
        CHECK(flow_dealloc(b), 0);

        return 0;
}

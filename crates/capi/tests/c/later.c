/*
 * No daemon: errors. The daemon that comes then is found by the same process. Waits for a line on
 * standard input in between.
 */
#include "check.h"

int main(void)
{
        const struct timespec   now  = { 0, 0 };
        struct ipcp_list_info * ipcps = NULL;
        struct name_info *      names = NULL;
        char                    line[16];
        int                     a;
        int                     b;

        CHECK(flow_alloc("self", NULL, NULL), -EIRMD);
        CHECK(flow_accept(NULL, &now), -EIRMD);
        CHECK(flow_join("self", NULL), -EIRMD);
        CHECK(irm_list_ipcps(&ipcps), -EIRMD);
        CHECK(irm_list_names(&names), -EIRMD);
        CHECK(irm_create_ipcp("x", IPCP_LOCAL), -EIRMD);
        CHECK(irm_destroy_name("x"), -EIRMD);
        CHECK(irm_bind_process(getpid(), "x"), -EIRMD);
        CHECK(strstr(o7s_last_error(), "no irmd is running") != NULL, 1);
        CHECK(strstr(o7s_irm_last_error(), "no irmd is running") != NULL, 1);
        puts("waiting");
        fflush(stdout);
        CHECK(fgets(line, sizeof(line), stdin) != NULL, 1);

        /* Announces the process, so that it can be bound. */
        CHECK(flow_accept(NULL, &now), -ETIMEDOUT);
        serve("self");
        pair("self", NULL, &a, &b);
        CHECK(flow_dealloc(a), 0);
        CHECK(flow_dealloc(b), 0);

        return 0;
}

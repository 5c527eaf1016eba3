/*
 * Every function of irm.h, and its errors. The argument is a directory for files.
 */
#include "check.h"

static void names(const char * directory)
{
        FILE *             conf;
        char               path[NAME_PATH_SIZE + 1];
        struct name_info   info;
        struct name_info * list = (struct name_info *) &info;
        ssize_t            count;

        CHECK(irm_list_names(NULL), -EINVAL);
        CHECK(irm_list_names(&list), 0);
        CHECK(list == NULL, 1);

        memset(&info, 0, sizeof(info));
        CHECK(irm_create_name(NULL), -EINVAL);
        CHECK(irm_create_name(&info), -EINVAL);
        CHECK(strlen(o7s_irm_last_error()) > 0, 1);
        strcpy(info.name, "second");
        info.pol_lb = LB_INVALID;
        CHECK(irm_create_name(&info), -EINVAL);
        info.pol_lb = LB_SPILL;
        snprintf(path, sizeof(path), "%s/enc.conf", directory);
        conf = fopen(path, "w");
        CHECK(conf != NULL, 1);
        fputs("cipher=aes-256-gcm\n", conf);
        fclose(conf);
        strcpy(info.c.enc, path);
        strcpy(info.s.enc, "/nowhere");
        CHECK(irm_create_name(&info), -ENOENT);
        strcpy(info.s.enc, path);
        CHECK(irm_create_name(&info), 0);
        CHECK(irm_create_name(&info), 0);
        memset(&info, 0, sizeof(info));
        memset(info.name, 'a', NAME_SIZE);
        CHECK(irm_create_name(&info), 0);
        strcpy(info.name, "second");
        CHECK(irm_create_name(&info), 0);

        count = irm_list_names(&list);
        CHECK(count, 2);
        CHECK(strlen(list[0].name), NAME_SIZE);
        CHECK(strcmp(list[1].name, "second"), 0);
        CHECK(list[0].pol_lb, LB_RR);
        CHECK(list[1].pol_lb, LB_SPILL);
        CHECK(strcmp(list[1].c.enc, path), 0);
        CHECK(strcmp(list[1].s.enc, path), 0);
        CHECK(list[1].s.key[0], 0);

        CHECK(irm_reg_name(NULL, local_ipcp()), -EINVAL);
        CHECK(irm_reg_name("third", local_ipcp()), -ENAME);
        CHECK(irm_reg_name("second", 1), -EIPCP);
        CHECK(irm_reg_name("second", local_ipcp()), 0);
        CHECK(irm_unreg_name(NULL, local_ipcp()), -EINVAL);
        CHECK(irm_unreg_name("third", local_ipcp()), -ENAME);
        CHECK(irm_unreg_name("second", 1), -EIPCP);
        CHECK(irm_unreg_name("second", local_ipcp()), 0);

        CHECK(irm_destroy_name(NULL), -EINVAL);
        CHECK(irm_destroy_name("third"), -ENAME);
        CHECK(irm_destroy_name("second"), 0);
        CHECK(irm_destroy_name(list[0].name), 0);
        free(list);
}

static void bindings(void)
{
        char * argv[] = { "-l", "-x" };

        CHECK(irm_bind_program(NULL, "svc", 0, 0, NULL), -EINVAL);
        CHECK(irm_bind_program("sh", NULL, 0, 0, NULL), -EINVAL);
        CHECK(irm_bind_program("sh", "svc", 0, -1, NULL), -EINVAL);
        CHECK(irm_bind_program("sh", "svc", 0, 1, NULL), -EINVAL);
        CHECK(irm_bind_program("no-such-program", "svc", 0, 0, NULL), -ENOENT);
        CHECK(irm_bind_program("./no-such-program", "svc", 0, 0, NULL), -ENOENT);
        CHECK(irm_bind_program("/etc/passwd", "svc", 0, 0, NULL), -EPERM);
        CHECK(irm_bind_program("sh", "svc", BIND_AUTO, 2, argv), 0);
        CHECK(irm_bind_program("/bin/cat", "svc", 0, 0, NULL), 0);
        CHECK(irm_unbind_program(NULL, "svc"), -EINVAL);
        CHECK(irm_unbind_program("sh", "other"), -ENAME);
        CHECK(irm_unbind_program("ls", "svc"), -ENOENT);
        CHECK(irm_unbind_program("/bin/sh", "svc"), 0);
        CHECK(irm_unbind_program("cat", NULL), 0);
        CHECK(irm_unbind_program("cat", NULL), -ENOENT);
        CHECK(setenv("PATH", "relative:/bin", 1), 0);
        CHECK(irm_bind_program("sh", "svc", 0, 0, NULL), -EINVAL);
        CHECK(strcmp(getenv("PATH"), "relative:/bin"), 0);
        CHECK(unsetenv("PATH"), 0);
        CHECK(irm_bind_program("sh", "svc", 0, 0, NULL), -ENOENT);

        CHECK(irm_bind_process(getpid(), NULL), -EINVAL);
        CHECK(irm_bind_process(1, "svc") < 0, 1);
        CHECK(irm_bind_process(getpid(), "svc"), 0);
        CHECK(irm_bind_process(getpid(), "svc") < 0, 1);
        CHECK(irm_unbind_process(getpid(), NULL), -EINVAL);
        CHECK(irm_unbind_process(getpid(), "other") < 0, 1);
        CHECK(irm_unbind_process(getpid(), "svc"), 0);
        CHECK(irm_unbind_process(getpid(), "svc") < 0, 1);
        CHECK(irm_destroy_name("svc"), 0);
}

static void ipcps(void)
{
        struct ipcp_list_info * list;
        struct ipcp_config      conf = local_default_conf;
        char                    name[300];
        pid_t                   pid;
        int                     i;
        ssize_t                 count;

        CHECK(irm_create_ipcp(NULL, IPCP_LOCAL), -EINVAL);
        memset(name, 'n', sizeof(name));
        name[256] = 0;
        CHECK(irm_create_ipcp(name, IPCP_LOCAL), -EINVAL);
        CHECK(irm_create_ipcp("x", IPCP_INVALID), -EIPCPTYPE);
        name[255] = 0;
        pid = irm_create_ipcp(name, IPCP_LOCAL);
        CHECK(pid > 0, 1);

        CHECK(irm_list_ipcps(NULL), -EINVAL);
        count = irm_list_ipcps(&list);
        CHECK(count, 2);
        for (i = 0; i < count; ++i) {
                if (list[i].pid == pid) {
                        CHECK(strlen(list[i].name), 254);
                        CHECK(strcmp(list[i].layer, "Not enrolled."), 0);
                } else {
                        CHECK(strcmp(list[i].layer, "local"), 0);
                }
        }
        free(list);

        CHECK(irm_bootstrap_ipcp(-1, &conf), -EINVAL);
        CHECK(irm_bootstrap_ipcp(pid, NULL), -EINVAL);
        CHECK(irm_bootstrap_ipcp(pid, &conf), -EINVAL);
        strcpy(conf.layer_info.name, "lan");
        CHECK(irm_bootstrap_ipcp(1, &conf), -ENOENT);
        conf.type = IPCP_UDP4;
        CHECK(irm_bootstrap_ipcp(pid, &conf), -EINVAL);
        conf.type = IPCP_INVALID;
        CHECK(irm_bootstrap_ipcp(pid, &conf), -EIPCPTYPE);
        conf.type = IPCP_LOCAL;
        CHECK(irm_bootstrap_ipcp(pid, &conf), 0);
        CHECK(irm_bootstrap_ipcp(pid, &conf) < 0, 1);

        CHECK(irm_enroll_ipcp(-1, "x"), -EINVAL);
        CHECK(irm_enroll_ipcp(pid, NULL), -EINVAL);
        CHECK(irm_enroll_ipcp(pid, "x") < 0, 1);
        CHECK(irm_connect_ipcp(pid, NULL, DT_COMP, qos_raw), -EINVAL);
        CHECK(irm_connect_ipcp(pid, "x", NULL, qos_raw), -EINVAL);
        CHECK(irm_connect_ipcp(pid, "x", DT_COMP, qos_raw), -EIPCP);
        CHECK(irm_connect_ipcp(1, "x", DT_COMP, qos_raw), -EIPCP);
        CHECK(irm_disconnect_ipcp(pid, NULL, DT_COMP), -EINVAL);
        CHECK(irm_disconnect_ipcp(pid, "x", MGMT_COMP), -EIPCP);
        CHECK(irm_disconnect_ipcp(1, "x", MGMT_COMP), -EIPCP);

        CHECK(irm_destroy_ipcp(-1), -EINVAL);
        CHECK(irm_destroy_ipcp(0) < 0, 1);
        CHECK(irm_destroy_ipcp(getpid()) < 0, 1);
        CHECK(irm_destroy_ipcp(pid), 0);
        CHECK(irm_list_ipcps(&list), 1);
        free(list);
}

int main(int argc, char ** argv)
{
        CHECK(argc, 2);
        names(argv[1]);
        bindings();
        ipcps();

        return 0;
}

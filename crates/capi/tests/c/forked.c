/*
 * A child has none of its parent's flows, can have its own, and takes nothing with it.
 */
#include "check.h"

int main(void)
{
        fset_t *              set = fset_create();
        fqueue_t *            fq  = fqueue_create();
        const struct timespec now = { 0, 0 };
        char                  buf[8];
        uint32_t              flags;
        int                   a;
        int                   b;
        int                   c;
        int                   d;
        int                   status;
        int                   round;
        pid_t                 child;

        serve("self");
        pair("self", NULL, &a, &b);
        CHECK(fset_add(set, b), 0);

        /* Twice: a child that ends by itself, and one that is over at once. */
        for (round = 0; round < 2; ++round) {
                child = fork();
                if (child == 0) {
                        CHECK(flow_write(a, "x", 1), -ENOTALLOC);
                        CHECK(flow_read(b, buf, 1), -ENOTALLOC);
                        CHECK(fccntl(a, FLOWGFLAGS, &flags), -ENOTALLOC);
                        CHECK(flow_dealloc(a), -ENOTALLOC);
                        CHECK(fset_add(set, a), -EINVAL);
                        CHECK(fset_has(set, b), false);
                        CHECK(fevent(set, fq, &now), -EINVAL);
                        fset_destroy(set);
                        fqueue_destroy(fq);
                        if (round == 1)
                                _exit(0);
                        set = fset_create();
                        fq  = fqueue_create();
                        /* The first call makes the child known. */
                        CHECK(flow_accept(NULL, &now), -ETIMEDOUT);
                        serve("child");
                        pair("child", NULL, &c, &d);
                        CHECK(c + d, 64 + 65);
                        CHECK(fset_add(set, d), 0);
                        CHECK(flow_write(c, "child", 6), 6);
                        CHECK(fevent(set, fq, NULL), 1);
                        CHECK(fqueue_next(fq), d);
                        CHECK(flow_read(d, buf, sizeof(buf)), 6);
                        exit(0);
                }
                CHECK(waitpid(child, &status, 0), child);
                CHECK(status, 0);

                CHECK(flow_write(a, "parent", 7), 7);
                CHECK(fevent(set, fq, NULL), 1);
                CHECK(fqueue_next(fq), b);
                CHECK(flow_read(b, buf, sizeof(buf)), 7);
        }
        CHECK(flow_dealloc(a), 0);
        CHECK(flow_dealloc(b), 0);
        fqueue_destroy(fq);
        fset_destroy(set);

        return 0;
}

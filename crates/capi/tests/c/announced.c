/*
 * A program that has called nothing yet is known to the daemon: it can be bound by its pid and by
 * its name. Waits for a line on standard input, and serves then.
 */
#include "check.h"

int main(void)
{
        char line[16];
        int  fd;

        puts("waiting");
        fflush(stdout);
        CHECK(fgets(line, sizeof(line), stdin) != NULL, 1);
        fd = flow_accept(NULL, NULL);
        CHECK(fd, 64);
        CHECK(flow_write(fd, "hello", 6), 6);
        CHECK(flow_dealloc(fd), 0);

        return 0;
}

/*
 * A thread that deallocates a flow whose layer loses everything: it waits for an acknowledgement, can
 * be cancelled there, and the flow stays.
 */
#include "check.h"

static void * dealloc(void * fd)
{
        flow_dealloc(*(int *) fd);

        return NULL;
}

int main(void)
{
        const struct timespec while_it_waits = { 0, 150000000 };
        pthread_t             thread;
        void *                result;
        uint16_t              flags;
        int                   a;
        int                   b;

        serve("self");
        pair("self", &qos_data, &a, &b);
        CHECK(flow_write(a, "lost", 4), 4);
        CHECK(pthread_create(&thread, NULL, dealloc, &a), 0);
        nanosleep(&while_it_waits, NULL);
        CHECK(pthread_cancel(thread), 0);
        CHECK(pthread_join(thread, &result), 0);
        CHECK(result == PTHREAD_CANCELED, 1);

        CHECK(fccntl(a, FRCTGFLAGS, &flags), 0);
        CHECK(flags, FRCTFRTX | FRCTFRESCNTL | FRCTFLINGER);
        CHECK(fccntl(a, FRCTSFLAGS, FRCTFRESCNTL), 0);
        CHECK(flow_dealloc(a), 0);
        CHECK(flow_dealloc(b), 0);

        return 0;
}

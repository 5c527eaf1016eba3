/*
 * What a call of the C library costs: messages of 64 bytes to oneself, written and read one by one,
 * so that nothing waits. Prints the time of a write and of a read in ns, best of ten.
 */
/* SPDX-License-Identifier: MIT OR Apache-2.0 */

#define _POSIX_C_SOURCE 200809L

#include <ouroboros/dev.h>
#include <ouroboros/fccntl.h>

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#define ROUNDS  10
#define BATCHES 2000
#define BATCH   100

static char message[64];

static void * accept_one(void * fd)
{
        *(int *) fd = flow_accept(NULL, NULL);

        return NULL;
}

static double now(void)
{
        struct timespec time;

        clock_gettime(CLOCK_MONOTONIC, &time);

        return time.tv_sec * 1e9 + time.tv_nsec;
}

/* Ends the program unless the call moved a message. */
static void check(ssize_t result)
{
        if (result != sizeof(message)) {
                fprintf(stderr, "a call failed: %zd\n", result);
                exit(1);
        }
}

int main(int argc, char ** argv)
{
        pthread_t acceptor;
        double    start;
        double    writing;
        double    reading;
        double    best_write = 1e9;
        double    best_read  = 1e9;
        char      in[sizeof(message) + 1];
        int       server = -1;
        int       client;
        int       round;
        int       batch;
        int       i;

        if (argc < 2)
                return 2;
        pthread_create(&acceptor, NULL, accept_one, &server);
        client = flow_alloc(argv[1], NULL, NULL);
        pthread_join(acceptor, NULL);
        if (client < 0 || server < 0) {
                fprintf(stderr, "no flow: %d, %d\n", client, server);
                return 1;
        }

        for (round = 0; round < ROUNDS; ++round) {
                writing = reading = 0;
                for (batch = 0; batch < BATCHES; ++batch) {
                        start = now();
                        for (i = 0; i < BATCH; ++i)
                                check(flow_write(client, message, sizeof(message)));
                        writing += now() - start;
                        start = now();
                        for (i = 0; i < BATCH; ++i)
                                check(flow_read(server, in, sizeof(in)));
                        reading += now() - start;
                }
                writing /= (double) BATCHES * BATCH;
                reading /= (double) BATCHES * BATCH;
                if (writing < best_write)
                        best_write = writing;
                if (reading < best_read)
                        best_read = reading;
        }

        printf("%.1f %.1f\n", best_write, best_read);
        flow_dealloc(client);
        flow_dealloc(server);

        return 0;
}

/* cli/interrupt.c: Ctrl-C, SIGTERM and SIGHUP: the first stops the work in hand cleanly, the second ends the program.
 */
#include <poll.h>
#include <signal.h>
#include <stdatomic.h>
#include <unistd.h>

#include "cli/cli.h"

static _Atomic(hd_cancel_fn) active_cancel;
static _Atomic(void *) active_arg;
static atomic_bool caught; /* a command handles interrupts itself */
static atomic_bool flag;
static atomic_int ending; /* SIGTERM or SIGHUP, whichever came first; 0: neither.  Never taken back */

static void on_signal(int number)
{
    int before = 0;
    if (!atomic_load(&caught)) _exit(number == SIGHUP ? HD_EXIT_HANGUP : HD_EXIT_INTERRUPTED);
    if (number == SIGINT && atomic_exchange(&flag, true)) _exit(HD_EXIT_INTERRUPTED);
    if (number != SIGINT && !atomic_compare_exchange_strong(&ending, &before, number)) {
        if (number == SIGHUP) return; /* a closed terminal sends it by several ways; the first one is obeyed */
        _exit(HD_EXIT_INTERRUPTED);
    }
    hd_cancel_fn cancel = atomic_load(&active_cancel);
    if (cancel) cancel(atomic_load(&active_arg));
}

void hd_interrupt_install(void)
{
    struct sigaction action = {.sa_handler = on_signal}; /* no SA_RESTART: a read of the terminal must return */
    sigemptyset(&action.sa_mask);
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
    struct sigaction hangup;
    if (sigaction(SIGHUP, NULL, &hangup) == 0 && hangup.sa_handler != SIG_IGN) /* nohup asked to ignore it */
        sigaction(SIGHUP, &action, NULL);
    action.sa_handler = SIG_IGN; /* a closed pipe is an error of write(2), which is reported */
    sigaction(SIGPIPE, &action, NULL);
}

void hd_interrupt_catch(hd_cancel_fn cancel, void *arg)
{
    atomic_store(&active_cancel, NULL); /* never the new function with the old argument */
    atomic_store(&active_arg, arg);
    atomic_store(&active_cancel, cancel);
    atomic_store(&caught, true);
}

void hd_interrupt_release(void)
{
    atomic_store(&caught, false);
    atomic_store(&active_cancel, NULL);
}

bool hd_interrupted(void)
{
    return atomic_load(&flag) || atomic_load(&ending);
}

void hd_interrupt_reset(void)
{
    atomic_store(&flag, false);
}

int hd_interrupt_ending(void)
{
    switch (atomic_load(&ending)) {
    case SIGTERM: return HD_EXIT_TERMINATED;
    case SIGHUP: return HD_EXIT_HANGUP;
    default: return HD_EXIT_OK;
    }
}

bool hd_interrupt_wait(int fd)
{
    sigset_t all, before;
    struct pollfd waited = {.fd = fd, .events = POLLIN};
    sigemptyset(&all);
    sigaddset(&all, SIGINT);
    sigaddset(&all, SIGTERM);
    sigaddset(&all, SIGHUP);
    pthread_sigmask(SIG_BLOCK, &all, &before);
    bool readable = !hd_interrupted() && ppoll(&waited, 1, NULL, &before) > 0;
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return readable;
}

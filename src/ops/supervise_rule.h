/* ops/supervise_rule.h: what a supervisor does when, without doing it: back-off, watchdog, and the states of its
 * workers.
 *
 * Time comes in as nanoseconds of any monotonic clock, acts go out through hd_supervise_doors: so all of it is tested
 * without processes.  One thread.
 *
 *     serving    the slot that has the service: loading, ready, or empty while a restart waits
 *     coming     of a hot restart: the next worker, until it is ready
 *     leaving    the former one, until its last answer is over
 */
#ifndef HD_OPS_SUPERVISE_RULE_H
#define HD_OPS_SUPERVISE_RULE_H

#include <stdbool.h>
#include <stdint.h>

#include "ops/supervise_page.h"

/* ---- back-off ---- */

/* Nanoseconds to wait before the next start, after `failures` deaths in a row before this one: at once, 0.5 s, 1 s, 2 s
 * and so on, 60 s at most. */
uint64_t hd_backoff(int failures);

#define HD_HEALTHY_NS UINT64_C(60000000000) /* who has been ready for so long starts the row anew */

/* ---- watchdog ---- */

typedef struct hd_beats {
    hd_worker_phase phase;
    bool working; /* the engine has something to do */
    uint64_t keeper, server, engine;
} hd_beats;

typedef enum hd_stall { HD_STALL_NONE, HD_STALL_KEEPER, HD_STALL_SERVER, HD_STALL_ENGINE } hd_stall;

/* When each beat moved last. */
typedef struct hd_watch {
    hd_beats last;
    uint64_t keeper_ns, server_ns, engine_ns, looked_ns;
} hd_watch;

void hd_watch_begin(hd_watch *watch, uint64_t now);

/* Takes in new beats and says which stands still for longer than `limit`.  Nothing does while it closes, and the door
 * and the engine do not before it is ready; the engine only with work.  A look that is itself late by seconds (the
 * machine was stopped, and everybody with it) starts all anew. */
hd_stall hd_watch_look(hd_watch *watch, const hd_beats *beats, uint64_t limit, uint64_t now);

const char *hd_stall_name(hd_stall stall);

/* "SIGSEGV"; NULL for one that ends no worker as a rule.  (sigabbrev_np(3) is not in every C library.) */
const char *hd_signal_name(int number);

/* ---- the states ---- */

typedef enum hd_slot_state { HD_SLOT_EMPTY, HD_SLOT_LOADING, HD_SLOT_READY, HD_SLOT_LEAVING } hd_slot_state;

/* How a hot restart is to be done. */
typedef enum hd_restart_mode {
    HD_RESTART_AUTO,    /* beside the old worker if there is memory for both, else as IN_PLACE */
    HD_RESTART_BESIDE,  /* or not at all */
    HD_RESTART_IN_PLACE /* the old one ends its answers first; who comes meanwhile waits */
} hd_restart_mode;

/* How a process ended. */
typedef struct hd_end {
    bool by_signal;
    int number; /* of the signal, or the exit code */
} hd_end;

typedef struct hd_supervise_doors {
    /* Starts a worker in that slot; `hot`: it opens its door only when it is ready. False: it could not be started,
     * which counts as a death. */
    bool (*start)(void *arg, int slot, bool hot);
    void (*signal)(void *arg, int slot, int number);
    void (*beats)(void *arg, int slot, hd_beats *out);
    void (*stalled)(void *arg, int slot, hd_stall stall); /* before it is ended for that */
    void (*say)(void *arg, bool bad, const char *text);   /* a line for the log */
    void *arg;
} hd_supervise_doors;

typedef struct hd_supervise_rules {
    uint64_t watchdog_ns; /* 0: none */
    uint64_t drain_ns;    /* that a worker may take for its answers after SIGTERM */
    uint64_t handover_ns; /* and after a hot restart */
} hd_supervise_rules;

typedef struct hd_supervised_slot {
    hd_slot_state state;
    uint64_t started_ns, ready_ns;
    uint64_t kill_at; /* 0: never */
    bool aborted;     /* SIGABRT was sent */
    hd_watch watch;
} hd_supervised_slot;

typedef struct hd_supervisor {
    hd_supervise_rules rules;
    hd_supervise_doors doors;
    hd_supervised_slot slots[HD_SUPERVISE_SLOTS];
    int serving, coming, leaving; /* slots; -1: none.  `serving` is always one, perhaps empty */
    bool in_place;                /* the serving one is to leave, and the next comes when it has */
    bool stopping, done, ever_ready;
    int failures;
    uint64_t start_at; /* when the serving slot, which is empty, gets its next worker; 0: nothing waits */
    int exit_code;     /* once done */
    uint64_t crashes, restarts;
    uint64_t asked;       /* hot restarts, taken on or refused */
    bool asked_under_way; /* the last of them */
    bool asked_done;      /* and how it ended */
    char asked_text[256];
} hd_supervisor;

void hd_supervisor_begin(hd_supervisor *s, const hd_supervise_rules *rules, const hd_supervise_doors *doors,
                         uint64_t now);
void hd_supervisor_ready(hd_supervisor *s, int slot, uint64_t now);
void hd_supervisor_gone(hd_supervisor *s, int slot, hd_end end, uint64_t now);

/* A hot restart is wished for; `room`: there is memory for two workers. */
void hd_supervisor_restart(hd_supervisor *s, hd_restart_mode mode, bool room, uint64_t now);

/* SIGTERM or SIGINT: answers under way are finished; again: they are cut. */
void hd_supervisor_stop(hd_supervisor *s, uint64_t now);

/* Does what is due: once a second, and when hd_supervisor_next says so. */
void hd_supervisor_look(hd_supervisor *s, uint64_t now);
uint64_t hd_supervisor_next(const hd_supervisor *s, uint64_t now); /* nanoseconds from now, at most a second */

/* "loading", "ready", "waiting", "restarting", "stopping", "stopped" */
const char *hd_supervisor_state(const hd_supervisor *s);

#endif

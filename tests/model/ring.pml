/* The protocol of the ring as a Promela model.
 *
 * Each access to a shared word is one step; whatever is private is computed within the step. The
 * labels are those of the C code. Sequentially consistent: litmus.pml is about memory orders.
 * Sizes, numbers of processes, deaths and seeded defects (DEFECT_...) are macros; check.py names them.
 *
 * Words are packed as in layout.h, with fewer bits:
 *   slot   lap(t) * N + cell        FREE   maxseq << 2 | used        gate   incarnation << 5 | cursor
 *   floor  floor << 2 | counter     OWNED  128 | lane << 4 | incarnation
 */
#ifndef BLOCKS
#define BLOCKS 2
#endif
#ifndef CELLS
#define CELLS 1 /* of a block */
#endif
#ifndef SPAN
#define SPAN 1 /* cells of a record */
#endif
#ifndef EMITS0
#define EMITS0 1
#endif
#ifndef EMITS1
#define EMITS1 2
#endif
#ifndef GATES
#define GATES 0
#endif
#ifndef READERS
#define READERS 1 /* besides the gates */
#endif
#ifndef DEATHS
#define DEATHS 0 /* how many processes may go, at any step */
#endif
#ifndef VICTIMS
#define VICTIMS 1 /* bit e: emitter e may go */
#endif
#ifndef GATE_DEATHS
#define GATE_DEATHS 0
#endif
#ifndef RESPAWNS
#define RESPAWNS 0
#endif
#ifndef GATE_RESPAWNS
#define GATE_RESPAWNS 0
#endif

#define N (BLOCKS * CELLS)
#define NONE 255
#define HINT_STEP 2
#define WORDS 2 /* of a record: header and payload */
#if SPAN == 1
#define CELL_WORDS 2
#else
#define CELL_WORDS 1
#endif
#define LISTENERS (GATES + READERS)

#define lap(x) ((x) / N)
#define is_owned(w) ((w) >= 128)
#define word_owned(l, i) (128 + ((l) << 4) + (i))
#define word_free(m, u) (((m) << 2) + (u))
#define maxseq(w) ((w) >> 2)
#define used(w) ((w) & 3)
#define floor_of(w) ((w) >> 2)
#define cursor_of(w) ((w) & 31)
#define owner(w) (((w) >> 4) & 7)
#define can_change(b) \
    (!is_owned(W[b]) || !lane_held[owner(W[b])] || lane[owner(W[b])] > (W[b] & 15))
#define incarnation_of(w) ((w) >> 5)

/* Shared words. */
byte slot[N];
byte W[BLOCKS];
byte next[BLOCKS];
byte data[N * CELL_WORDS];
byte floorw = N << 2;
byte hint = N;
byte gate[GATES + 1];
byte gate_incarnation[GATES + 1];
byte lane[2];
byte sleepw;
byte stallw;

/* What the kernel knows: locks, and who sleeps. */
bit lane_held[2];
bit gate_held[GATES + 1];
bit asleep[LISTENERS + 1];
bit stalled[2];

/* What only the assertions know. */
byte tail = N;
byte truth[N];             /* the record of a slot */
byte cursor[LISTENERS + 1]; /* first number not delivered */
bit published[2];          /* the emit in hand */
bit excused[GATES + 1];    /* this gate may find itself overtaken */
byte emitting = 2;           /* emitters that may still emit */
byte deaths = DEATHS;
byte gate_deaths = GATE_DEATHS;
byte respawns = RESPAWNS;
byte gate_respawns = GATE_RESPAWNS;

/* WITNESS is a situation that a configuration claims to contain; then the search must reach it. */
#define TWO_RECOVERERS 1  /* two have proven the death of the owner of one block */
#define RECOVERER_KILLED 2 /* one was killed between proof and swap; another frees that block */
#ifdef WITNESS
byte proven[2];     /* block + 1, from proof to swap */
byte left_over = 0; /* block + 1, whose recoverer was killed */
#endif

/* Before every shared access: go on, or stop here for ever (killed: the locks go as well). */
#if DEATHS > 0
#define MORTAL \
    if :: true :: ((VICTIMS >> me) & 1) && deaths > 0 -> deaths--; goto gone fi
#else
#define MORTAL skip
#endif
#if GATE_DEATHS > 0
#define GATE_MORTAL if :: true :: me == 0 && gate_deaths > 0 -> gate_deaths--; goto gone fi
#else
#define GATE_MORTAL skip
#endif

#if LISTENERS > 0
inline wake_sleepers() {
    x = 0;
    do :: x < LISTENERS -> asleep[x] = 0; x++ :: else -> break od;
    x = 0
}
inline check_none_asleep() {
    x = 0;
    do
    :: x < LISTENERS -> assert(!(asleep[x] && cursor[x] < t)); x++
    :: else -> break
    od;
    x = 0
}
#endif

proctype emitter(byte me; byte left) {
    byte block = NONE, offset = 0, was = 0, newest = 0, t = N, id = 0;
    byte chain[2], chain_was[2], wanted = 0, got = 0;
    byte cb = 0, cw = 0, f = 0, x = 0, y = 0, k = 0;
    byte gi = 0, smallest = 0, word = 0, seen_dead = 0;
    byte rb = 0, rw = 0, rt = 0;
    bit fresh = 1, ok = 0, may_recover = 1;
    byte after = 0; /* where recovery returns to: 0 room, 1 the end of opening */

begin:
    atomic {
        id = (me << 4) + left;
        published[me] = 0;
    }
room:
    atomic {
        d_step {
            got = 0;
            wanted = 0;
            x = (block == NONE -> 0 : CELLS - offset);
            if
            :: SPAN > x -> wanted = (SPAN - x + CELLS - 1) / CELLS
            :: else
            fi;
            x = 0
        }
        if
        :: wanted == 0 -> goto write
#if DEATHS > 0
        :: wanted > 0 && may_recover -> may_recover = 0; after = 0; goto recover
#endif
#ifdef REST
        :: wanted > 0 && fresh && SPAN <= CELLS -> fresh = 0; goto rest
        :: wanted > 0 && !(fresh && SPAN <= CELLS) -> goto pick
#else
        :: wanted > 0 -> goto pick
#endif
        fi
    }

#ifdef REST
rest: /* [word:B] a part-filled block, any; or none was seen */
    atomic {
        MORTAL;
        if
        :: !is_owned(W[0]) && used(W[0]) > 0 && CELLS - used(W[0]) >= SPAN && used(W[0]) < CELLS
           -> cb = 0; cw = W[0]
        :: !is_owned(W[1]) && used(W[1]) > 0 && CELLS - used(W[1]) >= SPAN && used(W[1]) < CELLS
           -> cb = 1; cw = W[1]
        :: goto pick
        fi
    }
    atomic { /* [take:A] */
        MORTAL;
        d_step {
            ok = W[cb] == cw;
            if
            :: ok -> W[cb] = word_owned(me, lane[me]); block = cb; offset = used(cw); was = cw
            :: else
            fi;
            newest = 0; cb = 0; cw = 0; wanted = 0
        }
        if :: ok -> ok = 0; goto write :: else -> wanted = 1; goto pick fi
    }
#endif

pick: /* [word:B] any FREE block: candidates are guesses */
    atomic {
        MORTAL;
        if
        :: !is_owned(W[0]) -> cb = 0; cw = W[0]
        :: !is_owned(W[1]) -> cb = 1; cw = W[1]
#if BLOCKS > 2
        :: !is_owned(W[2]) -> cb = 2; cw = W[2]
#endif
#if BLOCKS > 3
        :: !is_owned(W[3]) -> cb = 3; cw = W[3]
#endif
        :: else -> goto exhausted
        fi
    }
look: /* [floor:B] */
    atomic {
        MORTAL;
        f = floorw;
#ifdef DEFECT_NO_FLOOR
        goto take;
#endif
        if :: maxseq(cw) < floor_of(f) -> goto take :: else fi
    }
    atomic { /* [word:B] taken since? */
        MORTAL;
        if :: W[cb] != cw -> cb = 0; cw = 0; f = 0; goto pick :: else fi
    }
#if GATES > 0
    gi = 0; smallest = 0; word = 0;
scan: /* [smallest:A] */
    atomic {
        MORTAL;
        d_step {
            if
            :: gate[gi] != 0 && (word == 0 || cursor_of(gate[gi]) < cursor_of(word)) ->
                smallest = gi; word = gate[gi]
            :: else
            fi;
            gi++
        }
        if :: gi < GATES -> goto scan :: else -> gi = 0 fi;
        if :: word != 0 && maxseq(cw) >= cursor_of(word) -> goto obstacle :: else fi;
        smallest = 0; word = 0
    }
#endif
    atomic { /* [floor:A] */
        MORTAL;
        d_step {
            ok = floorw == f;
            if
            :: ok ->
                floorw = ((maxseq(cw) + 1) << 2) + (f & 3);
                assert(floor_of(floorw) <= tail);
#if GATES > 0
                assert(excused[0] || floor_of(floorw) <= cursor[0]);
#endif
#if GATES > 1
                assert(excused[1] || floor_of(floorw) <= cursor[1]);
#endif
            :: else
            fi;
            f = 0
        }
        if :: ok -> ok = 0 :: else -> goto look fi
    }
take: /* [take:A], [take:B] */
    atomic {
        MORTAL;
        d_step {
            ok = W[cb] == cw;
            if
            :: ok ->
                W[cb] = word_owned(me, lane[me]);
                chain[got] = cb; chain_was[got] = cw; got++
            :: else
            fi;
            cb = 0; cw = 0; f = 0
        }
        if :: ok && got == wanted -> ok = 0; fresh = 0 :: else -> ok = 0; goto pick fi
    }

#if SPAN > 1 && !defined(DEFECT_NO_LINK)
    atomic { d_step { x = 0; y = block } if :: y == NONE -> y = chain[0]; x = 1 :: else fi }
link: /* next[], relaxed */
    atomic {
        if
        :: x < got -> MORTAL; d_step { next[y] = chain[x]; y = chain[x]; x++ } goto link
        :: else -> x = 0; y = 0
        fi
    }
#endif

write:
    atomic {
        k = 0;
        wanted = 0;
        if
        :: block == NONE -> cb = chain[0]; f = 0; x = 1
        :: else -> cb = block; f = offset; x = 0
        fi;
        rt = cb * CELLS + f /* the record's cell */
    }
#ifdef DEFECT_GIVE_EARLY
    atomic {
        if :: CELLS == 1 && SPAN == 1 -> W[cb] = word_free(t, CELLS) :: else fi
    }
#endif
store: /* plain stores into own blocks: header, then payload */
    atomic {
        MORTAL;
        d_step {
#ifndef DEFECT_GIVE_EARLY
            assert(W[cb] == word_owned(me, lane[me]));
#endif
#if SPAN == 1
            data[(cb * CELLS + f) * 2 + k] = id;
            k++
#else
            data[cb * CELLS + f] = id;
            k++; f++;
            if :: f == CELLS && k < WORDS -> cb = chain[x]; x++; f = 0 :: else fi
#endif
        }
        if :: k < WORDS -> goto store :: else -> k = 0; cb = 0; f = 0; x = 0 fi
    }

publish: /* [publish:B] */
    atomic {
        MORTAL;
        d_step { y = slot[t % N]; ok = lap(y) < lap(t) }
        if :: ok -> ok = 0 :: else -> goto behind fi
    }
    atomic { /* [publish:A] */
        MORTAL;
        d_step {
#ifdef DEFECT_PLAIN_PUBLISH
            ok = 1;
#else
            ok = slot[t % N] == y;
#endif
            if
            :: ok ->
                assert(!published[me]);
                assert(t == tail);
                assert(t - N < floor_of(floorw));
                slot[t % N] = lap(t) * N + rt;
                truth[t % N] = id;
                tail++;
                published[me] = 1;
                rt = 0; y = 0
            :: else -> y = slot[t % N]
            fi
        }
        if
        :: ok -> ok = 0; goto advance
        :: !ok && lap(y) < lap(t) -> goto publish
        :: else
        fi
    }
behind: /* [hint:B] */
    atomic {
        MORTAL;
        d_step {
#ifdef DEFECT_TRUST_HINT
            t = (t > hint -> t : hint); /* waits for the one who published to move it */
#else
            x = lap(y) * N + (t % N) + 1;
            t = (x > hint -> x : hint);
#endif
            x = 0; y = 0
        }
        goto publish
    }
advance:
    atomic {
        if :: (t + 1) % HINT_STEP == 0 && hint < t + 1 -> MORTAL; y = hint :: else -> goto settle fi
    }
    atomic { /* [hint:A] */
        MORTAL;
        if
        :: hint == y -> hint = t + 1
        :: hint != y && hint < t + 1 -> goto advance
        :: else
        fi;
        y = 0
    }

settle: /* back go the blocks that are full now */
    atomic { k = SPAN; x = 0 }
piece:
    atomic {
        d_step {
            if
            :: block == NONE ->
                block = chain[x]; was = chain_was[x]; offset = 0; newest = 0;
                chain[x] = 0; chain_was[x] = 0; x++
            :: else
            fi;
            y = (k < CELLS - offset -> k : CELLS - offset);
            offset = offset + y; newest = t; k = k - y; y = 0
        }
        if :: offset == CELLS :: else -> goto settled fi
    }
    atomic { /* [give:A] */
        MORTAL;
        d_step {
#ifndef DEFECT_GIVE_EARLY
            assert(W[block] == word_owned(me, lane[me]));
#endif
            W[block] = word_free(t, CELLS);
            block = NONE; offset = 0; was = 0; newest = 0
        }
    }
settled:
    if :: k > 0 || x < got -> goto piece :: else fi;
    d_step { got = 0; x = 0; t = t + 1 }

#ifdef WAKE
    atomic { /* [wake:A] */
        MORTAL;
        if :: (sleepw & 1) == 0 -> goto returned :: else fi
    }
#ifdef DEFECT_TWO_STEP_WAKE
    atomic { MORTAL; if :: (sleepw & 1) == 1 -> sleepw++ :: else fi }
    atomic { MORTAL; d_step { wake_sleepers() } }
#else
    atomic { MORTAL; d_step { sleepw++; wake_sleepers() } }
#endif
#endif
returned:
    atomic {
        d_step {
            assert(published[me]);
#ifdef WAKE
            check_none_asleep();
#endif
            left--;
            published[me] = 0; seen_dead = 0; id = 0
        }
        if :: left > 0 -> goto begin :: else fi
    }

    /* Close: the part-filled block goes back with what is used of it. */
    if
    :: block != NONE ->
        atomic { /* [give:A] */
            MORTAL;
            d_step {
                assert(W[block] == word_owned(me, lane[me]));
#ifdef DEFECT_CLOSE_KEEPS_OLD
                W[block] = word_free(maxseq(was), offset);
#else
                W[block] = (newest == 0 -> was : word_free(newest, offset));
#endif
                block = NONE; offset = 0; was = 0; newest = 0
            }
        }
    :: else
    fi;
    d_step {
        assert(W[0] != word_owned(me, lane[me]) && W[1] != word_owned(me, lane[me]));
#if BLOCKS > 2
        assert(W[2] != word_owned(me, lane[me]));
#endif
#if BLOCKS > 3
        assert(W[3] != word_owned(me, lane[me]));
#endif
        lane_held[me] = 0;
        may_recover = 0;
        emitting--
    }
    goto over;

exhausted: /* nothing is waited for with anything in hand */
    if
    :: got > 0 ->
        atomic { /* [give:A] the exact word */
            MORTAL;
            d_step {
                got--;
                assert(W[chain[got]] == word_owned(me, lane[me]));
#ifndef DEFECT_KEEP_IN_HAND
                W[chain[got]] = chain_was[got];
#endif
                chain[got] = 0; chain_was[got] = 0
            }
        }
        goto exhausted
    :: else
    fi;
    after = 0;
    goto recover;

#if GATES > 0
obstacle:
    atomic { f = maxseq(cw) + 1; cb = 0; cw = 0 }
give_up:
    if
    :: got > 0 ->
        atomic { /* [give:A] the exact word */
            MORTAL;
            d_step {
                got--;
                W[chain[got]] = chain_was[got];
                chain[got] = 0; chain_was[got] = 0
            }
        }
        goto give_up
    :: else
    fi;
#ifdef POLICY_DROP
    goto push;
#endif
    /* Is the gate's lock held? */
    atomic {
        MORTAL;
        if
        :: gate_held[smallest] -> seen_dead = 0
        :: else ->
            if
            :: seen_dead == word -> goto bury
            :: else -> seen_dead = word
            fi
        fi
    }
#ifdef POLICY_TIMEOUT
    if :: goto push :: true fi;
#endif
#ifdef WAKE_GATE
    atomic { MORTAL; d_step { if :: (stallw & 1) == 0 -> stallw++ :: else fi; y = stallw } } /* [park:A] */
    gi = 0; rw = 0;
second: /* [smallest:A], the second look */
    atomic {
        MORTAL;
        d_step {
            if
            :: gate[gi] != 0 && (rw == 0 || cursor_of(gate[gi]) < cursor_of(rw)) -> rw = gate[gi]
            :: else
            fi;
            gi++
        }
        if :: gi < GATES -> goto second :: else -> gi = 0 fi;
#ifndef DEFECT_NO_SECOND_LOOK_AT_GATE
        if :: rw != word -> goto unparked :: else fi
#endif
    }
    atomic { MORTAL; if :: stallw == y -> stalled[me] = 1 :: else -> goto unparked fi }
    atomic { (!stalled[me] || !gate_held[smallest]) -> stalled[me] = 0 }
unparked:
    atomic { y = 0; rw = 0; smallest = 0; word = 0; f = 0 }
#else
    atomic { (gate[smallest] != word || !gate_held[smallest]) -> smallest = 0; word = 0; f = 0 }
#endif
    goto room; /* the emit begins anew */
bury: /* the exact word, else somebody has taken it over */
    atomic {
        MORTAL;
        d_step {
            if
#ifdef DEFECT_BURY_ANY
            :: true -> gate[smallest] = 0
#else
            :: gate[smallest] == word ->
                gate[smallest] = 0;
                excused[smallest] = 1
#endif
            :: else
            fi;
            seen_dead = 0
        }
    }
    goto pushed;
push: /* from the very word that was seen */
    atomic {
        MORTAL;
        d_step {
            if
            :: gate[smallest] == word ->
                gate[smallest] = (word & 224) + f;
                excused[smallest] = 1
            :: else
            fi
        }
    }
pushed:
    atomic { smallest = 0; word = 0; f = 0 }
#ifdef WAKE_GATE
    atomic { MORTAL; d_step { if :: stallw & 1 -> stallw++; stalled[0] = 0; stalled[1] = 0 :: else fi } }
#endif
    goto room;
#endif

open: /* by a successor, which has the lane's lock */
    atomic { /* [lane:A] */
        MORTAL;
#ifdef DEFECT_LANE_NOT_COUNTED
        skip;
#else
        lane[me]++;
#endif
        after = 1
    }
    goto recover;
opened:
    atomic { MORTAL; t = hint } /* [hint:B] */
walk: /* [publish:B] */
    atomic {
        MORTAL;
        if
        :: lap(slot[t % N]) >= lap(t) -> t = lap(slot[t % N]) * N + (t % N) + 1; goto walk
        :: else
        fi
    }
    goto begin;

recover:
    rb = 0;
each:
    atomic { /* [word:B] */
        MORTAL;
        if
        :: rb == BLOCKS -> rb = 0; goto recovered
        :: rb < BLOCKS && is_owned(W[rb]) -> rw = W[rb]
        :: else -> rb++; goto each
        fi
    }
#ifdef DEFECT_TAIL_BEFORE_PROOF
    rt = tail;
#endif
    atomic { /* [lane:B] */
        MORTAL;
#ifdef DEFECT_RECOVER_LIVING
        if :: owner(rw) != me -> goto dead :: else fi;
#endif
        if :: lane[owner(rw)] > (rw & 15) -> goto dead :: else fi
    }
    atomic { /* the kernel: is the lane's lock held? */
        MORTAL;
        if :: lane_held[owner(rw)] -> rb++; rw = 0; rt = 0; goto each :: else fi
    }
dead:
#ifdef WITNESS
    atomic { proven[me] = rb + 1; assert(WITNESS != TWO_RECOVERERS || proven[0] != proven[1]) }
#endif
#ifndef DEFECT_TAIL_BEFORE_PROOF
    atomic { MORTAL; rt = hint } /* [hint:B] */
step: /* [publish:B] */
    atomic {
        MORTAL;
        if
        :: lap(slot[rt % N]) >= lap(rt) -> rt = lap(slot[rt % N]) * N + (rt % N) + 1; goto step
        :: else
        fi
    }
#endif
    atomic { /* [recover:A] */
        MORTAL;
        d_step {
            if
            :: W[rb] == rw ->
#ifdef WITNESS
                assert(WITNESS != RECOVERER_KILLED || left_over != rb + 1);
#endif
#ifdef DEFECT_RECOVER_ZERO
                W[rb] = word_free(0, CELLS)
#else
#ifdef DEFECT_RECOVER_TAIL
                W[rb] = word_free(rt, CELLS)
#else
                W[rb] = word_free(rt - 1, CELLS)
#endif
#endif
            :: else
            fi;
#ifdef WITNESS
            proven[me] = 0;
#endif
            rb++; rw = 0; rt = 0
        }
        goto each
    }
recovered:
    if :: after == 1 -> after = 0; goto opened :: else fi;
    /* Emits sleep and look again; waiting for the change itself makes a leak a dead end here. */
    atomic {
        if
        :: can_change(0)
        :: can_change(1)
#if BLOCKS > 2
        :: can_change(2)
#endif
#if BLOCKS > 3
        :: can_change(3)
#endif
        fi
    }
    goto room;

gone:
    atomic {
        d_step {
#ifndef STOP
            lane_held[me] = 0;
#endif
#ifdef WITNESS
            if :: proven[me] -> left_over = proven[me] :: else fi;
            proven[me] = 0;
#endif
            stalled[me] = 0;
            block = NONE; offset = 0; was = 0; newest = 0; t = N; id = 0;
            chain[0] = 0; chain[1] = 0; chain_was[0] = 0; chain_was[1] = 0; wanted = 0; got = 0;
            cb = 0; cw = 0; f = 0; x = 0; y = 0; k = 0; gi = 0; smallest = 0; word = 0;
            seen_dead = 0; rb = 0; rw = 0; rt = 0; fresh = 1; ok = 0; after = 0; may_recover = 0;
            if :: published[me] -> left-- :: else fi;
            published[me] = 0
        }
        if
#if RESPAWNS > 0
        :: respawns > 0 && left > 0 -> respawns--
#endif
        :: left = 0; emitting--; goto over
        fi
    }
#if RESPAWNS > 0
    lane_held[me] = 1;
    goto open;
#endif
over:
    skip
}

#if LISTENERS > 0
/* A subscriber; the first GATES of them are gates. */
proctype listener(byte me) {
    byte w = 0, at = 0, h = 0, p = 0, x = 0, f = 0, to = 0;
    bit ok = 0;

#if GATES > 0
enter:
    if :: me >= GATES -> goto read :: else fi;
#ifndef DEFECT_GATE_NOT_COUNTED
    gate_incarnation[me]++;
#endif
    atomic { GATE_MORTAL; w = gate[me] }
register: /* [register:A] */
    atomic {
        GATE_MORTAL;
        d_step {
            ok = gate[me] == w;
            if :: ok -> gate[me] = (gate_incarnation[me] << 5) + cursor[me] :: else -> w = gate[me] fi
        }
        if :: ok -> ok = 0; w = gate[me] :: else -> goto register fi
    }
    atomic { GATE_MORTAL; f = floorw }
count: /* [register:B] */
    atomic {
        GATE_MORTAL;
        d_step {
            ok = floorw == f;
            if
            :: ok ->
#ifndef DEFECT_NO_COUNTER
                floorw = (f & 252) + ((f + 1) & 3);
#endif
                assert(excused[me] || floor_of(f) <= cursor[me]);
                if :: floor_of(f) <= cursor[me] -> excused[me] = cursor_of(gate[me]) > cursor[me] :: else fi
            :: else -> f = floorw
            fi
        }
        if :: ok -> ok = 0; f = 0 :: else -> goto count fi
    }
    atomic { /* [floor:B] */
        GATE_MORTAL;
        d_step {
            f = floor_of(floorw);
            if :: f > cursor[me] -> assert(excused[me]); cursor[me] = f; ok = 1 :: else fi;
            f = 0
        }
        if :: ok -> ok = 0; goto move :: else -> goto wake_gate fi
    }
#endif

read: /* [read:A] */
    atomic {
        GATE_MORTAL;
#ifndef WAKE
        /* Waiting for the change itself in place of looking again and again. */
        (lap(slot[cursor[me] % N]) >= lap(cursor[me]) || emitting == 0);
#endif
        d_step {
            w = slot[cursor[me] % N];
            to = 0
        }
        if
        :: lap(w) < lap(cursor[me]) -> w = 0; goto nothing
        :: lap(w) > lap(cursor[me]) -> to = lap(w) * N + (cursor[me] % N) - N + 1; goto lapped
        :: else -> at = w % N
        fi
    }
#ifdef DEFECT_MOVE_BEFORE_USE
    if :: me < GATES -> gate[me] = (gate[me] & 224) + cursor[me] + 1 :: else fi;
#endif
    atomic { GATE_MORTAL; h = data[at * CELL_WORDS] }
    atomic { /* [read:B] after the header */
        GATE_MORTAL;
        if
        :: floor_of(floorw) > cursor[me] -> goto lapped
        :: else -> assert(h == truth[cursor[me] % N])
        fi
    }
#if SPAN > 1
    atomic {
        if
        :: at % CELLS == CELLS - 1 -> GATE_MORTAL; at = (next[at / CELLS] % BLOCKS) * CELLS
        :: else -> at++
        fi
    }
    atomic { GATE_MORTAL; p = data[at] }
#else
    atomic { GATE_MORTAL; p = data[at * CELL_WORDS + 1] }
#endif
    atomic { /* [read:B] after the payload */
        GATE_MORTAL;
#ifndef DEFECT_NO_RECHECK
        if :: floor_of(floorw) > cursor[me] -> goto lapped :: else fi;
#endif
        d_step {
            assert(p == h && (floor_of(floorw) > cursor[me] || p == truth[cursor[me] % N]));
            cursor[me]++;
            w = 0; at = 0; h = 0; p = 0; to = 0
        }
    }
#if GATES > 0
    if :: me < GATES -> goto move :: else fi;
#endif
    goto read;

lapped: /* [floor:B] */
    atomic {
        GATE_MORTAL;
        d_step {
#if GATES > 0
            assert(me >= GATES || excused[me]);
#endif
            if :: floor_of(floorw) > to -> to = floor_of(floorw) :: else fi;
            assert(to > cursor[me] && to <= tail);
            cursor[me] = to;
            w = 0; at = 0; h = 0; p = 0; to = 0
        }
    }
#if GATES > 0
    if :: me < GATES -> goto move :: else fi;
#endif
    goto read;

#if GATES > 0
move: /* [move:A] after use; the swap that fails begins anew from the word found */
    atomic { GATE_MORTAL; w = gate[me] }
    atomic {
        GATE_MORTAL;
        d_step {
            /* The owner is alive: nobody may have taken its gate out. */
            assert(incarnation_of(w) == gate_incarnation[me]);
            ok = gate[me] == w;
            to = (cursor_of(w) > cursor[me] -> cursor_of(w) : cursor[me]);
            if
            :: ok -> gate[me] = (w & 224) + to; excused[me] = to > cursor[me]
            :: else
            fi;
            w = 0; to = 0
        }
        if :: ok -> ok = 0 :: else -> goto move fi
    }
wake_gate:
#ifdef WAKE_GATE
    atomic { GATE_MORTAL; ok = stallw & 1 } /* [wake:A] */
    if
    :: ok -> atomic { GATE_MORTAL; d_step { stallw++; stalled[0] = 0; stalled[1] = 0; ok = 0 } }
    :: else
    fi;
#endif
    goto read;
#endif

nothing:
#ifdef WAKE
    atomic { d_step { if :: (sleepw & 1) == 0 -> sleepw++ :: else fi; w = sleepw } } /* [park:A] */
#ifndef DEFECT_NO_SECOND_LOOK
    atomic { /* [park:B] */
        if :: lap(slot[cursor[me] % N]) >= lap(cursor[me]) -> w = 0; goto read :: else fi
    }
#endif
    atomic { if :: sleepw == w -> asleep[me] = 1; w = 0 :: else -> w = 0; goto read fi }
    atomic {
        if
        :: !asleep[me] -> goto read
        :: asleep[me] && emitting == 0 -> asleep[me] = 0 /* the end of the slice */
        fi
    }
    if :: lap(slot[cursor[me] % N]) >= lap(cursor[me]) -> goto read :: else fi;
#endif
    atomic {
        if
        :: emitting == 0 -> assert(cursor[me] == tail); goto finish
        :: else -> goto read
        fi
    }

#if GATE_DEATHS > 0
gone:
    atomic {
        gate_held[me] = 0;
        d_step { w = 0; at = 0; h = 0; p = 0; x = 0; f = 0; to = 0; ok = 0 }
#if GATE_RESPAWNS > 0
        if :: gate_respawns > 0 -> gate_respawns-- :: true -> goto finish fi
#else
        goto finish
#endif
    }
#if GATE_RESPAWNS > 0
    gate_held[me] = 1; /* the successor, which goes on where the storage ends */
    goto enter;
#endif
#endif
finish:
    skip
}
#endif

init {
    atomic {
        byte i = 0;
        lane_held[0] = 1;
        lane_held[1] = 1;
        do
        :: i < LISTENERS ->
            cursor[i] = N;
            if :: i < GATES -> gate_held[i] = 1; excused[i] = 1 :: else fi;
#if LISTENERS > 0
            run listener(i);
#endif
            i++
        :: else -> break
        od;
        i = 0;
        run emitter(0, EMITS0);
        run emitter(1, EMITS1)
    }
}

/* Names and slots of gates as a Promela model: who gets which slot, and whose word stands there.
 *
 * A claimant takes the lock of its name, looks for a slot, locks it, writes the label and sets up
 * its word; then it moves now and then, and ends: it leaves, closes and lets its word stand, or is
 * killed at any step. Emitters push words on and bury the dead. What a cursor holds back is modelled
 * in ring.pml; here a word is
 *   incarnation << 3 | cursor
 * and a label, which is written in two steps, is 0 in between.
 */
#ifndef SLOTS
#define SLOTS 2
#endif
#ifndef CLAIMANTS
#define CLAIMANTS 3
#endif
#ifndef NAMES
#define NAMES 2 /* claimant i has name i % NAMES + 1 */
#endif
#ifndef MOVES
#define MOVES 1 /* of a claimant */
#endif
#ifndef ACTS
#define ACTS 2 /* of the emitter */
#endif
#ifndef DEATHS
#define DEATHS 1
#endif

#define word_of(i, c) (((i) << 3) + (c))
#define cursor_of(w) ((w) & 7)
#define incarnation_of(w) ((w) >> 3)
#define OF_THAT_NAME 0
#define NOT_IN_USE 1
#define PUSHED 2
#define WISHES 3

/* Shared words. */
byte word[SLOTS];
byte label[SLOTS];
byte pushed[SLOTS];
byte incarnation[SLOTS];

/* What the kernel knows: who holds the lock, a claimant's number and 1; 0: nobody. */
byte name_lock[NAMES + 1];
byte slot_lock[SLOTS];

/* What only the assertions know. */
byte owner[SLOTS];   /* whose word stands there, 0: nobody's */
bit passed[SLOTS];   /* pushed on and not moved since: it holds nothing back */
bit alive[CLAIMANTS + 1];
byte living[NAMES + 1]; /* gates that are set up and not closed */
byte deaths = DEATHS;

#define name_of(who) (((who) - 1) % NAMES + 1)
#define MORTAL if :: true :: deaths > 0 -> deaths--; goto gone fi

/* Is the slot one that is looked for? The word is loaded first, then what stands beside it. */
#define is_wanted(i) \
    ((wish == OF_THAT_NAME && w != 0 && label[i] == mine) || (wish == NOT_IN_USE && w == 0) || \
     (wish == PUSHED && might_take(i)))
#ifdef DEFECT_TAKE_STANDING
#define might_take(i) true
#else
#define might_take(i) (pushed[i] == w)
#endif

proctype claimant(byte me) {
    byte mine = name_of(me), wish = 0, i = 0, w = 0, cursor = 0, count = 0, left = MOVES;
    bit registered = 0;

    atomic {
        MORTAL;
        if
#ifdef DEFECT_NO_NAME_LOCK
        :: true
#else
        :: name_lock[mine] == 0 -> name_lock[mine] = me
        :: else -> goto over /* somebody alive has that name */
#endif
        fi;
        alive[me] = 1
    }
look:
    atomic { MORTAL; w = word[i] }
    atomic { MORTAL; if :: is_wanted(i) :: else -> goto other fi }
    atomic {
        MORTAL;
#ifndef DEFECT_NO_SLOT_LOCK
        if :: slot_lock[i] == 0 -> slot_lock[i] = me :: else -> goto other fi
#endif
    }
#ifndef DEFECT_NO_LOOK_UNDER_LOCK
    atomic { MORTAL; w = word[i] }
    atomic { MORTAL; if :: is_wanted(i) -> goto claimed :: else fi }
    atomic { MORTAL; slot_lock[i] = 0 }
#else
    goto claimed;
#endif
other:
    atomic {
        w = 0;
        i++;
        if :: i == SLOTS -> i = 0; wish++ :: else fi;
        if :: wish == WISHES -> goto close :: else -> goto look fi
    }

claimed:
    atomic { w = 0; wish = 0 }
    if
    :: label[i] != mine ->
        atomic { MORTAL; label[i] = 0 }
        atomic { MORTAL; label[i] = mine }
    :: else
    fi;
    atomic {
        MORTAL;
        d_step {
#ifdef DEFECT_COUNT_IN_WORD
            count = incarnation_of(word[i]) + 1;
#else
            incarnation[i]++;
            count = incarnation[i];
#endif
        }
    }
    atomic { MORTAL; w = word[i] }
announce: /* [register:A] */
    atomic {
        MORTAL;
        d_step {
            if
            :: word[i] == w ->
                assert(w == 0 || passed[i] || name_of(owner[i]) == mine);
                assert(w == 0 || !alive[owner[i]]);
                assert(living[mine] == 0);
                word[i] = word_of(count, cursor);
                owner[i] = me; passed[i] = 0; registered = 1; living[mine]++; w = 0
            :: else -> w = word[i]
            fi
        }
        if :: registered :: else -> goto announce fi
    }

work:
    if
    :: left > 0 -> left--
    :: goto close /* its word stands */
    :: goto leave
    fi;
move: /* [move:A] */
    atomic { MORTAL; w = word[i] }
    atomic {
        MORTAL;
        d_step {
            assert(incarnation_of(w) == count && owner[i] == me);
            if
            :: word[i] == w ->
                cursor = (cursor_of(w) > cursor -> cursor_of(w) : cursor + 1);
                if :: cursor > cursor_of(w) -> passed[i] = 0 :: else fi;
                word[i] = word_of(count, cursor);
                w = 0
            :: else
            fi
        }
        if :: w != 0 -> w = 0; goto move :: else fi
    }
    goto work;

leave:
#ifdef DEFECT_LEAVE_UNLOCKED
    atomic {
        alive[me] = 0; living[mine]--; name_lock[mine] = 0; slot_lock[i] = 0; registered = 0
    }
    atomic { MORTAL; word[i] = 0; owner[i] = 0 }
    goto over;
#endif
    atomic { MORTAL; w = word[i] }
    atomic {
        MORTAL;
        d_step {
            assert(incarnation_of(w) == count && owner[i] == me);
            if :: word[i] == w -> word[i] = 0; owner[i] = 0; w = 0 :: else fi
        }
        if :: w != 0 -> w = 0; goto leave :: else fi
    }
close: /* the mapping goes, and with it all locks; as they do in death */
    MORTAL;
gone:
    atomic {
        d_step {
            alive[me] = 0;
            if :: name_lock[mine] == me -> name_lock[mine] = 0 :: else fi;
            w = 0;
            do
            :: w < SLOTS -> if :: slot_lock[w] == me -> slot_lock[w] = 0 :: else fi; w++
            :: else -> break
            od;
            if :: registered -> living[mine]-- :: else fi;
            registered = 0; w = 0; i = 0; cursor = 0; count = 0; left = 0; wish = 0
        }
    }
over:
    skip
}

proctype emitter() {
    byte i = 0, w = 0, left = ACTS;
again:
    if
    :: left > 0 -> left--
    :: goto over
    fi;
    atomic { /* [smallest:A] any gate may be in the way */
        if
        :: word[0] != 0 -> i = 0; w = word[0]
#if SLOTS > 1
        :: word[1] != 0 -> i = 1; w = word[1]
#endif
        :: goto over
        fi
    }
    if :: goto push :: goto bury fi;
push:
    atomic {
        d_step {
#ifdef DEFECT_PUSH_ANY
            if :: word[i] != 0
#else
            if :: word[i] == w
#endif
                -> word[i] = word_of(incarnation_of(w), cursor_of(w) + 1); passed[i] = 1;
                   w = word[i]
            :: else -> w = 0
            fi
        }
        if :: w == 0 -> goto again :: else fi
    }
    atomic { pushed[i] = w; w = 0; i = 0 }
    goto again;
bury:
    if :: slot_lock[i] != 0 -> w = 0; i = 0; goto again :: else fi;
    /* Dead, and later still the same word. */
    d_step {
        if
        :: word[i] == w -> assert(!alive[owner[i]]); word[i] = 0; owner[i] = 0; passed[i] = 0
        :: else
        fi;
        w = 0; i = 0
    }
    goto again;
over:
    skip
}

init {
    atomic {
        byte c = 1;
        do :: c <= CLAIMANTS -> run claimant(c); c++ :: else -> break od;
        c = 0;
        run emitter()
    }
}

/* The reserve rule as a Promela model: emits of two blocks or more leave blocks for small ones.
 *
 * Only the pool's words: FREE, a number that grows with each publication; OWNED, 128 and the lane.
 * An emitter may stand still at any step for ever: the search delays it as long as it likes. What it
 * needs is free of choice in each emit, one block or LONG; it keeps a part-filled block, or not.
 * Floor, gates and recovery have no part in this and are left out.
 */
#ifndef LANES
#define LANES 2
#endif
#ifdef DEFECT_RESERVE_TOO_SMALL
#undef RESERVE
#define RESERVE 1
#endif
#ifndef RESERVE
#define RESERVE (3 * LANES)
#endif
#ifndef LONG
#define LONG 2 /* blocks of a long record */
#endif
#ifndef BLOCKS
#define BLOCKS (RESERVE + LONG)
#endif
#ifndef EMITS
#define EMITS 2 /* of each lane */
#endif

#define NONE 255
#define owned(lane) (128 + (lane))
#define is_owned(word) ((word) >= 128)

byte W[BLOCKS];
byte tail = 1;

proctype emitter(byte me) {
    byte seen[BLOCKS], chain[LONG], was[LONG];
    byte block = NONE, got = 0, need = 0, count = 0, x = 0, y = 0, w = 0, left = EMITS;

begin:
    atomic {
        if
        :: left > 0 -> left--
        :: else -> goto over
        fi;
        got = 0; count = 0; x = 0;
        if :: need = 1; goto pick :: need = LONG fi;
#ifdef DEFECT_NO_RESERVE
        goto pick
#endif
    }

    /* The whole need first, over two passes: words that are the same in both. */
steady:
    atomic { seen[x] = W[x]; x++; if :: x < BLOCKS -> goto steady :: else -> x = 0 fi }
again:
    atomic {
        d_step {
            if :: !is_owned(seen[x]) && W[x] == seen[x] -> count++ :: else fi;
            seen[x] = 0;
            x++
        }
        if :: x < BLOCKS -> goto again :: else -> x = 0 fi;
        if :: count >= need + RESERVE -> count = 0; goto pick :: else -> count = 0; goto begin fi
    }

next: /* then one block after the other, each counted for */
    atomic {
        d_step {
            if :: !is_owned(W[x]) -> count++ :: else fi;
            x++
        }
        if :: x < BLOCKS -> goto next :: else -> x = 0 fi;
        if :: count > RESERVE -> count = 0 :: else -> count = 0; goto restore fi
    }

pick: /* [word:B] any FREE block: candidates are guesses */
    atomic {
        x = 0; y = NONE;
        do
        :: x < BLOCKS && !is_owned(W[x]) -> y = x; x++; if :: break :: true fi
        :: x < BLOCKS && is_owned(W[x]) -> x++
        :: x == BLOCKS -> break
        od;
        assert(need > 1 || y != NONE);
        x = 0;
        if :: y == NONE -> goto restore :: else -> w = W[y] fi
    }
    atomic { /* [take:A] */
        if
        :: W[y] == w -> W[y] = owned(me); chain[got] = y; was[got] = w; got++
        :: else
        fi;
        y = 0; w = 0;
        if
        :: got == need -> goto publish
        :: got == 0 -> goto pick
        :: else
        fi;
#if defined(DEFECT_NO_RESERVE) || defined(DEFECT_COUNT_ONCE)
        goto pick
#else
        goto next
#endif
    }

publish: /* [publish:A]: what is given back carries a number that was not there before */
    atomic { w = tail; tail++; x = 0 }
settle: /* [give:A] all but the last one, which may have room left */
    atomic {
        if
        :: block != NONE -> W[block] = w; block = NONE
        :: else -> block = chain[x]; chain[x] = 0; was[x] = 0; x++
        fi;
        if
        :: x < got || block == NONE -> goto settle
        :: else
        fi;
        x = 0; got = 0;
        if :: W[block] = w; block = NONE :: true fi;
        w = 0
    }
    goto begin;

restore: /* [give:A] the exact words */
    atomic {
        if
        :: got > 0 -> got--; W[chain[got]] = was[got]; chain[got] = 0; was[got] = 0; goto restore
        :: else -> y = 0; goto begin
        fi
    }
over:
    skip
}

init {
    atomic {
        byte i = 0;
        do :: i < LANES -> run emitter(i); i++ :: else -> break od
    }
}

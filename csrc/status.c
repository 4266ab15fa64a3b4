/* Names of the statuses, for messages and tests. */
#include "ring.h"

const char *rb_status_name(int status) {
    switch ((rb_status)status) {
    case RB_OK:
        return "ok";
    case RB_EMPTY:
        return "empty";
    case RB_LAPPED:
        return "lapped";
    case RB_BACK_PRESSURE:
        return "back pressure";
    case RB_POOL_EXHAUSTED:
        return "pool exhausted";
    case RB_WAIT:
        return "wait";
    case RB_TIMED_OUT:
        return "timed out";
    case RB_INTERRUPTED:
        return "interrupted";
    case RB_TOO_LARGE:
        return "too large";
    case RB_UNLINKED:
        return "unlinked";
    case RB_CLOSED:
        return "closed";
    case RB_FORKED:
        return "forked";
    case RB_POISONED:
        return "poisoned";
    case RB_NOT_FOUND:
        return "not found";
    case RB_EXISTS:
        return "exists";
    case RB_INCOMPATIBLE:
        return "incompatible";
    case RB_NO_SPACE:
        return "no space";
    case RB_NO_LANE:
        return "no lane";
    case RB_NO_GATE:
        return "no gate";
    case RB_GATE_TAKEN:
        return "gate taken";
    case RB_EVICTED:
        return "evicted";
    case RB_INVALID:
        return "invalid";
    case RB_CORRUPT:
        return "corrupt";
    case RB_BUSY:
        return "busy";
    case RB_READ_ONLY:
        return "read only";
    }
    return "unknown";
}

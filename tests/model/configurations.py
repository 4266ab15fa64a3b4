"""What is searched: the configurations of each model, the seeded defects, and what must come out.

Sizes are millions of states, measured. They put the long searches first and decide the level: `ci`
takes those below CI_SIZE, `full` those below FULL_SIZE, `deep` all.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

HOLDS = "holds"
CAUGHT = "caught"  # a seeded defect
REACHED = "reached"  # a situation that a configuration claims to contain
CI_SIZE = 1.0
FULL_SIZE = 16.0


@dataclass(frozen=True)
class Case:
    """One search: which model, with which macros, and what must come out."""

    name: str
    macros: str = ""
    size: float = 0.2
    model: str = "ring.pml"
    expected: str = HOLDS
    cycles: bool = False  # endless loops are looked for, not only dead ends

    @property
    def deep(self) -> bool:
        return self.size > FULL_SIZE

    def level_has(self, level: str) -> bool:
        return level == "deep" or self.size <= (CI_SIZE if level == "ci" else FULL_SIZE)


GATE = "GATES=1 READERS=0"
LONG = "BLOCKS=3 SPAN=2"

RING = [
    Case("1+2 emits", "EMITS0=1 EMITS1=2", 0.1),
    Case("2+3 emits", "EMITS0=2 EMITS1=3", 3.0),
    Case("3+3 emits", "EMITS0=3 EMITS1=3", 10.8),
    Case("1+2, two subscribers", "EMITS0=1 EMITS1=2 READERS=2", 2.6),
    Case("1+2, kill", "EMITS0=1 EMITS1=2 DEATHS=1", 0.6),
    Case("1+3, kill", "EMITS0=1 EMITS1=3 DEATHS=1", 2.9),
    Case("2+2, kill", "EMITS0=2 EMITS1=2 DEATHS=1", 4.9),
    Case("2+3, kill", "EMITS0=2 EMITS1=3 DEATHS=1", 20.2),
    Case("1+3, stop", "EMITS0=1 EMITS1=3 DEATHS=1 STOP", 2.7),
    Case("2+2, stop", "EMITS0=2 EMITS1=2 DEATHS=1 STOP", 4.8),
    Case("2+3, stop", "EMITS0=2 EMITS1=3 DEATHS=1 STOP", 19.6),
    Case("1+2, a recoverer killed as well", "EMITS0=1 EMITS1=2 DEATHS=2 VICTIMS=3", 1.14),
    Case("2+1, kill, lane reopened", "EMITS0=2 EMITS1=1 DEATHS=1 RESPAWNS=1", 2.9),
    Case(
        "2+1, both may be killed, lane reopened",
        "EMITS0=2 EMITS1=1 DEATHS=2 VICTIMS=3 RESPAWNS=1",
        10.7,
    ),
    Case("2+2, kill, lane reopened", "EMITS0=2 EMITS1=2 DEATHS=1 RESPAWNS=1", 20.7),
    Case(
        "2+2, both may be killed, lane reopened",
        "EMITS0=2 EMITS1=2 DEATHS=2 VICTIMS=3 RESPAWNS=1",
        83.9,
    ),
    Case("half-filled blocks, 2+3", "CELLS=2 EMITS0=2 EMITS1=3", 0.5),
    Case("half-filled blocks, 2+3, kill", "CELLS=2 EMITS0=2 EMITS1=3 DEATHS=1", 3.0),
    Case("rest of blocks, 1+4", "CELLS=2 REST EMITS0=1 EMITS1=4", 0.4),
    Case(
        "rest of blocks, 2+2, kill, lane reopened",
        "CELLS=2 REST EMITS0=2 EMITS1=2 DEATHS=1 RESPAWNS=1",
        4.4,
    ),
    Case(
        "rest of blocks, 2+3, kill, lane reopened",
        "CELLS=2 REST EMITS0=2 EMITS1=3 DEATHS=1 RESPAWNS=1",
        26.7,
    ),
    Case(
        "rest of blocks, 3+3, kill, lane reopened",
        "CELLS=2 REST EMITS0=3 EMITS1=3 DEATHS=1 RESPAWNS=1",
        100.0,
    ),
    Case("three blocks, 1+2, kill", "BLOCKS=3 EMITS0=1 EMITS1=2 DEATHS=1", 2.1),
    Case("records of two blocks, 1+2", f"{LONG} EMITS0=1 EMITS1=2", 4.3),
    Case("records of two blocks, 1+1, kill", f"{LONG} DEATHS=1 EMITS0=1 EMITS1=1", 1.3),
    Case("records of two blocks, 1+2, kill", f"{LONG} EMITS0=1 EMITS1=2 DEATHS=1", 23.2),
    Case(
        "four blocks, records of two, 1+2, kill",
        "BLOCKS=4 SPAN=2 EMITS0=1 EMITS1=2 DEATHS=1",
        300.0,
    ),
    Case("gate registers, 1+2", f"{GATE} EMITS0=1 EMITS1=2", 0.15),
    Case("gate registers, 1+2, kill", f"{GATE} EMITS0=1 EMITS1=2 DEATHS=1", 0.9),
    Case("gate and subscriber, 1+2", "GATES=1 READERS=1 EMITS0=1 EMITS1=2", 2.9),
    Case("gate pushed by drop, 1+3", f"{GATE} POLICY_DROP EMITS0=1 EMITS1=3", 1.5),
    Case("gate waited for, then pushed, 1+3", f"{GATE} POLICY_TIMEOUT EMITS0=1 EMITS1=3", 1.7),
    Case("dead gate taken out, 1+2", f"{GATE} GATE_DEATHS=1 EMITS0=1 EMITS1=2", 0.4),
    Case(
        "dead gate taken over or out, 1+2",
        f"{GATE} GATE_DEATHS=1 GATE_RESPAWNS=1 EMITS0=1 EMITS1=2",
        2.0,
    ),
    Case(
        "dead gate taken over or out, 1+3",
        f"{GATE} GATE_DEATHS=1 GATE_RESPAWNS=1 EMITS0=1 EMITS1=3",
        8.2,
    ),
    Case(
        "dead gate taken over or pushed, 1+2",
        f"{GATE} GATE_DEATHS=1 GATE_RESPAWNS=1 POLICY_TIMEOUT EMITS0=1 EMITS1=2",
        3.9,
    ),
    Case(
        "dead gate taken over or pushed, 1+3",
        f"{GATE} GATE_DEATHS=1 GATE_RESPAWNS=1 POLICY_TIMEOUT EMITS0=1 EMITS1=3",
        25.0,
    ),
    Case("two gates, 1+2", "GATES=2 READERS=0 EMITS0=1 EMITS1=2", 4.7),
    Case("two gates, 1+3, drop", "GATES=2 READERS=0 POLICY_DROP EMITS0=1 EMITS1=3", 100.0),
    Case(
        "records of two blocks wait for a gate and start again, 1+2",
        f"{LONG} {GATE} EMITS0=1 EMITS1=2",
        3.5,
    ),
    Case(
        "records of two blocks, two gates, 1+2",
        f"{LONG} GATES=2 READERS=0 EMITS0=1 EMITS1=2",
        100.0,
    ),
    Case("sleep and wake, 1+2", "WAKE EMITS0=1 EMITS1=2", 0.8),
    Case("sleep and wake, 1+1, two sleepers", "WAKE READERS=2 EMITS0=1 EMITS1=1", 2.7),
    Case(
        "sleep and wake, 1+1, two sleepers, kill", "WAKE READERS=2 EMITS0=1 EMITS1=1 DEATHS=1", 12.2
    ),
    Case("sleep and wake, 1+2, kill", "WAKE EMITS0=1 EMITS1=2 DEATHS=1", 4.3),
    Case(
        "sleep and wake, 1+2, two sleepers, kill",
        "WAKE READERS=2 EMITS0=1 EMITS1=2 DEATHS=1",
        100.0,
    ),
    Case("sleep at a gate and wake, 1+3", f"WAKE_GATE {GATE} EMITS0=1 EMITS1=3", 2.9),
    Case("endless loops, 1+2, stop", "EMITS0=1 EMITS1=2 DEATHS=1 STOP", 1.9, cycles=True),
    Case(
        "endless loops, sleep and wake, 1+2, stop",
        "WAKE EMITS0=1 EMITS1=2 DEATHS=1 STOP",
        12.6,
        cycles=True,
    ),
    Case(
        "endless loops, gate waited for, then pushed, 1+2, stop",
        f"{GATE} POLICY_TIMEOUT EMITS0=1 EMITS1=2 DEATHS=1 STOP",
        5.8,
        cycles=True,
    ),
]

GATES = [
    Case("names: one slot, two names, two claimants", "SLOTS=1 CLAIMANTS=2", 0.16),
    Case("names: one slot, two names, three claimants", "SLOTS=1 CLAIMANTS=3 ACTS=1", 1.1),
    Case("names: two slots, one name, two claimants", "NAMES=1 CLAIMANTS=2", 0.04),
    Case("names: two slots, two names, two claimants", "CLAIMANTS=2", 0.54),
    Case("names: two slots, two names, three claimants", "CLAIMANTS=3", 14.1),
    Case("names: two slots, two names, three claimants, two killed", "CLAIMANTS=3 DEATHS=2", 40.0),
]

RESERVE = [
    Case("reserve: two lanes, six blocks reserved, an emit each", "RESERVE=6 EMITS=1", 0.45),
    Case("reserve: two lanes, two blocks reserved", "RESERVE=2", 3.2),
    Case("reserve: two lanes, three blocks reserved", "RESERVE=3", 15.1),
    Case("reserve: three lanes, two blocks reserved", "LANES=3 RESERVE=2 EMITS=1", 4.8),
    Case("reserve: three lanes, three blocks reserved", "LANES=3 RESERVE=3 EMITS=1", 16.8),
]

# Each seeded defect and the configuration that must catch it.
DEFECTS = [
    ("NO_FLOOR", "1+2 emits"),
    ("NO_RECHECK", "1+2 emits"),
    ("PLAIN_PUBLISH", "1+2 emits"),
    ("GIVE_EARLY", "1+2 emits"),
    ("RECOVER_LIVING", "1+2, kill"),
    ("RECOVER_ZERO", "1+2, kill"),
    ("RECOVER_TAIL", "1+2, kill"),
    ("TAIL_BEFORE_PROOF", "1+2, kill"),
    ("LANE_NOT_COUNTED", "2+1, kill, lane reopened"),
    ("CLOSE_KEEPS_OLD", "rest of blocks, 1+4"),
    ("NO_LINK", "records of two blocks, 1+2"),
    ("KEEP_IN_HAND", "records of two blocks, 1+2"),
    ("NO_COUNTER", "gate registers, 1+2"),
    ("MOVE_BEFORE_USE", "gate registers, 1+2"),
    ("BURY_ANY", "dead gate taken over or out, 1+2"),
    ("GATE_NOT_COUNTED", "dead gate taken over or out, 1+2"),
    ("TWO_STEP_WAKE", "sleep and wake, 1+2, kill"),
    ("NO_SECOND_LOOK", "sleep and wake, 1+2"),
    ("NO_SECOND_LOOK_AT_GATE", "sleep at a gate and wake, 1+3"),
    ("TRUST_HINT", "endless loops, 1+2, stop"),
    ("NO_NAME_LOCK", "names: two slots, one name, two claimants"),
    ("NO_SLOT_LOCK", "names: one slot, two names, two claimants"),
    ("NO_LOOK_UNDER_LOCK", "names: one slot, two names, two claimants"),
    ("TAKE_STANDING", "names: one slot, two names, two claimants"),
    ("COUNT_IN_WORD", "names: one slot, two names, two claimants"),
    ("LEAVE_UNLOCKED", "names: one slot, two names, two claimants"),
    ("PUSH_ANY", "names: one slot, two names, two claimants"),
    ("NO_RESERVE", "reserve: three lanes, two blocks reserved"),
    ("COUNT_ONCE", "reserve: three lanes, two blocks reserved"),
    ("RESERVE_TOO_SMALL", "reserve: three lanes, two blocks reserved"),
]

SITUATIONS = [
    ("TWO_RECOVERERS", "2+1, kill, lane reopened"),
    ("RECOVERER_KILLED", "2+1, both may be killed, lane reopened"),
]


def litmus(pair: str, *weakenings: str) -> list[Case]:
    macro = f"TEST={pair}"
    name = f"litmus {pair.lower().replace('_', '/')}"
    holds = Case(name, macro, 0.0, "litmus.pml")
    return [
        holds,
        *(
            replace(holds, name=f"{name} {weak}", macros=f"{macro} {weak}", expected=CAUGHT)
            for weak in weakenings
        ),
    ]


LITMUS = [
    *litmus("PUBLISH_READ", "WEAK_PUBLISH_RELEASE", "WEAK_READ_ACQUIRE"),
    *litmus("FLOOR_OVERWRITE", "WEAK_TAKE_FENCE", "WEAK_READ_FENCE"),
    *litmus("PUBLISH_WAIT", "WEAK_PUBLISH_SEQ_CST", "WEAK_PARK", "WEAK_WAKE", "WEAK_SECOND_LOOK"),
    *litmus("REGISTER_RAISE", "WEAK_REGISTER", "WEAK_FLOOR_ACQUIRE", "WEAK_NO_COUNTER"),
]

CONFIGURATIONS = [
    *RING,
    *(replace(case, model="gates.pml") for case in GATES),
    *(replace(case, model="reserve.pml") for case in RESERVE),
]


def configuration(name: str) -> Case:
    return next(case for case in CONFIGURATIONS if case.name == name)


def seeded(defect: str, by: str) -> Case:
    holds = configuration(by)
    name, macros = f"{defect} by: {by}", f"{holds.macros} DEFECT_{defect}"
    return replace(holds, name=name, macros=macros, size=min(holds.size, CI_SIZE), expected=CAUGHT)


def situation(what: str, of: str) -> Case:
    holds = configuration(of)
    macros = f"{holds.macros} WITNESS={what}"
    return replace(holds, name=f"{what} in: {of}", macros=macros, size=CI_SIZE, expected=REACHED)


def cases(level: str) -> list[Case]:
    """Those of the level, the longest first, so that parallel searches end together."""
    every = [
        *CONFIGURATIONS,
        *(seeded(*pair) for pair in DEFECTS),
        *(situation(*pair) for pair in SITUATIONS),
        *LITMUS,
    ]
    return sorted(
        (case for case in every if case.level_has(level)), key=lambda case: case.size, reverse=True
    )

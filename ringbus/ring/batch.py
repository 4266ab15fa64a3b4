"""Many records at once, copied into memory of this process outside Python: how a persister reads.

SQLite can read a batch as the table `ringbus_batch(address)`; see csrc/table.c.
"""

from __future__ import annotations

from ringbus._native import CData, address, check, ffi, lib

MOST_RECORDS = 5000  # of usual lines they fit into a core's cache until SQLite has taken them
MOST_BYTES = 4 << 20


class Batch:
    """What `Subscriber.fill()` read last. Used by one thread at a time.

    It ends where records were lost: `missed` of them, from `next_seq` on. `size` is bytes of
    payload, `transient` how many records are, `foreign` how many others are no events.
    """

    def __init__(self, most_records: int = MOST_RECORDS, most_bytes: int = MOST_BYTES) -> None:
        made = ffi.new("rb_batch **")
        check(lib.rb_batch_new(made), "batch")
        self.handle = ffi.gc(made[0], lib.rb_batch_free)
        self.address = address(self.handle)
        self.most_records = most_records
        self.most_bytes = most_bytes
        self._content: CData = ffi.new("rb_batch_content *")
        self.refresh()

    def refresh(self) -> None:
        """Takes over what the last fill counted."""
        lib.rb_batch_get(self.handle, self._content)
        self.size = int(self._content.bytes)
        self.transient = int(self._content.transient)
        self.foreign = int(self._content.foreign)
        self.next_seq = int(self._content.next_seq)
        self.missed = int(self._content.missed)

    def __len__(self) -> int:
        return int(self._content.count)

    def __bool__(self) -> bool:
        return len(self) > 0 or self.missed > 0

    @property
    def is_full(self) -> bool:
        """More may be there already."""
        return len(self) >= self.most_records or self.size >= self.most_bytes

    def rows(self) -> list[tuple[int, int, int, bytes]]:
        """seq, ts_ns, kind code and payload of all that is not transient."""
        content = self._content
        payloads = ffi.buffer(content.payloads, self.size) if self.size else b""
        rows = []
        for index in range(len(self)):
            entry = content.entries[index]
            record = entry.record
            if not record.flags & lib.RB_RECORD_TRANSIENT:
                payload = payloads[entry.start : entry.start + record.length]
                rows.append((record.seq, record.ts_ns, record.kind, payload))
        return rows

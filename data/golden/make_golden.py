#!/usr/bin/env python3
"""Writes the golden logs: small stores, each with a text file that says what opening it must give.

    python3 make_golden.py      rewrites every case beside this file

This is a second implementation of kvstore/FORMAT.md, on purpose: it shares no code with the library, so a
mistake in either shows as a failing test. See README.md for the cases and for the layout of expected.txt.
"""

import base64
import json
import pathlib
import shutil

HERE = pathlib.Path(__file__).resolve().parent
STORE = "6f1d2c3a-0b4e-4d5f-8a69-7b8c9d0e1f20"
CREATED = 1763800000000000  # 2025-11-22T08:26:40Z
YEAR_2100 = 4102444800000000


# ---- the format -----------------------------------------------------------------------------------


def crc32c(data):
    """CRC32C bit by bit, as RFC 3720 defines it: polynomial 0x1EDC6F41, reflected."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = (crc >> 1) ^ (0x82F63B78 if crc & 1 else 0)
    return crc ^ 0xFFFFFFFF


assert crc32c(b"123456789") == 0xE3069283  # the check value of the CRC catalogues


def seal(text):
    """`text` is a JSON object without its closing brace: adds the seal and the newline."""
    raw = text.encode("utf-8")
    return raw + b',"crc":"%08x"}\n' % crc32c(raw)


def compact(members):
    """One of our own lines: members in the order given, no white space, least escaping."""
    return seal(json.dumps(members, ensure_ascii=False, separators=(",", ":"))[:-1])


def bytes_member(name, data):
    """{"key": text} for valid UTF-8, {"key64": base64} otherwise."""
    try:
        return {name: data.decode("utf-8")}
    except UnicodeDecodeError:
        return {name + "64": base64.b64encode(data).decode("ascii")}


class Put:
    def __init__(self, key, value="", document=None, expires=0):
        self.key = key.encode() if isinstance(key, str) else key
        self.is_json = document is not None
        text = document if self.is_json else value
        self.value = text.encode() if isinstance(text, str) else text
        self.expires = expires

    def members(self):
        out = {"op": "put", **bytes_member("key", self.key)}
        # Documents here are written as json.dumps would, so parsing them keeps their bytes.
        out.update({"json": json.loads(self.value)} if self.is_json else bytes_member("value", self.value))
        if self.expires:
            out["expires"] = self.expires
        return out


class Del:
    OP = "del"

    def __init__(self, key):
        self.key = key.encode() if isinstance(key, str) else key

    def members(self):
        return {"op": self.OP, **bytes_member("key", self.key)}


class Evict(Del):
    OP = "evict"


def segment_name(first_seq):
    return f"wal-{first_seq:020}.jsonl"


def snapshot_name(last_seq):
    return f"snapshot-{last_seq:020}.jsonl"


def header(first_seq=1, format=1):
    return compact({"kvstore": "wal", "format": format, "store": STORE, "first_seq": first_seq, "created": CREATED})


def closing_line(last_seq):
    return compact({"kvstore": "end", "last_seq": last_seq, "next": segment_name(last_seq + 1)})


def record(seq, *ops, synced=0, by=None):
    """A record in our own spelling; more than one operation makes a batch."""
    members = {"seq": seq, "ts": CREATED + seq * 1000}
    if synced:
        members["synced"] = synced
    members.update(ops[0].members() if len(ops) == 1 else {"op": "batch", "ops": [op.members() for op in ops]})
    if by:
        members["by"] = by
    return compact(members)


def snapshot_header(last_seq, format=1):
    return compact({"kvstore": "snapshot", "format": format, "store": STORE, "last_seq": last_seq,
                    "created": CREATED + last_seq * 1000 + 500})


def entry(seq, put):
    return compact({"seq": seq, **put.members()})


def snapshot_end(lines, last_seq):
    """The footer for these lines, the header being the first of them."""
    return compact({"kvstore": "snapshot_end", "entries": len(lines) - 1, "last_seq": last_seq,
                    "next": segment_name(last_seq + 1), "whole": "%08x" % crc32c(b"".join(lines))})


def snapshot_of(commits):
    """The lines of a snapshot after these commits: header, entries in no particular order, footer."""
    last_seq = commits[-1][0]
    live = live_after(commits, CREATED + last_seq * 1000 + 500)
    lines = [snapshot_header(last_seq)] + [entry(seq, put) for _, (seq, put) in sorted(live.items(), reverse=True)]
    return lines + [snapshot_end(lines, last_seq)]


# ---- what opening must give ------------------------------------------------------------------------


def live_after(commits, now):
    """{key: (version, Put)} after [(seq, [op, ...]), ...]"""
    live = {}
    for seq, ops in commits:
        for op in ops:
            live.pop(op.key, None)
            if isinstance(op, Put) and (op.expires == 0 or op.expires > now):
                live[op.key] = (seq, op)
    return live


def escape(data, also=b""):
    return "".join(chr(b) if 0x20 <= b < 0x7F and b not in b"\\" + also else f"\\x{b:02x}" for b in data)


def state_of(commits):
    """The lines of the state after these commits as somebody sees it today, sorted by key bytes."""
    live = live_after(commits, now=YEAR_2100 - 1)
    return [
        f"{seq} {op.expires} {'json' if op.is_json else 'bytes'} {escape(op.key, b' =')}={escape(op.value)}"
        for _, (seq, op) in sorted(live.items())
    ]


def write_case(name, data, outcome, why, commits=None, at=None, file=None, verify=None):
    """One case. `data`: the bytes of the only segment, or {file name: bytes}. `file`: the one concerned, where there
    are several; `at`: the first byte concerned, an offset into it. `commits`: what counts, when it opens.
    `verify`: what verifying says, where opening says something else."""
    files = data if isinstance(data, dict) else {segment_name(1): data}
    directory = HERE / name
    directory.mkdir()
    for file_name, content in files.items():
        (directory / file_name).write_bytes(content)
    lines = [f"# {why}", f"open: {outcome}"]
    if verify is not None:
        lines.append(f"verify: {verify}")
    if file is not None:
        lines.append(f"in: {file}")
    if at is not None:
        content = files[file or segment_name(1)]
        lines.append(f"at: line {content[:at].count(10) + 1} byte {at}")
    if commits is not None:
        lines += [f"last_seq: {commits[-1][0]}", "state:", *state_of(commits)]
    (directory / "expected.txt").write_text("\n".join(lines) + "\n", encoding="ascii")


# ---- the cases ---------------------------------------------------------------------------------------

WHOLE = [
    (1, [Put("user:1", "Ada")]),
    (2, [Put("user:2", document='{"name":"Bob","tags":["a","b"]}')]),
    (3, [Put("user:1", "Ada Lovelace")]),
    (4, [Put("cart:7", "3 apples"), Put("stock:apples", "97"), Del("user:9")]),
    (5, [Put("session:1", "token", expires=YEAR_2100), Put("session:2", "gone", expires=CREATED + 9000)]),
    (6, [Del("user:1")]),
    (7, [Put("grüße", "Привет, 世界 🎈\t\"quoted\" \\ and\nnew line")]),
    (8, [Put("empty", "")]),
]
BINARY = [
    (1, [Put(b"\xff\xfe\x00key", b"\x00\x01\x02\x80\xff")]),
    (2, [Put(b"\xc0\xaf", "an overlong slash is no UTF-8")]),
    (3, [Put(b"\xed\xa0\x80", "nor is a surrogate")]),
    (4, [Put("nul\x00 and\x7f", b"text with \x00\x1f\x7f")]),
    (5, [Put("image", b"\x89PNG\r\n\x1a\n")]),
    (6, [Put(b"\xf5", "1"), Put(b"\xf6", "2"), Del(b"\xc0\xaf")]),
    (7, [Del(b"\xf5")]),
]
EVICTED = [
    (1, [Put("a", "1"), Put("b", "2"), Put(b"\xff", "3")]),
    (2, [Evict("a")]),
    (3, [Evict(b"\xff"), Put("c", "4"), Evict("absent")]),
    (4, [Put("a", "back")]),
]


def lines_of(commits, synced=None):
    """The lines of a log. `synced`: {seq: voucher on that line}."""
    return [header()] + [record(seq, *ops, synced=(synced or {}).get(seq, 0)) for seq, ops in commits]


def flip(line, offset, bit=1):
    return line[:offset] + bytes([line[offset] ^ bit]) + line[offset + 1 :]


def make_whole():
    lines = lines_of(WHOLE, {4: 2, 7: 6})
    lines[2] = record(2, *WHOLE[1][1], by="import")
    whole = b"".join(lines)
    write_case("whole", whole, "ok", "every kind of record, written as we write them", WHOLE)
    write_case("filler", whole[: len(lines[0])] + b"\n \t\r\n" + whole[len(lines[0]) :] + b"\n" * 64, "ok",
               "blank lines count for nothing, wherever they stand", WHOLE)
    write_case("last-newline-missing", whole[:-1], "ok", "the last record is all there, only its newline is not", WHOLE)

    last = len(whole) - len(lines[-1])
    write_case("torn-tail", whole[: last + 30], "cut", "the last line ends in its middle", WHOLE[:-1], at=last)
    write_case("torn-tail-in-filler", whole[: last + 30] + b"\n" * 64, "cut",
               "the last line ends in its middle, and reserved space follows", WHOLE[:-1], at=last)
    write_case("zero-tail", whole + b"\0" * 100, "cut", "zeros, as a power cut leaves them, behind the last line",
               WHOLE, at=len(whole))
    write_case("garbage-tail", whole + bytes(range(128, 228)) + b"\n" + b"\xa5" * 40 + b"\n", "cut",
               "garbage in several lines behind the last record", WHOLE, at=len(whole))


def make_damaged():
    lines = lines_of(WHOLE, {4: 2, 7: 6})
    offsets = [sum(len(line) for line in lines[:i]) for i in range(len(lines))]
    value = lines[3].index(b"Lovelace")

    # lines[0] is the header, so lines[n] is the record with sequence number n, and line n + 1 of the file.
    damaged = lines[:3] + [flip(lines[3], value)] + lines[4:]
    write_case("flipped-byte", b"".join(damaged), "corrupt",
               "one bit of record 3 differs, and record 7 says that 6 were on disk", at=offsets[3])
    damaged = lines[:7] + [flip(lines[7], lines[7].index(b"quoted"))] + lines[8:]
    write_case("flipped-byte-unpromised", b"".join(damaged), "cut",
               "one bit of record 7 differs; nothing promised it, so it goes, and 8 with it", WHOLE[:6], at=offsets[7])
    # Its own voucher is no proof: the line that carries it is the damaged one.
    damaged = lines[:7] + [flip(lines[7], lines[7].index(b'"synced":6') + 9)]
    write_case("flipped-voucher", b"".join(damaged), "cut", "the voucher itself is what differs", WHOLE[:6], at=offsets[7])

    write_case("missing-line", b"".join(lines[:3] + lines[4:]), "corrupt",
               "record 3 is not there, and record 7 says that 6 were on disk", at=offsets[3])
    write_case("missing-line-unpromised", b"".join(lines[:7] + lines[8:]), "cut",
               "record 7 is not there; nothing promised it, so 8 goes", WHOLE[:6], at=offsets[7])
    write_case("repeated-line", b"".join(lines[:4] + [lines[3]] + lines[4:]), "corrupt",
               "record 3 stands there twice where record 4 was promised", at=offsets[4])


def make_foreign():
    commits = [
        (1, [Put("user:1", "Ada")]),
        (2, [Put("emoji", "🎈/é\u2028")]),
        (3, [Put("doc", document='{ "b" : 1.50, "a":[ 1,2 ] }')]),
        (4, [Put("text", "hello")]),
        (5, [Put("x", "1"), Del("user:1")]),
        (6, [Put("plain", "crc")]),
    ]
    lines = [
        seal('{ "created":%d, "first_seq" : 1,"host":"elsewhere","store":"%s","format":1, "kvstore":"wal"' % (CREATED, STORE)),
        seal('{"value":"Ada","key":"user:1","op":"put","ts":%d,"seq":1' % (CREATED + 1)),
        seal('\t{ "seq" : 2 , "ts" : %d , "op" : "p\\u0075t", "key" : "\\u0065moji",'
             ' "value" : "\\ud83c\\uDF88\\/\\u00e9\\u2028"  ' % (CREATED + 2)),
        seal('{"seq":3,"ts":%d,"op":"put","key":"doc","json": { "b" : 1.50, "a":[ 1,2 ] } ' % (CREATED + 3)),
        seal('{"seq":4,"ts":%d,"op":"put","key64":"dGV4dA==","value64":"aGVsbG8=","note":{"crc":"00000000",'
             '"op":["del"]},"flag":null' % (CREATED + 4)),
        seal('{"ops":[ {"value":"1","key":"x","op":"put","why":[]} , {"key":"user:1","op":"del"} ],"op":"batch",'
             '"ts":%d,"synced":3,"seq":5' % (CREATED + 5)),
        seal('{"\\u0073eq":6,"ts":%d,"op":"put","key":"plain","value":"crc"' % (CREATED + 6)),
    ]
    write_case("foreign-spelling", b"".join(lines), "ok",
               "other member order, white space, escapes and unknown members, yet sealed", commits)


def make_refused():
    good = lines_of(WHOLE[:2])
    at = sum(len(line) for line in good)
    after = record(4, Put("a", "1"))

    def refuse(name, line, outcome, why):
        write_case(name, b"".join(good) + line + after, outcome, why, at=at)

    stamp = '{"seq":3,"ts":%d,' % (CREATED + 3000)
    refuse("unknown-op", seal(stamp + '"op":"merge","key":"a","value":"1"'), "unsupported",
           "an intact record with an operation that format 1 does not have")
    refuse("duplicate-member", seal(stamp + '"op":"put","key":"a","key":"b","value":"1"'), "corrupt",
           "an intact line that names its key twice")
    entry = seal('{"seq":3,"op":"put","key":"a","value":"1"')
    write_case("entry-in-log", b"".join(good) + entry + after, "cut",
               "an intact line without a time: an entry, which stands in snapshots only; nothing promised a record here",
               WHOLE[:2], at=at)
    promised = record(4, Put("a", "1"), synced=3)
    write_case("entry-in-log-promised", b"".join(good) + entry + promised, "corrupt",
               "the same, where record 4 says that 3 were on disk", at=at)
    refuse("no-json", seal(stamp + '"op":"put","key":"a","value":nonsense'), "corrupt",
           "an intact line that is no JSON")
    nameless = seal(header()[:-19].decode().replace(STORE, ""))
    write_case("empty-store", nameless + record(1, Put("a", "1")), "corrupt",
               "an intact header that does not say of which store it is", at=0)
    write_case("newer-format", header(format=2) + record(1, Put("a", "1")), "unsupported",
               "a log of a format that is yet to come", at=0)


def make_compacted():
    covered, later = WHOLE[:5], WHOLE[5:]
    at_snapshot, at_log = snapshot_name(5), segment_name(6)
    snapshot = snapshot_of(covered)
    log = b"".join([header(6)] + [record(seq, *ops) for seq, ops in later])
    old_log = b"".join(lines_of(covered) + [closing_line(5)])
    offsets = [sum(len(line) for line in snapshot[:i]) for i in range(len(snapshot) + 1)]

    def case(name, lines, outcome, why, commits=None, at=None, more=None, verify=None):
        files = {at_snapshot: b"".join(lines), at_log: log, **(more or {})}
        write_case(name, files, outcome, why, commits, at, at_snapshot if outcome != "ok" else None, verify)

    def with_footer(lines):
        return lines + [snapshot_end(lines, 5)]

    case("compacted", snapshot, "ok", "a snapshot and the log behind it", WHOLE)
    case("compacted-filler", [snapshot[0], b"\n \n"] + with_footer([snapshot[0] + b"\n \n"] + snapshot[1:-1])[1:]
         + [b"\n\n"], "ok", "blank lines count for nothing in a snapshot too, but for its checksum", WHOLE)
    foreign = [seal('{ "created":%d,"last_seq" : 5, "store":"%s","format":1,"why":[],"kvstore":"sn\\u0061pshot"'
                    % (CREATED, STORE))]
    foreign += [seal(' { "value64":"%s", "k\\u0065y" : "%s", "op":"p\\u0075t","seq":%d '
                     % (base64.b64encode(put.value).decode(), put.key.decode(), seq))
                for _, (seq, put) in live_after(covered, 0).items() if not put.is_json and not put.expires]
    foreign += [entry(seq, put) for _, (seq, put) in live_after(covered, 0).items() if put.is_json or put.expires]
    case("compacted-foreign-spelling", with_footer(foreign), "ok", "a snapshot in somebody else's spelling", WHOLE)
    case("compacted-covered-left", snapshot, "ok", "the segment that the snapshot covers has not been removed yet",
         WHOLE, more={segment_name(1): old_log})
    case("compacted-covered-damaged", snapshot, "ok", "what the snapshot covers counts for nothing, damaged or not",
         WHOLE, more={segment_name(1): flip(old_log, len(header()) + 40)}, verify="corrupt")
    older = [header(4)] + [record(seq, *ops) for seq, ops in WHOLE[3:5]] + [closing_line(5)]
    case("compacted-older-snapshot", snapshot, "ok", "history: an older snapshot and its segments", WHOLE,
         more={snapshot_name(3): b"".join(snapshot_of(WHOLE[:3])), segment_name(4): b"".join(older)})
    case("compacted-leftover", snapshot, "ok", "a snapshot that was never finished has no name that counts", WHOLE,
         more={snapshot_name(7) + ".tmp": b"".join(snapshot)[:200]})

    damaged = snapshot[:2] + [flip(snapshot[2], 20)] + snapshot[3:]
    case("snapshot-flipped-byte", damaged, "corrupt", "one bit of an entry differs", at=offsets[2])
    case("snapshot-flipped-byte-despite-history", damaged, "corrupt",
         "one bit of an entry differs; that all of it stands in an older segment too is for a person to use",
         at=offsets[2], more={segment_name(1): old_log})
    case("snapshot-without-footer", snapshot[:-1], "corrupt", "a snapshot that ends before its footer")
    case("snapshot-torn-footer", snapshot[:-1] + [snapshot[-1][:50]], "corrupt", "a snapshot that ends in its footer")
    case("snapshot-missing-line", snapshot[:2] + snapshot[3:], "corrupt", "an entry is not there, and the footer knows")
    case("snapshot-exchanged-lines", [snapshot[0], snapshot[2], snapshot[1]] + snapshot[3:], "corrupt",
         "every line is intact and all are there, yet not as they were written: the checksum of the whole differs")
    case("snapshot-entry-from-the-future", with_footer(snapshot[:-1] + [entry(6, Put("new", "1"))]), "corrupt",
         "an entry with a version above that of the snapshot", at=offsets[-2])
    case("snapshot-record-inside", with_footer(snapshot[:-1] + [record(5, Put("new", "1"))]), "corrupt",
         "a record, with its time, among the entries", at=offsets[-2])
    case("snapshot-line-behind-footer", snapshot + [entry(1, Put("late", "1"))], "corrupt",
         "an intact entry behind the footer", at=offsets[-1])
    case("snapshot-of-another-number", snapshot_of(WHOLE[:4]), "corrupt", "the file's name and its header disagree", at=0)
    case("snapshot-newer-format", [snapshot_header(5, format=2)] + snapshot[1:], "unsupported",
         "a snapshot of a format that is yet to come", at=0)
    case("snapshot-unknown-op", with_footer(snapshot[:-1] + [seal('{"kvstore":"index","of":[]')]), "unsupported",
         "an intact line of a kind that format 1 does not have", at=offsets[-2])
    write_case("snapshot-next-missing", {at_snapshot: b"".join(snapshot)}, "corrupt",
               "the segment that the snapshot names is not there")
    write_case("snapshot-next-renamed", {at_snapshot: b"".join(snapshot), segment_name(7): log}, "corrupt",
               "the log goes on, but not from where the snapshot ends")
    write_case("snapshot-missing", {at_log: log}, "corrupt",
               "the log does not begin with record 1, and no snapshot says why")


def make_rotating():
    """A crash while the log went from one segment to the next."""
    first = b"".join(lines_of(WHOLE[:5]))
    lines = [header(6)] + [record(seq, *ops) for seq, ops in WHOLE[5:]]
    later = b"".join(lines)
    next_name, at_first, at_next = "wal-next.jsonl", segment_name(1), segment_name(6)

    def promising(synced):
        return b"".join(lines[:-1] + [record(8, *WHOLE[7][1], synced=synced)])

    def case(name, files, outcome, why, commits=None, at=None, file=None):
        write_case(name, files, outcome, why, commits, at, file)

    case("rotating", {at_first: first + b"\n" * 64, next_name: later + b"\n" * 64}, "ok",
         "the log goes on in a segment that has no number yet", WHOLE)
    case("rotating-next-promises", {at_first: first, next_name: promising(5)}, "ok",
         "the same, and the full segment was synced already", WHOLE)
    case("rotating-named", {at_first: first, at_next: later}, "ok",
         "the new segment has its number, the full one not its closing line; nothing promised a record behind it", WHOLE)
    case("rotating-named-torn-closing-line", {at_first: first + closing_line(5)[:30] + b"\n" * 9, at_next: later}, "ok",
         "the same, in the middle of the closing line", WHOLE)
    case("rotating-named-untrimmed", {at_first: first + closing_line(5) + b"\0" * 99, at_next: later}, "ok",
         "the same, and what was behind the closing line is still there", WHOLE)
    case("rotating-named-promised", {at_first: first, at_next: promising(6)}, "corrupt",
         "the closing line is missing, though a record of the new segment was promised", at=len(first), file=at_first)
    case("rotating-half-renamed", {at_first: first, at_next: later, next_name: later}, "ok",
         "the new segment has its number, and its old name too", WHOLE)
    case("rotating-blank-next", {at_first: first, next_name: b"\n" * 64}, "ok",
         "a segment made ahead, and not begun", WHOLE[:5])
    short = b"".join(lines_of(WHOLE[:4]))
    case("rotating-short", {at_first: short + b"\n" * 64, next_name: later}, "cut",
         "record 5 was lost, and nothing promised it, so what comes after it goes", WHOLE[:4], at=0)
    case("rotating-short-promised", {at_first: short, next_name: promising(5)}, "corrupt",
         "record 5 is not there, and the next segment says that 5 were on disk", at=len(short), file=at_first)
    elsewhere = seal(lines[0][:-19].decode().replace(STORE, STORE.replace("6", "7")))
    case("rotating-of-another-store", {at_first: first, next_name: b"".join([elsewhere] + lines[1:])}, "cut",
         "a next segment that belongs to another store", WHOLE[:5], at=0)
    case("rotating-next-alone", {next_name: later}, "corrupt", "the segments before it are missing")


def main():
    for entry in HERE.iterdir():
        if entry.is_dir():
            shutil.rmtree(entry)
    make_whole()
    make_damaged()
    make_foreign()
    write_case("binary-keys", b"".join(lines_of(BINARY, {7: 6})), "ok", "keys and values that are no text", BINARY)
    write_case("evicted", b"".join(lines_of(EVICTED)), "ok", "keys that the store dropped by itself", EVICTED)
    make_refused()
    make_compacted()
    make_rotating()


if __name__ == "__main__":
    main()

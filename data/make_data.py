"""Turns files of the Unicode Character Database into data that `kvctl import` reads.

    python3 make_data.py /usr/share/unicode OUTPUT_DIR

unicode.jsonl: one {"key":"U+0041","json":{...}} a line for every named character. blocks.tsv: a header line, then
one block a line. Field numbers are those of UAX #44, "UnicodeData.txt".
"""

import bisect
import json
import pathlib
import sys


def read_ranges(path):
    """[(first, last, property)] of a file with lines like `0000..007F; Basic Latin # comment`, sorted."""
    ranges = []
    for line in path.read_text(encoding="utf-8").splitlines():
        text = line.split("#")[0].strip()
        if not text:
            continue
        span, value = (part.strip() for part in text.split(";"))
        first, _, last = span.partition("..")
        ranges.append((int(first, 16), int(last or first, 16), value))
    return sorted(ranges)


def look_up(ranges, code):
    """The property of a code point, None outside all ranges."""
    index = bisect.bisect_right(ranges, (code, sys.maxsize, "")) - 1
    if index >= 0 and ranges[index][0] <= code <= ranges[index][1]:
        return ranges[index][2]
    return None


def key_of(code):
    return f"U+{code:04X}"


def is_printable(category):
    """Not a control, format, surrogate, private or separator character: those mean nothing on a page."""
    return category[0] not in "CZ"


def document(fields, blocks, scripts, ages):
    """The JSON document of one line of UnicodeData.txt; members that would say nothing are left out."""
    code = int(fields[0], 16)
    name, category = fields[1], fields[2]
    out = {}
    if is_printable(category):
        out["char"] = chr(code)
    # Control characters are called <control>; their Unicode 1 name is what people know them by.
    out["name"] = fields[10] if name == "<control>" and fields[10] else name
    out["category"] = category
    for member, ranges in (("block", blocks), ("script", scripts), ("age", ages)):
        value = look_up(ranges, code)
        if value is not None:
            out[member] = value.replace("_", " ") if member == "script" else value
    if fields[3] != "0":
        out["combining"] = int(fields[3])
    if fields[5]:
        out["decomposition"] = fields[5]
    if fields[8]:
        out["numeric"] = fields[8] if "/" in fields[8] else int(fields[8])
    if fields[9] == "Y":
        out["mirrored"] = True
    for member, index in (("upper", 12), ("lower", 13)):
        if fields[index]:
            out[member] = key_of(int(fields[index], 16))
    return code, out


def main(source, target):
    blocks = read_ranges(source / "Blocks.txt")
    scripts = read_ranges(source / "Scripts.txt")
    ages = read_ranges(source / "DerivedAge.txt")

    with open(target / "unicode.jsonl", "w", encoding="utf-8", newline="\n") as out:
        for line in (source / "UnicodeData.txt").read_text(encoding="ascii").splitlines():
            fields = line.split(";")
            if fields[1].endswith((", First>", ", Last>")):
                continue  # the ends of a range whose characters have no names of their own
            code, value = document(fields, blocks, scripts, ages)
            entry = {"key": key_of(code), "json": value}
            out.write(json.dumps(entry, ensure_ascii=False, separators=(",", ":")) + "\n")

    with open(target / "blocks.tsv", "w", encoding="utf-8", newline="\n") as out:
        out.write("key\tvalue\n")
        for first, last, name in blocks:
            out.write(f"block:{first:04X}..{last:04X}\t{name}\n")


main(pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2]))

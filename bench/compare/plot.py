"""Bar charts as plain SVG text, for report.py: medians, with a thin line from the lowest to the highest round.

They are read on white and on dark pages alike, so each brings its own background. A bar's colour says whose it is: kvstore's
stand out, references to the machine's limits are pale.
"""
import html

WIDTH, LABEL, BAR, GAP, HEAD = 760, 210, 16, 5, 54
OURS_COLOUR, PEER_COLOUR, RAW_COLOUR, TEXT = "#d1495b", "#4f7cac", "#b8c4d0", "#24292f"

# (file, title, kind, [(row, what it survives or None for a row of reads)]). One chart each; several rows are shown one below
# the other. "more" is better or "less".
CHARTS = [
    ("put", "Puts a second; an acknowledged put survives kill -9 (more is better)",
     [("put, 1 thread", "kill -9"), ("put, 2 threads", "kill -9"), ("put, 8 threads", "kill -9")]),
    ("put-memory", "Puts a second; kvstore's survive kill -9, the others' nothing (more is better)",
     [("put, 1 thread", "memory only"), ("put, 2 threads", "memory only")]),
    ("put-durable", "Puts a second; an acknowledged put survives a power cut (more is better)",
     [("put, 1 thread", "power cut"), ("put, 8 threads", "power cut"), ("put, 64 threads", "power cut")]),
    ("batch", "Puts a second in batches of 1000 that survive kill -9 (more is better)", [("batch of 1000", "kill -9")]),
    ("get", "Nanoseconds a get, random keys of 1M (less is better)",
     [("get, hit", None), ("get, miss", None)]),
    ("ycsb", "YCSB, operations a second, 2 threads; writes survive kill -9 (more is better)",
     [(f"YCSB {letter}, 2 threads", "kill -9") for letter in "ABCDEF"]),
    ("open", "Opening 1M entries after kill -9, milliseconds (less is better)", [("open after kill -9", "kill -9")]),
    ("memory", "Memory an entry beyond key and value, bytes, stores that keep data on the heap (less is better)",
     [("memory an entry, over key and value, after puts", None)]),
    ("disk", "Disk an entry of 116 bytes, compacted, bytes (less is better)", [("disk an entry, compacted", "kill -9")]),
    ("compaction", "Rewriting 1M entries beside a writer, seconds (less is better)",
     [("compaction beside a writer, duration", "kill -9")]),
]


def short(value):
    for limit, suffix in ((1e6, " M"), (1e3, " k")):
        if value >= 1.0 * limit:
            return f"{value / limit:.3g}{suffix}"
    return f"{value:.3g}"


def bars_of(results, row, level):
    """(name, median, low, high, colour), best first."""
    found = []
    for survives, peer in results.peers(row, level):
        middle, low, high = results.summary(row, survives, peer)
        if middle > 0:
            found.append((peer, middle, low, high))
    if level == "memory only" and (row, "kill -9", "kvstore") in results.values:
        found.append(("kvstore", *results.summary(row, "kill -9", "kvstore")))
    more = results.units[row] == "op/s"
    found.sort(key=lambda b: b[1], reverse=more)
    colour = lambda peer: OURS_COLOUR if peer == "kvstore" else RAW_COLOUR if peer in results.raw else PEER_COLOUR
    return [(*bar, colour(bar[0])) for bar in found]


def chart(title, sections):
    parts, y = [], HEAD
    for heading, bars in sections:
        parts.append(f'<text x="12" y="{y}" class="section">{html.escape(heading)}</text>')
        y += 12
        scale = (WIDTH - LABEL - 90) / max(high for _, _, _, high, _ in bars)
        for name, middle, low, high, colour in bars:
            mid = y + BAR / 2
            parts.append(f'<text x="{LABEL - 8}" y="{mid + 4:.1f}" class="name">{html.escape(name)}</text>')
            parts.append(f'<rect x="{LABEL}" y="{y}" width="{max(middle * scale, 1):.1f}" height="{BAR}" fill="{colour}"/>')
            parts.append(f'<path d="M{LABEL + low * scale:.1f} {mid}H{LABEL + high * scale:.1f}" class="spread"/>')
            parts.append(f'<text x="{LABEL + high * scale + 6:.1f}" y="{mid + 4:.1f}">{short(middle)}</text>')
            y += BAR + GAP
        y += 22
    style = (f"text{{font:12px sans-serif;fill:{TEXT}}}.title{{font-size:14px;font-weight:bold}}.section{{font-weight:bold}}"
             f".name{{text-anchor:end}}.spread{{stroke:{TEXT};stroke-width:1.5}}")
    return (f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{y}" viewBox="0 0 {WIDTH} {y}" role="img">\n'
            f"<title>{html.escape(title)}</title><style>{style}</style>\n"
            f'<rect width="100%" height="100%" fill="#ffffff"/>\n<text x="12" y="26" class="title">{html.escape(title)}</text>\n'
            + "\n".join(parts) + "\n</svg>\n")


def draw(results, directory):
    directory.mkdir(parents=True, exist_ok=True)
    for name, title, rows in CHARTS:
        sections = []
        for row, level in rows:
            bars = bars_of(results, row, level) if row in results.units else []
            if bars:
                sections.append((row, bars))
        if sections:
            (directory / f"{name}.svg").write_text(chart(title, sections))

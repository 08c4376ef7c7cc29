#!/bin/bash
# Makes unicode.jsonl and blocks.tsv anew from Debian's unicode-data package: see README.md.
set -euo pipefail
cd "$(dirname "$0")"
../tools/ensure-packages unicode-data python3
python3 make_data.py /usr/share/unicode .
wc -l unicode.jsonl blocks.tsv
sha256sum unicode.jsonl blocks.tsv

#include "tests/support/store_text.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <optional>
#include <set>
#include <utility>
#include <vector>

#include "kvstore/base/buffer.h"
#include "kvstore/base/crc32c.h"
#include "kvstore/base/scratch.h"
#include "kvstore/format/decode.h"
#include "kvstore/format/encode.h"
#include "kvstore/wal/file_names.h"

namespace kvstore::testing {

using format::LineKind;
using format::Op;
using format::Seq;

namespace {

constexpr int64_t kTime = 1'763'800'000'000'000;

std::string record_line(Seq seq, const Op& op, Seq synced) {
  return format::encode_line({.seq = seq, .ts_us = kTime + static_cast<int64_t>(seq % 1'000'000), .synced = synced},
                             std::array{op});
}

// A decoded line that owns what it points to.
struct OwnedLine {
  format::Line line{};
  std::string text{};
  std::vector<Op> ops{};
  base::Scratch scratch{};
  size_t begin = 0;  // in the file
};

std::vector<OwnedLine> decoded(const std::string& bytes) {
  std::vector<OwnedLine> lines(static_cast<size_t>(std::count(bytes.begin(), bytes.end(), '\n')) + 1);
  size_t begin = 0;
  for (OwnedLine& owned : lines) {
    const size_t end = std::min(bytes.find('\n', begin), bytes.size());
    owned.text = bytes.substr(begin, end - begin);
    owned.begin = begin;
    owned.line = format::decode(owned.text, owned.ops, owned.scratch);
    begin = end + 1;
  }
  std::erase_if(lines, [](const OwnedLine& owned) { return owned.line.kind == LineKind::kBlank; });
  return lines;
}

void apply(State& state, const std::vector<Op>& ops, Seq seq) {
  for (const Op& op : ops) {
    if (op.removes()) {
      state.erase(std::string(op.key));
    } else {
      state[std::string(op.key)] = {.bytes = std::string(op.value), .version = seq, .expires_us = op.expires_us};
    }
  }
}

bool is_whole_snapshot(const std::vector<OwnedLine>& lines, const std::string& bytes, Seq number) {
  if (lines.size() < 2 || lines.front().line.kind != LineKind::kSnapshotHeader ||
      lines.back().line.kind != LineKind::kSnapshotEnd)
    return false;
  const format::SnapshotEnd& end = lines.back().line.snapshot_end;
  std::set<std::string> keys;
  for (size_t i = 1; i + 1 < lines.size(); ++i) {
    if (lines[i].line.kind != LineKind::kEntry || lines[i].line.stamp.seq > number) return false;
    keys.insert(std::string(lines[i].ops.at(0).key));
  }
  return lines.front().line.snapshot.last_seq == number && end.last_seq == number && end.entries == lines.size() - 2 &&
         keys.size() == end.entries && end.next == wal::segment_name(number + 1) &&
         end.whole == base::crc32c(bytes.substr(0, lines.back().begin));
}

// Of the next segment, which has none in its name, 0: it comes last among names, too.
std::optional<Seq> segment_number(const std::string& name) {
  return name == wal::kNextSegmentName ? std::optional<Seq>(0) : wal::parse_segment_name(name);
}

}  // namespace

std::string header_line(Seq first_seq, std::string_view store) {
  return format::encode_segment_header({.format = 1, .store = store, .first_seq = first_seq, .created_us = kTime});
}
std::string put_line(Seq seq, std::string_view key, std::string_view value, Seq synced) {
  return record_line(seq, {.key = key, .value = value}, synced);
}
std::string del_line(Seq seq, std::string_view key, Seq synced) {
  return record_line(seq, {.kind = Op::Kind::kDel, .key = key, .value = {}}, synced);
}
std::string end_line(Seq last_seq) {
  return format::encode_segment_end({.last_seq = last_seq, .next = wal::segment_name(last_seq + 1)});
}
std::string lock_line(Seq closed_seq, std::string_view store) {
  return format::encode_owner(
      {.format = 1, .store = store, .pid = 0, .host = "", .started_us = 0, .closed_seq = closed_seq});
}
std::string entry_line(Seq seq, std::string_view key, std::string_view value) {
  base::Buffer out;
  format::encode_entry(out, {.key = key, .value = value}, seq);
  return std::string(out.view());
}
std::string snapshot_header_line(Seq last_seq, std::string_view store) {
  return format::encode_snapshot_header({.format = 1, .store = store, .last_seq = last_seq, .created_us = kTime});
}
std::string snapshot_of(Seq last_seq, std::string_view entries, std::string_view store) {
  const std::string text = snapshot_header_line(last_seq, store) + std::string(entries);
  return text + format::encode_snapshot_end(
                    {.entries = static_cast<uint64_t>(std::count(entries.begin(), entries.end(), '\n')),
                     .last_seq = last_seq,
                     .next = wal::segment_name(last_seq + 1),
                     .whole = base::crc32c(text)});
}

State salvaged(const Files& files) {
  State state;
  Seq base = 0;
  for (auto file = files.rbegin(); file != files.rend() && base == 0; ++file) {
    const std::optional<Seq> number = wal::parse_snapshot_name(file->first);
    if (!number.has_value()) continue;
    const std::vector<OwnedLine> lines = decoded(file->second);
    if (!is_whole_snapshot(lines, file->second, *number)) continue;
    base = *number;
    for (const OwnedLine& owned : lines) apply(state, owned.ops, owned.line.stamp.seq);
  }
  // In the order of the files, so that of two records with one number the first one counts; entries before records.
  std::vector<std::pair<Seq, std::vector<Op>>> changes;
  std::vector<std::vector<OwnedLine>> kept;  // what the operations point into
  std::set<Seq> seen;
  for (const bool want_snapshots : {true, false}) {
    for (const auto& [name, bytes] : files) {
      std::optional<Seq> number = want_snapshots ? wal::parse_snapshot_name(name) : segment_number(name);
      if (!number.has_value() || (want_snapshots && *number <= base)) continue;
      kept.push_back(decoded(bytes));
      if (kept.back().empty()) continue;
      if (const format::Line& first = kept.back().front().line; first.kind == LineKind::kSnapshotHeader)
        number = first.snapshot.last_seq;
      for (const OwnedLine& owned : kept.back()) {
        const Seq seq = owned.line.stamp.seq;
        if (owned.line.kind != (want_snapshots ? LineKind::kEntry : LineKind::kRecord) || seq <= base) continue;
        if (want_snapshots ? seq > *number : !seen.insert(seq).second) continue;
        changes.emplace_back(seq, owned.ops);
      }
    }
  }
  std::stable_sort(changes.begin(), changes.end(), [](const auto& a, const auto& b) { return a.first < b.first; });
  for (const auto& [seq, ops] : changes) apply(state, ops, seq);
  return state;
}

State replayed(const Files& files, Seq last_seq) {
  State state;
  Seq expected = 1;
  for (auto file = files.rbegin(); file != files.rend() && expected == 1; ++file) {
    const std::optional<Seq> number = wal::parse_snapshot_name(file->first);
    if (!number.has_value()) continue;
    for (const OwnedLine& owned : decoded(file->second)) apply(state, owned.ops, owned.line.stamp.seq);
    expected = *number + 1;
  }
  for (const auto& [name, bytes] : files) {
    if (!segment_number(name).has_value()) continue;
    for (const OwnedLine& owned : decoded(bytes)) {
      if (owned.line.kind != LineKind::kRecord || owned.line.stamp.seq != expected || expected > last_seq) continue;
      apply(state, owned.ops, expected++);
    }
  }
  return state;
}

}  // namespace kvstore::testing

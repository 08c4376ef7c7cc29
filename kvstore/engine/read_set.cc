#include "kvstore/engine/read_set.h"

#include <fmt/format.h>

#include <array>
#include <iterator>

#include "kvstore/base/assert.h"
#include "kvstore/base/error.h"
#include "kvstore/format/escape.h"
#include "kvstore/format/utf8.h"

namespace kvstore::engine {

using base::error;
using format::Seq;

std::string quoted_key(std::string_view key) {
  constexpr size_t kShownMax = 80;
  std::string text = "\"";
  std::string_view shown = key.substr(0, kShownMax);
  const size_t whole = format::valid_utf8_prefix(shown);
  KV_ASSERT(whole <= shown.size());
  // What was cut within its last character is text all the same.
  const bool is_text = whole == shown.size() || (shown.size() < key.size() && shown.size() - whole < 4);
  if (is_text) {
    shown = shown.substr(0, whole);
    std::array<char, format::kEscapeBytesMax * kShownMax + format::kEscapeSlack> out;
    text.append(out.data(), format::escape(out.data(), shown).end);
  } else {
    for (const char c : shown) {
      if (c >= ' ' && c <= '~' && c != '"' && c != '\\') {
        text += c;
      } else {
        fmt::format_to(std::back_inserter(text), "\\x{:02x}", static_cast<unsigned char>(c));
      }
    }
  }
  text += '"';
  if (shown.size() < key.size()) fmt::format_to(std::back_inserter(text), "... ({} bytes)", key.size());
  return text;
}

std::string ReadSet::Range::describe() const {
  if (!from.empty() || !to.empty()) {
    return fmt::format("the range from {} to {}", quoted_key(from), to.empty() ? "the end" : quoted_key(to));
  }
  return prefix.empty() ? "all keys" : fmt::format("the prefix {}", quoted_key(prefix));
}

void ReadSet::add_key(std::string_view key, uint64_t hash, Seq version) {
  // Of several reads of a key one is enough: all were at the same instant.
  if (const auto seen = keys_.find(key); seen != keys_.end()) {
    KV_ASSERT(seen->second.version == version);
    KV_ASSERT(seen->second.hash == hash);
    return;
  }
  keys_.emplace(key, Key{.hash = hash, .version = version});
}

void ReadSet::add_range(const table::Filter& filter, Seq pin_seq, Seq highest,
                        const std::vector<const table::Entry*>& found) {
  Range range{.prefix = std::string(filter.prefix), .from = std::string(filter.from), .to = std::string(filter.to)};
  range.changed = highest > pin_seq;
  const table::Entry* first = nullptr;
  for (const table::Entry* entry : found) {
    KV_ASSERT(entry->seq() <= pin_seq);
    KV_DASSERT(filter.matches(entry->key()));
    if (entry->expires_us() == 0) continue;
    if (first == nullptr || entry->expires_us() < first->expires_us()) first = entry;
  }
  if (first != nullptr) {
    range.first_to_expire = first->key();
    range.first_expiry_us = first->expires_us();
  }
  ranges_.push_back(std::move(range));
}

Status ReadSet::conflict(std::string_view key, std::string_view what) {
  KV_ASSERT(conflict_key_.empty());  // the first one ends the transaction
  conflict_key_ = key;
  return error(Code::kConflict, "the key {} {}; nothing was written. try: run the transaction again", quoted_key(key),
               what);
}

Status ReadSet::catch_up(const RecentWrites& recent, uint64_t keys_max) {
  KV_ASSERT(!ranges_.empty());  // else nobody watches
  Status result;
  const bool complete = recent.walk(place_, keys_max, [&](std::string_view key) {
    for (const Range& range : ranges_) {
      if (!range.filter().matches(key)) continue;
      result = conflict(
          key, fmt::format("was written by somebody else after the transaction had scanned {}", range.describe()));
      return false;
    }
    return true;
  });
  if (complete) return result;
  return error(Code::kConflict,
               "more was written since the transaction scanned than is kept to check a scan by ({} bytes of keys); "
               "nothing was written. try: run the transaction again, with less time between scan and commit",
               RecentWrites::kBytesMax);
}

Status ReadSet::check_key(const table::Table& table, const std::string& key, const Key& seen, int64_t ts_us) {
  const table::Entry* entry = table.newest(key, seen.hash);
  const bool expired = entry != nullptr && entry->is_expired(ts_us);
  const Seq version = entry == nullptr || expired ? 0 : entry->seq();
  KV_ASSERT(version <= table.published());
  if (version == seen.version) return {};
  if (seen.version == 0) {
    return conflict(key, fmt::format("was absent when the transaction read it and has version {} now", version));
  }
  if (version != 0) {
    return conflict(
        key, fmt::format("had version {} when the transaction read it and has version {} now", seen.version, version));
  }
  return conflict(key, fmt::format("had version {} when the transaction read it and {}", seen.version,
                                   expired ? "has expired since" : "is absent now"));
}

Status ReadSet::check_scans(const table::Table& table, const table::Table::Pin& pin) {
  for (const Range& range : ranges_) {
    if (!range.changed) continue;
    const std::string what =
        fmt::format("had changed between the begin of the transaction and its scan of {}", range.describe());
    const table::Table::Pin now(table);
    KV_ASSERT(now.seq() >= pin.seq());
    std::vector<const table::Entry*> entries;
    table.collect(now, range.filter(), entries);
    for (const table::Entry* entry : entries) {
      if (entry->seq() > pin.seq()) return conflict(entry->key(), what);
    }
    entries.clear();
    table.collect(pin, range.filter(), entries);
    for (const table::Entry* entry : entries) {
      if (table.find(now, entry->key(), table.hash(entry->key())) == nullptr) return conflict(entry->key(), what);
    }
    // It came and has gone again meanwhile.
    return error(Code::kConflict, "a key {}; nothing was written. try: run the transaction again", what);
  }
  return {};
}

Status ReadSet::check(const table::Table& table, const RecentWrites& recent, int64_t ts_us) {
  constexpr size_t kAhead = 16;  // keys whose cache misses overlap
  auto ahead = keys_.begin();
  for (size_t i = 0; i < kAhead && ahead != keys_.end(); ++i, ++ahead) table.prefetch_bucket(ahead->second.hash);
  for (const auto& [key, seen] : keys_) {
    if (ahead != keys_.end()) table.prefetch_bucket((ahead++)->second.hash);
    if (Status s = check_key(table, key, seen, ts_us); !s.ok()) return s;
  }
  for (const Range& range : ranges_) {
    KV_ASSERT(!range.changed);
    if (range.first_expiry_us != 0 && range.first_expiry_us <= ts_us) {
      return conflict(range.first_to_expire, "was alive when the transaction scanned it and has expired since");
    }
  }
  return ranges_.empty() ? Status() : catch_up(recent, UINT64_MAX);
}

}  // namespace kvstore::engine

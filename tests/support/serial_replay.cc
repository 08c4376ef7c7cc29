#include "tests/support/serial_replay.h"

#include <fmt/format.h>

#include <limits>
#include <utility>

namespace kvstore::testing {
namespace {

using Model = std::map<std::string, Entry, std::less<>>;

void apply(Model& model, const LogRecord& record) {
  for (const LogOp& op : record.ops) {
    if (op.kind == LogOp::Kind::kPut) {
      model.insert_or_assign(std::string(op.key), Entry{.key = std::string(op.key),
                                                        .value = std::string(op.value),
                                                        .is_json = op.is_json,
                                                        .version = record.seq,
                                                        .expires_us = op.expires_us});
    } else if (const auto at = model.find(op.key); at != model.end()) {
      model.erase(at);
    }
  }
}

std::string evaluate(const Model& model, const SerialRead& read, int64_t now_us) {
  const auto alive = [now_us](const Entry& entry) { return entry.expires_us == 0 || entry.expires_us > now_us; };
  if (!read.is_scan) {
    const auto at = model.find(read.key);
    return spell(at != model.end() && alive(at->second) ? std::optional(at->second) : std::nullopt);
  }
  std::vector<Entry> found;
  for (auto at = model.lower_bound(read.key); at != model.end() && at->first.starts_with(read.key); ++at) {
    if (alive(at->second)) found.push_back(at->second);
  }
  return spell(found);
}

std::string misfit(const Model& model, const SerialTransaction& transaction, int64_t now_us, uint64_t seq) {
  for (const SerialRead& read : transaction.reads) {
    const std::string expected = evaluate(model, read, now_us);
    if (read.seen == expected) continue;
    return fmt::format("transaction {}: its {} of {} saw\n  {}\nbut the log {} record {} says\n  {}", transaction.tag,
                       read.is_scan ? "scan" : "read", read.key, read.seen,
                       transaction.instant.has_value() ? "up to" : "before", seq, expected);
  }
  return "";
}

}  // namespace

std::string spell(const std::optional<Entry>& entry) {
  return entry.has_value() ? fmt::format("{}@{}", entry->value, entry->version) : "-";
}

std::string spell(const std::vector<Entry>& entries) {
  std::string text;
  for (const Entry& entry : entries)
    text += fmt::format("{}{}={}", text.empty() ? "" : " ", entry.key, spell(std::optional(entry)));
  return text;
}

std::string replay_and_compare(const std::filesystem::path& dir, const std::vector<SerialTransaction>& transactions) {
  std::map<std::string, const SerialTransaction*, std::less<>> writing;
  std::multimap<uint64_t, const SerialTransaction*> reading;
  for (const SerialTransaction& transaction : transactions) {
    if (transaction.instant.has_value()) {
      reading.emplace(*transaction.instant, &transaction);
    } else if (!writing.emplace(transaction.tag, &transaction).second) {
      return "two transactions have the tag " + transaction.tag;
    }
  }
  Model model;
  uint64_t seq = 0;
  const auto check_readers = [&]() -> std::string {
    for (auto [at, end] = reading.equal_range(seq); at != end; ++at) {
      // What expires is not for them, so time does not matter.
      std::string wrong = misfit(model, *at->second, std::numeric_limits<int64_t>::min(), seq);
      if (!wrong.empty()) return wrong;
    }
    return "";
  };
  Result<LogCursor> cursor = LogCursor::open(dir);
  if (!cursor.ok()) return std::string(cursor.status().message());
  if (std::string wrong = check_readers(); !wrong.empty()) return wrong;
  for (;;) {
    Result<const LogRecord*> next = cursor->next();
    if (!next.ok()) return std::string(next.status().message());
    if (*next == nullptr) break;
    const LogRecord& record = **next;
    if (record.seq != seq + 1) return fmt::format("the log goes on with record {} after {}", record.seq, seq);
    if (const auto at = writing.find(record.by); at != writing.end()) {
      if (!at->second->committed)
        return fmt::format("record {} is transaction {}, which was refused", record.seq, record.by);
      if (std::string wrong = misfit(model, *at->second, record.ts_us, record.seq); !wrong.empty()) return wrong;
      writing.erase(at);
    }
    apply(model, record);
    seq = record.seq;
    if (std::string wrong = check_readers(); !wrong.empty()) return wrong;
  }
  for (const auto& [tag, transaction] : writing) {
    if (transaction->committed) return fmt::format("transaction {} was committed and is not in the log", tag);
  }
  return "";
}

}  // namespace kvstore::testing

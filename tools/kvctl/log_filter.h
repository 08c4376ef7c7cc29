// Which records, and which of their operations, `kvctl log` is asked for. Pure.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "kvstore/inspect.h"

namespace kvctl {

struct LogFilter {
  std::optional<std::string> key;
  std::optional<std::string> prefix;
  std::optional<kvstore::LogOp::Kind> op;
  std::optional<int64_t> since_us;
  std::optional<int64_t> until_us;
  std::optional<uint64_t> seq_min;
  std::optional<uint64_t> seq_max;

  [[nodiscard]] bool accepts(const kvstore::LogOp& candidate) const {
    return (!key || candidate.key == *key) && (!prefix || candidate.key.starts_with(*prefix)) &&
           (!op || candidate.kind == *op);
  }
  [[nodiscard]] bool accepts_all_ops() const { return !key && !prefix && !op; }
  // True when the record lies in the range of times and numbers and one of its operations is accepted, or all are asked
  // for: a batch may be empty.
  [[nodiscard]] bool accepts(const kvstore::LogRecord& record) const {
    if ((seq_min && record.seq < *seq_min) || (seq_max && record.seq > *seq_max)) return false;
    if ((since_us && record.ts_us < *since_us) || (until_us && record.ts_us >= *until_us)) return false;
    if (accepts_all_ops()) return true;
    for (const kvstore::LogOp& candidate : record.ops) {
      if (accepts(candidate)) return true;
    }
    return false;
  }
  [[nodiscard]] bool accepts_all() const { return accepts_all_ops() && !since_us && !until_us && !seq_min && !seq_max; }
  // Whether it picks among records however early, those made up to `ts_us` included.
  [[nodiscard]] bool reaches_back_to(int64_t ts_us) const {
    return !accepts_all() && !seq_min && (!since_us || *since_us <= ts_us);
  }
  // No later record can be accepted. (Not by time: the clock may have been set back.)
  [[nodiscard]] bool is_past(uint64_t seq) const { return seq_max && seq >= *seq_max; }
};

}  // namespace kvctl

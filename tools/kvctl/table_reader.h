// TSV and CSV with a header line.
//
// CSV follows RFC 4180: a field in double quotes may hold commas, newlines and doubled quotes. TSV has no quoting and
// no escapes, so its fields are taken as they stand; a value with a tab or newline in it goes in value64.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "tools/kvctl/input.h"
#include "tools/kvctl/json_object.h"
#include "tools/kvctl/operation.h"

namespace kvctl {

class TableReader {
 public:
  enum class Kind : uint8_t { kTsv, kCsv };
  TableReader(LineReader& lines, Kind kind) : lines_(lines), kind_(kind) {}

  // What a call found. `problem` with line_number() names the slip; `status` is the input's failure.
  struct Row {
    kvstore::Status status{};
    Problem problem{};
    bool has_entry = false;
    bool at_end = false;
  };
  // The header. Call it first, once.
  Row read_header();
  // The next entry. `out` lives until the next call.
  Row next(Operation& out);
  // Where the latest row begins; a quoted field may spread it over several lines.
  [[nodiscard]] uint64_t line_number() const noexcept { return row_line_; }

 private:
  Row read_row();
  void split_tsv(std::string_view line);
  Row split_csv(std::string_view line);

  LineReader& lines_;
  Kind kind_;
  uint64_t row_line_ = 0;
  std::string text_;          // the fields of a row, one after the other
  std::vector<size_t> ends_;  // where each field ends in text_
  std::vector<std::string> columns_;
  kvstore::base::Scratch scratch_;
};

}  // namespace kvctl

// A list of JSON texts on stdout: one a line, or the same lines as one array.
#pragma once

#include <string>
#include <string_view>

#include "tools/kvctl/stdio.h"

namespace kvctl {

class JsonRows {
 public:
  JsonRows(Output& out, bool as_array) : out_(out), as_array_(as_array) {}

  void add(std::string_view json) {
    if (as_array_) out_.write(is_first_ ? "[\n" : ",\n");
    is_first_ = false;
    as_array_ ? out_.json_text(json) : out_.json_line(json);
  }
  // After the last row. Once.
  void finish() {
    if (as_array_) out_.line(is_first_ ? "[]" : "\n]");
  }

 private:
  Output& out_;
  bool as_array_;
  bool is_first_ = true;
};

}  // namespace kvctl

// The two readers behind decode(): the fast one knows only our own spelling, the general one every legal
// spelling of the same record, and what is wrong with the rest. What both accept, they read alike. Private
// to decode.cc and its tests.
#pragma once

#include <cstddef>
#include <string_view>
#include <vector>

#include "kvstore/base/scratch.h"
#include "kvstore/format/decode.h"
#include "kvstore/format/record.h"

namespace kvstore::format {

// Reads a record spelled exactly as encode.h spells it. False: some other spelling, some other line, or
// something wrong; then `ops` is as it was, and *line is not to be used. Needs: a sealed line.
[[nodiscard]] bool read_canonical(std::string_view text, Line* line, std::vector<Op>* ops, base::Scratch* scratch);

// What keeps a sealed line from being a record.
struct Problem {
  size_t offset = 0;
  std::string_view what;     // `duplicate member`; lives forever
  std::string_view subject;  // what it is about: JSON text from the line, or the bare name of a member; may be empty
  bool is_bare_name = false;
};

// Reads any line of this format. Afterwards line->kind is not kUnsealed, kBadCrc or kBlank; when it is
// kMalformed or kUnknownOp, *problem says why. Needs: a sealed line.
void read_general(std::string_view text, Line* line, std::vector<Op>* ops, base::Scratch* scratch, Problem* problem);

}  // namespace kvstore::format

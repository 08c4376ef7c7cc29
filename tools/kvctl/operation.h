// What a line of input asks for: a put or a delete, from JSON or from the columns of a table.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "kvstore/base/scratch.h"
#include "kvstore/batch.h"
#include "tools/kvctl/json_object.h"

namespace kvctl {

// One put or delete; the views live as long as what it was parsed from.
using Operation = kvstore::Batch::Op;

// What a line may say about an entry, as it was found. Both ways of reading a line fill this in, so that both
// refuse the same slips in the same words.
struct EntryFields {
  std::optional<std::string_view> key;
  std::optional<std::string_view> key64;
  std::optional<std::string_view> value;
  std::optional<std::string_view> value64;
  std::optional<std::string_view> json;
  std::optional<std::string_view> ttl;      // "90s"
  std::optional<std::string_view> expires;  // microseconds since the epoch, or an ISO time
};

// The members of EntryFields by name, nullptr for any other name.
[[nodiscard]] std::optional<std::string_view>* find_field(EntryFields& fields, std::string_view name);

// Decodes and checks everything that the store would refuse about this one operation, so that the refusal can name
// the line. What needs new bytes goes to `scratch`.
Problem to_operation(const EntryFields& fields, kvstore::base::Scratch& scratch, Operation& out);

// Reads JSON lines. Not thread-safe; what it returns lives until the next call.
class OperationParser {
 public:
  // {"key":…,"value"|"value64"|"json":…,"ttl"|"expires":…}: a line of export.
  Problem parse_entry(std::string_view line, Operation& out);
  // {"op":"put"|"del", …} or {"ops":[…]}: a line of batch. `is_batch` tells which.
  Problem parse_command(std::string_view line, std::vector<Operation>& out, bool& is_batch);

 private:
  Problem parse_members(std::string_view object, bool with_op, Operation& out);
  kvstore::base::Scratch scratch_;
};

// Adds it to `batch`, which copies the bytes.
void add_to(kvstore::Batch& batch, const Operation& operation);

}  // namespace kvctl

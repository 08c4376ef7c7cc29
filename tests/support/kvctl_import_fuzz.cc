#include "tests/support/kvctl_import_fuzz.h"

#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <string>
#include <string_view>
#include <vector>

#include "kvstore/batch.h"
#include "kvstore/format/json_text.h"
#include "kvstore/json_writer.h"
#include "kvstore/options.h"
#include "tests/support/must.h"
#include "tools/kvctl/input.h"
#include "tools/kvctl/json_object.h"
#include "tools/kvctl/operation.h"
#include "tools/kvctl/table_reader.h"

namespace kvstore::testing {
namespace {

using kvctl::JsonObject;
using kvctl::Operation;
using kvctl::Problem;

constexpr size_t kLineBytesMax = 4096;  // short, so that lines that are too long are met too

// What is accepted is what the store takes, and export would write it so that it comes back.
void check_operation(const Operation& op) {
  must(!op.key.empty() && op.key.size() <= kKeyBytesMax, "the key's size");
  must(op.value.size() <= kValueBytesMax, "the value's size");
  must(op.options.expires_us >= 0 && op.options.ttl.count() >= 0, "the expiry");
  const bool is_json = op.kind == Operation::Kind::kPutJson;
  must(!is_json || !format::check_json(op.value).has_value(), "the document");
  Batch batch;
  kvctl::add_to(batch, op);
  must(batch.size() == 1 && batch[0].key == op.key && batch[0].value == op.value && batch[0].kind == op.kind,
       "the batch");
  if (op.kind == Operation::Kind::kDel || (is_json && op.value.find('\n') != std::string_view::npos)) return;
  static const Pools pools;  // one input after another
  JsonWriter json(pools);
  JsonObject object(json);
  object.bytes("key", op.key).value(op.value, is_json);
  if (op.options.expires_us != 0) object.number("expires", op.options.expires_us);
  object.end();
  const Result<PooledText> line = json.take();
  must(line.ok(), "writing it");
  kvctl::OperationParser parser;
  Operation again;
  const Problem problem = parser.parse_entry(line->view(), again);
  must(!problem.has_value(), problem.value_or(""));
  must(again.key == op.key && again.value == op.value && again.kind == op.kind &&
           again.options.expires_us == op.options.expires_us,
       "export and import agree");
}

void import_lines(kvctl::LineReader& lines, bool is_batch_file) {
  kvctl::OperationParser parser;
  std::vector<Operation> operations;
  uint64_t number = 0;
  for (;;) {
    const Result<std::optional<std::string_view>> line = lines.next();
    if (!line.ok() || !line->has_value()) break;
    must(lines.line_number() == ++number, "lines are counted");
    bool is_batch = false;
    Operation operation;
    const Problem problem =
        is_batch_file ? parser.parse_command(**line, operations, is_batch) : parser.parse_entry(**line, operation);
    must(!problem.has_value() || !problem->empty(), "a problem is a sentence");
    if (problem.has_value()) continue;  // the command stops here; the next line may be worse
    if (!is_batch_file) check_operation(operation);
    if (is_batch_file) std::for_each(operations.begin(), operations.end(), check_operation);
  }
}

void import_table(kvctl::LineReader& lines, kvctl::TableReader::Kind kind) {
  kvctl::TableReader table(lines, kind);
  Operation operation;
  for (kvctl::TableReader::Row row = table.read_header(); !row.at_end; row = table.next(operation)) {
    if (!row.status.ok() || row.problem.has_value()) return;
    if (row.has_entry) check_operation(operation);
  }
}

}  // namespace

void fuzz_import(const uint8_t* data, size_t size) {
  if (size == 0) return;
  const int file = ::memfd_create("import", 0);
  must(file >= 0 && ::write(file, data + 1, size - 1) == static_cast<ssize_t>(size - 1), "a file in memory");
  {
    kvctl::Messages messages;
    Result<kvctl::Input> input = kvctl::Input::open("/proc/self/fd/" + std::to_string(file), messages);
    must(input.ok(), "opening it");
    kvctl::LineReader lines(*input, kLineBytesMax);
    switch (data[0]) {
      case 'c':
        import_table(lines, kvctl::TableReader::Kind::kCsv);
        break;
      case 't':
        import_table(lines, kvctl::TableReader::Kind::kTsv);
        break;
      default:
        import_lines(lines, data[0] == 'b');
    }
  }
  ::close(file);
}

}  // namespace kvstore::testing

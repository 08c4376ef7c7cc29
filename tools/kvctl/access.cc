#include "tools/kvctl/access.h"

#include <fmt/format.h>

#include "kvstore/inspect.h"
#include "tools/kvctl/input.h"
#include "tools/kvctl/progress.h"
#include "tools/kvctl/text.h"

namespace kvctl {

using kvstore::Result;
using kvstore::Store;

Result<Store> open_for_reading(const std::string& dir, Stdio& io) {
  ProgressLine progress(io.err);
  kvstore::Options options;
  options.read_only = true;
  options.on_progress = progress.callback();
  return Store::open(dir, std::move(options));
}

Result<Store> open_for_writing(const std::string& dir, IfMissing if_missing, Stdio& io) {
  const bool is_new = kvstore::info(dir).status().code() == kvstore::Code::kNotAStore;
  ProgressLine progress(io.err);
  kvstore::Options options;
  options.create_if_missing = if_missing == IfMissing::kCreate;
  options.on_progress = progress.callback();
  Result<Store> store = Store::open(dir, std::move(options));
  progress.clear();
  if (!store.ok()) return store;

  catch_interrupts();
  if (is_new) io.err.note(fmt::format("{} is a new store", dir));
  for (const kvstore::CutReport& cut : store->recovery().cuts) {
    io.err.note(fmt::format("{}:{} (byte {}): {} cut off: {}; kept as {}", cut.file, cut.line, cut.offset,
                            count_of(cut.bytes, "byte"), cut.reason, cut.kept_as));
  }
  return store;
}

}  // namespace kvctl

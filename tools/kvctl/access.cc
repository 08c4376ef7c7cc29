#include "tools/kvctl/access.h"

#include <fmt/format.h>

#include <cerrno>
#include <filesystem>
#include <functional>
#include <memory>
#include <system_error>
#include <utility>

#include "kvstore/inspect.h"
#include "tools/kvctl/interrupt.h"
#include "tools/kvctl/json_object.h"
#include "tools/kvctl/progress.h"
#include "tools/kvctl/text.h"

namespace kvctl {

using kvstore::Result;
using kvstore::Store;

namespace {

// For the store to keep: it reports while it opens, compacts and backs up.
std::function<void(const kvstore::Progress&)> progress_on(Messages& err) {
  return [line = std::make_shared<ProgressLine>(err)](const kvstore::Progress& progress) {
    if (progress.done_bytes < progress.total_bytes) {
      line->update(progress.step, progress.done_bytes, progress.total_bytes);
    } else {
      line->clear();
    }
  };
}

// Whether no store was made because `dir`, or what it should lie in, is a file.
bool has_file_in_the_way(const kvstore::Status& status, const std::string& dir) {
  std::error_code error;
  return status.sys_errno() == ENOTDIR || (status.sys_errno() == EEXIST && std::filesystem::exists(dir, error));
}

}  // namespace

Result<Store> open_for_reading(const std::string& dir, Stdio& io) {
  kvstore::Options options;
  options.read_only = true;
  options.on_progress = progress_on(io.err);
  return Store::open(dir, std::move(options));
}

Result<Store> open_for_writing(const std::string& dir, IfMissing if_missing, Stdio& io) {
  const kvstore::Status look = kvstore::info(dir).status();
  const bool is_new = look.code() == kvstore::Code::kNotAStore;
  kvstore::Options options;
  options.create_if_missing = if_missing == IfMissing::kCreate;
  options.compact_at_percent = 0;  // how much history the store keeps is its owner's choice, and unknown here
  // A mapped log is filled some megabytes ahead of its writes. That pays for programs that run for long; here it would
  // take the room of the snapshot that `kvctl compact` is called for. And there are file systems that map nothing.
  options.log_io = kvstore::LogIo::kWrite;
  options.on_progress = progress_on(io.err);
  Result<Store> store = Store::open(dir, std::move(options));
  if (!store.ok()) {
    // Why there is no store, in the words of those who only read.
    const bool says_why =
        store.status().code() == kvstore::Code::kNotAStore || has_file_in_the_way(store.status(), dir);
    return is_new && says_why ? Result<Store>(look) : std::move(store);
  }

  catch_interrupts();
  if (is_new) io.err.note(fmt::format("{} is a new store", dir));
  for (const kvstore::CutReport& cut : store->recovery().cuts) {
    io.err.note(fmt::format("{}:{} (byte {}): {} cut off: {}; kept as {}", cut.file, cut.line, cut.offset,
                            count_of(cut.bytes, "byte"), cut.reason, cut.kept_as));
  }
  return store;
}

Outcome finish_write(kvstore::Store& store, Format format, Stdio& io) {
  io.done = "the change is made";
  if (format == Format::kJson) {  // we own the store, so the newest write is ours
    print_object(io.out, [&](JsonObject& object) { object.number("version", store.last_seq()); });
  }
  return store.close();
}

std::string look_at(const std::string& dir, const std::string& key) {
  return fmt::format("kvctl get {} -o json {}", path_argument(dir), key_argument(key));
}

}  // namespace kvctl

// Opening and closing. For writing, in this order:
//   create the directory -> take LOCK and note ourselves in it -> walk and replay the log -> own its last segment
//   -> remove leftovers, keep and cut a torn tail, settle and sync the log -> append
// Read-only: walk and replay, nothing else.
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <thread>
#include <utility>

#include "kvstore/base/assert.h"
#include "kvstore/base/error.h"
#include "kvstore/engine/advice.h"
#include "kvstore/engine/engine.h"
#include "kvstore/engine/random_seed.h"
#include "kvstore/engine/recover.h"
#include "kvstore/engine/replay.h"
#include "kvstore/wal/file_names.h"
#include "kvstore/wal/log_walk.h"

namespace kvstore::engine {

using base::error;

namespace {

constexpr uint64_t kSegmentBytesMin = 4096;
constexpr int kEnterAttemptsMax = 10;  // no bystander removes the directory so often; what does is trouble to report
constexpr std::chrono::seconds kKeepHistoryMax = std::chrono::hours(24 * 365 * 1000);
// What the log can spell, in the year 2255; less a thousand years of whatever is added to it would not fit int64_t either.
constexpr int64_t kClockMax = static_cast<int64_t>(format::kIntegerMax);
constexpr unsigned kReplayThreadsMax = 256;
constexpr uint64_t kMaxMemoryMin = uint64_t{8} << 20;  // four of the table's chunks

Status check_options(const Options& options) {
  if (options.segment_bytes < kSegmentBytesMin) {
    return error(Code::kInvalidArgument, "options: segment_bytes is {}, it must be at least {}", options.segment_bytes,
                 kSegmentBytesMin);
  }
  if (options.max_memory != 0 && options.max_memory < kMaxMemoryMin) {
    return error(Code::kInvalidArgument, "options: max_memory is {}, it must be 0 or at least {}", options.max_memory,
                 kMaxMemoryMin);
  }
  if (options.keep_history_for < std::chrono::seconds(0) || options.keep_history_for > kKeepHistoryMax) {
    return {Code::kInvalidArgument, "options: keep_history_for must be between nothing and a thousand years"};
  }
  if (options.sync_interval.count() < 0) return {Code::kInvalidArgument, "options: sync_interval is negative"};
  return {};
}

std::filesystem::path absolute_of(const std::filesystem::path& path) {
  std::error_code error;
  std::filesystem::path absolute = std::filesystem::absolute(path, error);
  return error ? std::filesystem::path() : absolute;
}

}  // namespace

Engine::Engine(env::Env& env, std::string dir, Options options)
    : env_(env),
      dir_(std::move(dir)),
      path_(dir_),
      opened_at_(absolute_of(path_)),
      options_(std::move(options)),
      log_(make_logger(options_.log_sink)),
      table_(random_seed()),
      pools_({.bytes_max = options_.pool_bytes_max,
              .giant_bytes = options_.pool_giant_bytes,
              .wipe = options_.wipe_buffers}),
      has_limits_(options_.max_memory != 0 || options_.max_entries != 0) {
  if (has_limits_ && options_.when_full == WhenFull::kEvict) table_.track_use();
}

Engine::~Engine() { (void)close().ok(); }

// NOLINTNEXTLINE(performance-unnecessary-value-param): by value all the way from Store::open(), and copied here only
Result<std::unique_ptr<Engine>> Engine::open(env::Env& env, std::string dir, Options options) {
  if (Status s = check_options(options); !s.ok()) return s;
  while (dir.size() > 1 && dir.back() == '/') dir.pop_back();
  if (dir.empty()) return Status(Code::kInvalidArgument, "open: the store's directory has no name");
  if (dir.find('\0') != std::string::npos)  // for the system the path would end there
    return Status(Code::kInvalidArgument, "open: there is a NUL in the directory's name");
  wal::WalkAttempts attempts;
  for (;;) {
    Result<std::unique_ptr<Engine>> engine = try_open(env, dir, options);
    // Read-only, beside a writer whose compaction was faster than our reading: its snapshot is there now.
    if (engine.ok() || engine.status().code() != Code::kCompacted) return engine;
    if (!attempts.may_begin_anew()) return attempts.outrun(dir);
  }
}

Result<std::unique_ptr<Engine>> Engine::try_open(env::Env& env, const std::string& dir, const Options& options) {
  return base::guarded("open", [&]() -> Result<std::unique_ptr<Engine>> {
    std::unique_ptr<Engine> engine(new Engine(env, dir, options));
    if (Status s = base::guarded("open", [&] { return engine->start(); }); !s.ok()) {
      // As if we had not been there.
      if (engine->owner_.pid != 0 && engine->writer_ == nullptr) {
        (void)base::guarded([&] { return wal::write_owner(engine->lock_->file(), engine->previous_owner_); }).ok();
      }
      // But the next opening will not find what this one has cut.
      for (const CutReport& cut : engine->recovery_.cuts) {
        if (cut.kept_as.empty()) continue;
        s = std::move(s).with(
            fmt::format("{} bytes to be cut off at {}:{} are kept as {}, and then this opening failed", cut.bytes,
                        cut.file, cut.line, cut.kept_as));
      }
      engine->log_->error("open: {}", s.message());
      return s;
    }
    return engine;
  });
}

// Holds the store's directory, or makes and holds it: true. What somebody puts in its place from now on is not touched.
Result<bool> Engine::enter_directory() {
  const auto look = [this]() -> Result<std::vector<std::string>> {
    if (Status s = env_.hold_dir(dir_); !s.ok()) return s;
    return env_.list(dir_);
  };
  Result<std::vector<std::string>> names = look();
  if (!names.ok()) {
    const int why = names.status().sys_errno();
    if (why != ENOENT && why != ENOTDIR) return std::move(names).status();
    if (!options_.create_if_missing) return error(Code::kNotAStore, "{}: no store here", dir_).at(dir_);
    Status s = env_.create_dir(dir_);
    if (s.ok()) s = env_.hold_dir(dir_);
    if (!s.ok()) return std::move(s).with("create the store");
    return true;
  }
  if (!options_.create_if_missing) {
    const bool is_store = std::any_of(names->begin(), names->end(), [](const std::string& name) {
      return name == wal::kLockName || wal::parse_segment_name(name) || wal::parse_snapshot_name(name);
    });
    if (!is_store) return error(Code::kNotAStore, "{}: no store here", dir_).at(dir_);
  }
  return false;
}

Result<std::unique_ptr<env::FileLock>> Engine::lock_directory(bool& makes_directory) {
  for (int attempt = 0; attempt < kEnterAttemptsMax; ++attempt) {
    Result<bool> makes = enter_directory();
    if (!makes.ok()) return std::move(makes).status();
    makes_directory = makes_directory || *makes;
    Result<std::unique_ptr<env::FileLock>> lock = env_.lock(wal::join_path(dir_, wal::kLockName));
    if (lock.ok() || lock.status().code() == Code::kLocked) return lock;
    if (lock.status().sys_errno() != ENOENT) return std::move(lock).status().with("take the lock");
  }
  return error(Code::kIoError,
               "{}: another program removes the directory whenever it is made. try: stop that, and open again", dir_)
      .at(dir_);
}

Status Engine::take_lock() {
  KV_ASSERT(lock_ == nullptr);
  const std::string path = wal::join_path(dir_, wal::kLockName);
  bool makes_directory = false;
  Result<std::unique_ptr<env::FileLock>> lock = lock_directory(makes_directory);
  if (lock.ok()) {
    lock_ = *std::move(lock);
    if (Status s = check_nobody_appends(); !s.ok()) return s;
    Result<wal::Owner> previous = wal::read_owner(lock_->file());
    if (!previous.ok()) return std::move(previous).status().at(path);
    previous_owner_ = *std::move(previous);
    // Whoever made it: an opening that died here, the user, a copy.
    if (Status s = wal::sync_own_name(env_, dir_, makes_directory); !s.ok()) return std::move(s).with("open the store");
    // Before the replay, which may take long: whoever comes meanwhile is told our name.
    owner_ = {.store = previous_owner_.store,
              .pid = env_.pid(),
              .host = env_.host(),
              .started_us = now_us(),
              .closed_seq = previous_owner_.closed_seq};
    return wal::write_owner(lock_->file(), owner_);
  }
  if (lock.status().code() != Code::kLocked) return std::move(lock).status();
  Result<std::optional<wal::Owner>> owner = wal::read_owner(env_, dir_);
  const std::string who = owner.ok() && owner->has_value() ? describe(**owner) : "another process";
  return error(Code::kLocked, "{}: in use by {}. try: stop it, or look inside meanwhile with a read-only open", dir_,
               who)
      .at(path);
}

// We have LOCK; but somebody may have removed the one that an owner of the log has. The locks of one that was killed go one
// after the other, so it is looked for a while.
Status Engine::check_nobody_appends() {
  constexpr int kLooks = 10;
  constexpr auto kPause = std::chrono::milliseconds(10);
  for (int look = 1;; ++look) {
    Result<std::string> owned = wal::owned_log_file(env_, dir_);
    if (!owned.ok()) return std::move(owned).status();
    if (owned->empty()) return {};
    if (look == kLooks) return wal::owned_by_another(dir_, *owned);
    std::this_thread::sleep_for(kPause);
  }
}

// From before the first change to it, and for good: between a look and an act somebody may remove LOCK, and another owner
// come in. Empty where the store has no segment yet.
Result<std::unique_ptr<env::File>> Engine::own_segment(const std::string& segment) {
  if (segment.empty()) return std::unique_ptr<env::File>();
  Result<std::unique_ptr<env::File>> file = env_.open(wal::join_path(dir_, segment), env::OpenMode::kReadWrite);
  if (!file.ok()) return std::move(file).status().with("open the log");
  if (!(*file)->own(true)) return wal::owned_by_another(dir_, segment);
  if (!lock_->still_named()) return wal::directory_replaced(dir_);
  return file;
}

// Reads the whole log into the table. For a writable store also cuts and settles it, and says where it goes on.
Status Engine::replay(wal::LogWriter::Place* place) {
  const auto begin = std::chrono::steady_clock::now();
  const unsigned cores = std::max(1U, std::thread::hardware_concurrency());
  Result<wal::LogWalk> walk = wal::LogWalk::open(
      env_, dir_, std::min(options_.replay_threads != 0 ? options_.replay_threads : cores, kReplayThreadsMax),
      options_.read_only ? wal::LogWalk::Start::kInstant : wal::LogWalk::Start::kState);
  if (!walk.ok()) return advise_repair(std::move(walk).status(), dir_);
  if (Status s = replay_log(env_, dir_, *walk, table_, options_.on_progress, recovery_); !s.ok()) {
    return advise_repair(std::move(s), dir_);
  }
  const wal::WalkEnd& end = walk->end();

  KV_ASSERT(end.cuts.size() <= 2);  // the rest of the last segment, and a stray next one
  KV_ASSERT(table_.published() == walk->last_seq());
  last_ts_us_ = walk->last_ts_us();  // the snapshot's `created` included
  clock_floor_us_ = last_ts_us_;     // what had expired for the last owner's writes has expired for us
  if (walk->base().has_value()) {
    compaction_.snapshot_seq = walk->base()->last_seq;
    compaction_.snapshot_bytes = walk->base()->bytes;
    compaction_.snapshot_entries = walk->base()->entries;
    learn_spelling();
  }
  if (options_.read_only) previous_owner_ = walk->owner();
  recovery_.cuts = end.cuts;
  if (options_.read_only && !end.cuts.empty() && wal::is_owned(env_, dir_)) {
    recovery_.cuts.clear();  // a record that its owner is writing right now, or what he will cut, and report
  }
  recovery_.clean_close = previous_owner_.pid == 0 && !previous_owner_.store.empty() && recovery_.cuts.empty();
  if (!recovery_.cuts.empty() && options_.recovery == RecoveryPolicy::kRefuseAnyDamage) {
    const CutReport& torn = recovery_.cuts.front();
    return error(Code::kCorruption,
                 "{}:{} (byte {}): {}. try: open with the policy kCutTornTail, which cuts these {} bytes", torn.file,
                 torn.line, torn.offset, torn.reason, torn.bytes)
        .at(torn.file, torn.offset);
  }
  if (!options_.read_only) {
    // Reading takes its time. Whoever has come meanwhile has a LOCK of his own, since ours was removed.
    if (!lock_->still_named()) return wal::directory_replaced(dir_);
    if (Status s = check_nobody_appends(); !s.ok()) return s;
    Result<std::unique_ptr<env::File>> owned = own_segment(end.segment);
    if (!owned.ok()) return std::move(owned).status();
    if (Result<size_t> removed = remove_leftovers(env_, dir_); !removed.ok()) {
      return std::move(removed).status().with("remove leftover files");
    }
    for (CutReport& cut : recovery_.cuts) {
      if (Status s = keep_torn_tail(env_, dir_, cut); !s.ok()) return s;
      log_->warn("recovery cuts {} bytes at {}:{} (byte {}): {}; kept as {}", cut.bytes, cut.file, cut.line, cut.offset,
                 cut.reason, cut.kept_as);
    }
    Result<Settled> settled = settle_log(env_, dir_, *walk);
    if (!settled.ok()) return std::move(settled).status();
    KV_ASSERT(settled->length >= end.offset);  // nothing that was accepted is cut
    KV_ASSERT(settled->segment.empty() == walk->segments().empty());
    *place = {.segment = settled->segment,
              .file = *std::move(owned),
              .offset = settled->length,
              .last_seq = walk->last_seq(),
              .sealed_bytes = recovery_.bytes - std::min(recovery_.bytes, settled->length),
              .segments = walk->segments().size()};
    if (owner_.store.empty()) {  // a new store, or LOCK was lost
      owner_.store = walk->store_uuid().empty() ? env_.new_uuid() : walk->store_uuid();
    }
  }
  recovery_.duration = std::chrono::duration_cast<std::chrono::microseconds>(std::chrono::steady_clock::now() - begin);
  log_->info("replayed {} records from {} segments in {} us, last sequence number {}", recovery_.records,
             recovery_.segments, recovery_.duration.count(), recovery_.last_seq);
  return {};
}

// The kernel finds and zeroes memory for the table on a core of its own, while one is free, during the replay and after it.
void Engine::start_memory() {
  if (options_.max_memory != 0) return;  // what is ready counts as held
  memory_ = std::make_unique<Upkeep>();
  memory_->start("kvstore-memory", [this] {
    while (!closing_ && table_.prepare_memory()) {
    }
    return std::chrono::milliseconds(std::chrono::hours(1));  // somebody will wake us
  });
  table_.on_low_memory([this] { memory_->wake(); });
}

Status Engine::start() {
  if (options_.now_us) {
    if (const int64_t now = options_.now_us(); now < 0 || now > kClockMax) {
      return error(Code::kInvalidArgument,
                   "options: now_us says {}, which is no number of microseconds between 1970 and 2255", now);
    }
  }
  start_memory();
  wal::LogWriter::Place place;
  if (!options_.read_only) {
    if (Status s = take_lock(); !s.ok()) return s;
  } else if (Status s = wal::hold_to_read(env_, dir_); !s.ok()) {
    return s;
  }
  if (Status s = replay(&place); !s.ok()) return s;
  opened_us_ = now_us();
  KV_ASSERT((lock_ == nullptr) == options_.read_only);
  KV_ASSERT(opened_us_ >= last_ts_us_);
  if (options_.read_only) {
    if (memory_ != nullptr) memory_->stop();
    count_history();
  } else {
    background_ = std::make_unique<Background>();
    KV_ASSERT(!owner_.store.empty());
    upkeep_ = std::make_unique<Upkeep>();
    Result<std::unique_ptr<wal::LogWriter>> writer =
        wal::LogWriter::open(env_,
                             {.dir = dir_,
                              .store = owner_.store,
                              .io = options_.log_io,
                              .segment_bytes = options_.segment_bytes,
                              .syncs_little = options_.durability == Durability::kSync,
                              .now_us = [this] { return now_us(); },
                              .on_low_room =
                                  [this] {
                                    background_->want_room();
                                    if (wants_compaction()) upkeep_->wake();
                                  },
                              .is_ours = [this] { return lock_->still_named(); },
                              .on_rotation = [this] { background_->want_sync(); }},
                             std::move(place));
    if (!writer.ok()) return std::move(writer).status();
    writer_ = *std::move(writer);
    KV_ASSERT(writer_->last_seq() == table_.published());
    KV_ASSERT(writer_->synced_seq() == writer_->last_seq());  // settle_log() has synced all that was replayed
    // Only now: a LOCK with a uuid says that there is a log.
    if (previous_owner_.store.empty()) {
      if (Status s = wal::write_owner(lock_->file(), owner_); !s.ok()) return s;
    }
    group_ = std::make_unique<wal::GroupSync>(*writer_);
    count_history();
    const auto on_error = [this](const Status& error, bool is_broken) {
      note_error(error);
      if (!is_broken || !options_.on_background_error) return;
      const auto tell = [&] { return options_.on_background_error(error), Status(); };
      if (Status s = base::guarded(tell); !s.ok()) log_->error("on_background_error: {}", s.message());
    };
    background_->start(*writer_, *group_, options_.sync_interval, on_error, log_);
    upkeep_->start("kvstore-upkeep", [this] { return keep_up(); });
  }
  {
    const std::lock_guard lock(commit_lock_);
    table_.limit_memory(options_.max_memory);
    opened_too_full_ = options_.max_memory != 0 && table_.stats().memory_bytes > options_.max_memory;
  }
  if (options_.on_recovery) options_.on_recovery(recovery_);
  return {};
}

Status Engine::close() {
  if (close_result_.has_value()) return *close_result_;
  closing_ = true;
  if (memory_ != nullptr) memory_->stop();
  if (upkeep_ != nullptr) upkeep_->stop();
  if (background_ != nullptr) background_->stop();
  Status result;
  {
    const std::lock_guard lock(commit_lock_);
    closed_ = true;
    KV_ASSERT(writer_ == nullptr || writer_->last_seq() == table_.published());
    if (writer_ != nullptr) result = writer_->is_broken() ? writer_->broken() : writer_->close();
  }
  if (writer_ != nullptr && result.ok()) {
    KV_ASSERT(lock_ != nullptr);
    owner_.pid = 0;
    owner_.host.clear();
    owner_.started_us = 0;
    KV_ASSERT(writer_->synced_seq() == writer_->last_seq());
    owner_.closed_seq = writer_->synced_seq();
    result = base::guarded([this] { return wal::write_owner(lock_->file(), owner_); });
  }
  if (writer_ != nullptr) writer_->disown();
  lock_.reset();
  if (!result.ok()) log_->error("close: {}", result.message());
  close_result_ = result;
  return result;
}

int64_t Engine::now_us() const {
  const int64_t floor_us = clock_floor_us_.load();
  if (options_.now_us) {
    int64_t now = clock_seen_us_.load(std::memory_order_relaxed);
    try {
      now = options_.now_us();
      clock_seen_us_.store(now, std::memory_order_relaxed);
    } catch (...) {  // by contract it throws nothing; that it stands still is the least harm
    }
    return std::clamp<int64_t>(now, floor_us, kClockMax);
  }
  const auto now = std::chrono::system_clock::now().time_since_epoch();
  return std::max<int64_t>(floor_us, std::chrono::duration_cast<std::chrono::microseconds>(now).count());
}

void Engine::check() const {
  const std::lock_guard no_compaction(compaction_.one_at_a_time);  // the upkeep thread may be at either
  const std::lock_guard lock(commit_lock_);
  table_.check();
  recent_writes_.check();
  if (const table::PinStats pins = table_.pin_stats(); pins.pins != 0) KV_ASSERT(pins.oldest_seq <= table_.published());
  KV_ASSERT(compaction_.snapshot_seq <= table_.published());
  KV_ASSERT(!compaction_.running && compaction_.done_bytes == 0);
  KV_ASSERT((writer_ == nullptr) == options_.read_only);
  KV_ASSERT((lock_ == nullptr) == (options_.read_only || closed_));
  if (writer_ != nullptr) {
    KV_ASSERT(table_.published() == writer_->last_seq());
    writer_->check();
    KV_ASSERT(vouched_ <= writer_->synced_seq());
  }
}

}  // namespace kvstore::engine

#include "kvstore/store.h"

#include <utility>

#include "kvstore/base/error.h"
#include "kvstore/base/lies_in.h"
#include "kvstore/engine/engine.h"
#include "kvstore/env/env.h"

namespace kvstore::inline v1 {

Store::Store(std::unique_ptr<engine::Engine> engine) noexcept : engine_(std::move(engine)) {}
Store::Store(Store&&) noexcept = default;
Store& Store::operator=(Store&&) noexcept = default;
Store::~Store() = default;

Result<Store> Store::open(const std::filesystem::path& dir, Options options) {
  return base::guarded([&]() -> Result<Store> {
    Result<std::unique_ptr<env::Env>> env = env::posix_env_for(dir);
    if (!env.ok()) return std::move(env).status().with("open");
    Result<std::unique_ptr<engine::Engine>> engine = engine::Engine::open(**env, dir.string(), std::move(options));
    if (!engine.ok()) return std::move(engine).status();
    (*engine)->keep(*std::move(env));
    return Store(*std::move(engine));
  });
}

Status Store::close() { return engine_->close(); }

std::optional<std::string> Store::get(std::string_view key) const noexcept { return engine_->get(key); }
std::optional<Entry> Store::get_entry(std::string_view key) const noexcept { return engine_->get_entry(key); }
bool Store::contains(std::string_view key) const noexcept { return engine_->contains(key); }
std::vector<std::optional<std::string>> Store::multi_get(std::span<const std::string_view> keys) const noexcept {
  return engine_->multi_get(keys);
}
std::optional<std::string> Store::get_field(std::string_view key, std::string_view pointer) const noexcept {
  return engine_->get_field(key, pointer);
}
Result<Snapshot> Store::snapshot() const { return engine_->snapshot(); }
Result<Scan> Store::scan(std::string_view prefix) const {
  const Result<Snapshot> now = engine_->snapshot();
  return now.ok() ? now->scan(prefix) : now.status();
}
Result<Scan> Store::scan(std::string_view from, std::string_view to) const {
  const Result<Snapshot> now = engine_->snapshot();
  return now.ok() ? now->scan(from, to) : now.status();
}

Status Store::put(std::string_view key, std::string_view value, const WriteOptions& options) {
  return engine_->put(key, value, /*is_json=*/false, options);
}
Status Store::put_json(std::string_view key, std::string_view document, const WriteOptions& options) {
  return engine_->put(key, document, /*is_json=*/true, options);
}
Result<bool> Store::del(std::string_view key, const WriteOptions& options) { return engine_->del(key, options); }
Status Store::write(const Batch& batch, const WriteOptions& options) { return engine_->write(batch, options); }
Result<int64_t> Store::increment(std::string_view key, int64_t delta, const WriteOptions& options) {
  return engine_->increment(key, delta, options);
}
Result<uint64_t> Store::erase_prefix(std::string_view prefix, const WriteOptions& options) {
  return engine_->erase_prefix(prefix, options);
}
Result<bool> Store::expire(std::string_view key, std::chrono::microseconds ttl, const WriteOptions& options) {
  return engine_->expire(key, ttl, options);
}
Result<bool> Store::persist(std::string_view key, const WriteOptions& options) {
  return engine_->persist(key, options);
}
std::optional<std::chrono::microseconds> Store::ttl(std::string_view key) const noexcept { return engine_->ttl(key); }
Result<Transaction> Store::begin() { return engine_->begin(); }
Status Store::transact_raw(Status (*fn)(void*, Transaction&), void* arg, unsigned attempts,
                           const WriteOptions& options) {
  return engine_->transact(fn, arg, attempts, options);
}
Status Store::patch(std::string_view key, std::string_view merge_patch, const WriteOptions& options) {
  return engine_->patch(key, merge_patch, options);
}
Status Store::sync() { return engine_->sync(); }

Result<CompactionReport> Store::compact() { return engine_->compact(); }
void Store::cancel_compaction() noexcept { engine_->cancel_compaction(); }
Result<BackupReport> Store::backup(const std::filesystem::path& dir) {
  return base::guarded([&]() -> Result<BackupReport> {
    if (!dir.empty() && base::lies_in(dir, engine_->opened_at())) {
      return base::error(Code::kInvalidArgument,
                         "backup: {} lies in {}, which is to stay as it is. try: a directory beside it", dir.string(),
                         path().string());
    }
    return engine_->backup(env::posix_env(), dir.string());
  });
}

const Pools& Store::pools() const noexcept { return engine_->pools(); }
size_t Store::release_idle_memory() noexcept { return engine_->release_idle_memory(); }
Stats Store::stats() const { return engine_->stats(); }
const RecoveryReport& Store::recovery() const noexcept { return engine_->recovery(); }
uint64_t Store::last_seq() const noexcept { return engine_->last_seq(); }
const std::filesystem::path& Store::path() const noexcept { return engine_->path(); }

bool Store::read_raw(std::string_view key, void (*fn)(void*, std::string_view), void* arg) const {
  return engine_->read(key, engine::Engine::Values::kAll, fn, arg);
}
bool Store::read_json_raw(std::string_view key, void (*fn)(void*, std::string_view), void* arg) const {
  return engine_->read(key, engine::Engine::Values::kJson, fn, arg);
}
Status Store::for_each_raw(void (*fn)(void*, const EntryView&), void* arg) const {
  const Result<Snapshot> now = engine_->snapshot();
  return now.ok() ? now->for_each([&](const EntryView& entry) { fn(arg, entry); }) : now.status();
}

}  // namespace kvstore::inline v1

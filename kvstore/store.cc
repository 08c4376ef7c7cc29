#include "kvstore/store.h"

#include <utility>

#include "kvstore/engine/engine.h"
#include "kvstore/env/env.h"

namespace kvstore::inline v1 {

Scan::Scan(std::unique_ptr<engine::ScanState> state) noexcept : state_(std::move(state)) {}
Scan::Scan(Scan&&) noexcept = default;
Scan& Scan::operator=(Scan&&) noexcept = default;
Scan::~Scan() = default;
size_t Scan::size() const noexcept { return state_->entries.size(); }
uint64_t Scan::seq() const noexcept { return state_->pin.seq(); }
EntryView Scan::operator[](size_t index) const noexcept { return engine::view_of(*state_->entries[index]); }

Store::Store(std::unique_ptr<engine::Engine> engine) noexcept : engine_(std::move(engine)) {}
Store::Store(Store&&) noexcept = default;
Store& Store::operator=(Store&&) noexcept = default;
Store::~Store() = default;

Result<Store> Store::open(const std::filesystem::path& dir, Options options) {
  Result<std::unique_ptr<engine::Engine>> engine =
      engine::Engine::open(env::posix_env(), dir.string(), std::move(options));
  if (!engine.ok()) return std::move(engine).status();
  return Store(*std::move(engine));
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
Result<Scan> Store::scan(std::string_view prefix) const { return engine_->scan(prefix); }

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
Status Store::sync() { return engine_->sync(); }

Stats Store::stats() const { return engine_->stats(); }
const RecoveryReport& Store::recovery() const noexcept { return engine_->recovery(); }
uint64_t Store::last_seq() const noexcept { return engine_->last_seq(); }
const std::filesystem::path& Store::path() const noexcept { return engine_->path(); }

bool Store::read_raw(std::string_view key, void (*fn)(void*, std::string_view), void* arg) const {
  return engine_->read(key, fn, arg);
}
Status Store::for_each_raw(void (*fn)(void*, const EntryView&), void* arg) const { return engine_->for_each(fn, arg); }

}  // namespace kvstore::inline v1

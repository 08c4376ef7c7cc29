#include "kvstore/json.h"

#include <fmt/format.h>

#include <algorithm>
#include <atomic>
#include <charconv>
#include <new>
#include <stdexcept>
#include <system_error>

#include "kvstore/base/error.h"
#include "kvstore/base/pool_access.h"
#include "kvstore/format/json_text.h"
#include "kvstore/format/json_walk.h"

namespace kvstore::inline v1 {

using base::BumpArena;
using base::PoolAccess;

static_assert(detail::kDocumentDepthMax == format::kJsonDepthMax);

namespace detail {
namespace {

// Neither has a destructor, so threads and the process may end in any order.
constinit thread_local BumpArena* current_arena = nullptr;
constinit std::atomic<size_t> heap_pieces{0};

// Before each piece. Eight bytes, so that the piece is aligned as the arena is.
enum class Origin : uint64_t { kArena, kHeap };
static_assert(sizeof(Origin) == BumpArena::kAlignment);

}  // namespace

void* allocate_for_document(size_t bytes) {
  const Origin origin = current_arena != nullptr ? Origin::kArena : Origin::kHeap;
  const size_t size = sizeof(Origin) + bytes;
  void* const memory = origin == Origin::kArena ? current_arena->allocate(size) : ::operator new(size);
  if (origin == Origin::kHeap) heap_pieces.fetch_add(1, std::memory_order_relaxed);
  return new (memory) Origin(origin) + 1;
}

void free_for_document(void* piece) noexcept {
  Origin* const origin = static_cast<Origin*>(piece) - 1;
  if (*origin == Origin::kArena) return;
  heap_pieces.fetch_sub(1, std::memory_order_relaxed);
  ::operator delete(origin);
}

// A piece that an edit moved in was counted before, by this thread or by one that handed it over.
bool has_heap_pieces() noexcept { return heap_pieces.load(std::memory_order_relaxed) != 0; }

void throw_no_such_member() { throw std::out_of_range("no such member"); }

DocumentMemory::DocumentMemory(const Pools& pools) noexcept {
  try {
    arena_ = PoolAccess::of(pools)->documents.lease().detach();
  } catch (const std::bad_alloc&) {  // stays empty
  }
}

DocumentMemory::~DocumentMemory() {
  if (arena_ != nullptr) const base::ArenaPool::Lease back(*arena_);
}

void* DocumentMemory::allocate(size_t bytes) noexcept {
  try {
    return arena_ != nullptr ? arena_->allocate(bytes) : nullptr;
  } catch (const std::bad_alloc&) {
    return nullptr;
  }
}

MemoryScope::MemoryScope(const DocumentMemory& memory) noexcept : outer_(std::exchange(current_arena, memory.arena_)) {}
MemoryScope::~MemoryScope() { current_arena = outer_; }

// ---- Reading --------------------------------------------------------------------------------------

namespace {

// From the walk over a text to events: escapes undone, numbers converted.
class Reader {
 public:
  Reader(const Pools& pools, JsonEvents& events) : pools_(pools), events_(events) {}

  const char* begin(bool is_object, const char* /*at*/) {
    is_object ? events_.begin_object() : events_.begin_array();
    return nullptr;
  }
  const char* end(const char* /*behind*/) { return events_.end(), nullptr; }
  const char* name(std::string_view quoted) { return events_.name(unescaped(quoted)), nullptr; }
  const char* string(std::string_view quoted) { return events_.string(unescaped(quoted)), nullptr; }
  const char* boolean(bool value) { return events_.boolean(value), nullptr; }
  const char* null() { return events_.null(), nullptr; }

  const char* number(std::string_view text) {
    const char* const end = text.data() + text.size();
    const auto converts_to = [&](auto& value) { return std::from_chars(text.data(), end, value).ec == std::errc(); };
    if (std::none_of(text.begin(), text.end(), [](char c) { return c == '.' || c == 'e' || c == 'E'; })) {
      uint64_t positive = 0;
      int64_t negative = 0;
      if (text[0] != '-' && converts_to(positive)) return events_.number_unsigned(positive), nullptr;
      if (text[0] == '-' && converts_to(negative)) return events_.number_signed(negative), nullptr;
    }
    double value = 0;
    if (!converts_to(value)) {  // it is a number, but out of range; which end of the range is not told
      if (is_large(text)) return "the number is beyond every double";
      value = text[0] == '-' ? -0.0 : 0.0;
    }
    return events_.number(value), nullptr;
  }

 private:
  std::string_view unescaped(std::string_view quoted) {
    if (quoted.find('\\') == std::string_view::npos) return quoted.substr(1, quoted.size() - 2);
    if (!has_slice_) slice_ = PoolAccess::slice(pools_, quoted.size()), has_slice_ = true;
    base::Buffer& out = PoolAccess::buffer_of(slice_);
    out.clear();
    char* const begin = out.reserve(quoted.size());
    out.commit(static_cast<size_t>(format::write_unescaped_json(begin, quoted) - begin));
    return out.view();
  }

  // Whether a number outside the range of doubles is above it rather than below: the power of ten of its first digit that
  // is not 0. Needs: there is such a digit.
  static bool is_large(std::string_view text) noexcept {
    const size_t exponent_at = std::min(text.find_first_of("eE"), text.size());
    const std::string_view digits = text.substr(0, exponent_at);
    const auto point = static_cast<int64_t>(std::min(digits.find('.'), digits.size()));
    const auto first = static_cast<int64_t>(digits.find_first_of("123456789"));
    const int64_t power = first < point ? point - first - 1 : point - first;
    std::string_view exponent = text.substr(std::min(exponent_at + 1, text.size()));
    if (exponent.starts_with('+')) exponent.remove_prefix(1);
    int64_t added = 0;
    const auto converted = std::from_chars(exponent.data(), exponent.data() + exponent.size(), added);
    if (converted.ec == std::errc::result_out_of_range) return exponent[0] != '-';
    return added > -power;
  }

  const Pools& pools_;
  JsonEvents& events_;
  PooledText slice_;
  bool has_slice_ = false;
};

Status malformed(std::string_view text, const format::JsonError& wrong) {
  return {Code::kInvalidArgument, fmt::format("no JSON document: {}", format::describe(text, wrong))};
}

}  // namespace

Status read_json(std::string_view text, const Pools& pools, JsonEvents& events) noexcept {
  try {
    Reader reader(pools, events);
    format::JsonWalker walker(text, format::skip_json_space(text, 0), reader);
    if (!walker.walk(format::kJsonDepthMax)) return malformed(text, walker.error());
    const size_t rest = format::skip_json_space(text, walker.offset());
    if (rest != text.size()) return malformed(text, {rest, format::kTextBehindJson});
    return {};
  } catch (const std::bad_alloc&) {
    return {Code::kOutOfMemory, "out of memory"};
  }
}

}  // namespace detail

// ---- Single fields --------------------------------------------------------------------------------

namespace {

std::optional<std::string> said_by(std::optional<std::string_view> value) {
  if (!value.has_value() || !value->starts_with('"')) return std::nullopt;
  std::string said(value->size(), '\0');
  said.resize(static_cast<size_t>(format::write_unescaped_json(said.data(), *value) - said.data()));
  return said;
}

}  // namespace

Result<std::optional<std::string_view>> extract_field(std::string_view text, std::string_view pointer) noexcept {
  format::JsonError wrong;
  const std::optional<std::string_view> value = format::find_json(text, pointer, &wrong);
  if (wrong.what != nullptr) return base::guarded([&] { return detail::malformed(text, wrong); });
  return value;
}

std::optional<std::string> field_string(std::string_view text, std::string_view name) noexcept {
  format::JsonError wrong;
  return said_by(format::find_json_member(text, name, &wrong));
}

std::optional<bool> field_bool(std::string_view text, std::string_view name) noexcept {
  format::JsonError wrong;
  const std::optional<std::string_view> value = format::find_json_member(text, name, &wrong);
  if (value == "true") return true;
  if (value == "false") return false;
  return std::nullopt;
}

std::optional<std::string> path_string(std::string_view text, std::string_view pointer) noexcept {
  format::JsonError wrong;
  return said_by(format::find_json(text, pointer, &wrong));
}

}  // namespace kvstore::inline v1

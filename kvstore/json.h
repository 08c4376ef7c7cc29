// JSON documents in memory that is used again and again: the one header that speaks nlohmann/json, which it includes and
// kvstore.h does not. What needs no document stands in store.h: put_json() of a text, get_field(), patch().
//
//     auto user = kvstore::get_json(store, "user:2");                       // Result<std::optional<Document>>
//     if (user.ok() && *user) std::cout << (**user)->at("name");            // nlohmann's own document type
//     kvstore::Status s = kvstore::put_json(store, "user:3", nlohmann::json{{"name", "Eve"}});
//     std::string city = kvstore::path_string(text, "/address/city").value_or("?");
//
// Verbs report: marshal, unmarshal, extract_field say what is wrong, malformed JSON with line and column. Nouns do their
// best: field_string, field_bool, path_string have no value for whatever is not as they would like it.
//
// Parsing is strict RFC 8259, at most 1,000 levels deep. Of duplicate members the last one counts. Numbers are as
// nlohmann/json has them: 64-bit integers, signed or unsigned, and doubles for all others, so more than 17 digits of those
// are lost and 1e400 is refused. A document that must keep every byte is better left a text: the store does that.
//
// No call throws. The templates here compile with -fno-exceptions, too; nlohmann's own calls are under nlohmann's rules.
#pragma once

#include <array>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <limits>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

#include "kvstore/json_object.h"
#include "kvstore/json_writer.h"
#include "kvstore/options.h"
#include "kvstore/pools.h"
#include "kvstore/status.h"
#include "kvstore/store.h"

namespace kvstore::base {
class BumpArena;
}  // namespace kvstore::base

namespace kvstore::inline v1 {

namespace detail {

// Memory for a document's parts: from the document that this thread is at work on (MemoryScope), else from the heap. Each
// piece remembers which, so that any thread may give it back. The first throws std::bad_alloc.
[[nodiscard]] void* allocate_for_document(size_t bytes);
void free_for_document(void* piece) noexcept;
// Whether any piece of any document lies on the heap now. Counted for the whole process, since a piece may move from one
// document to another without anybody being told.
[[nodiscard]] bool has_heap_pieces() noexcept;

template <typename T>
struct DocumentAllocator {
  using value_type = T;
  using is_always_equal = std::true_type;

  DocumentAllocator() = default;
  template <typename U>
  DocumentAllocator(const DocumentAllocator<U>& /*other*/) noexcept {}  // NOLINT(google-explicit-constructor)
  [[nodiscard]] T* allocate(size_t count) {
    static_assert(alignof(T) <= 8);
    constexpr size_t kBytes = sizeof(T);  // NOLINT(bugprone-sizeof-expression): T may well be a pointer
    constexpr size_t kCountMax = std::numeric_limits<size_t>::max() / 2 / kBytes;
    return static_cast<T*>(allocate_for_document(count <= kCountMax ? count * kBytes : kCountMax * kBytes));
  }
  void deallocate(T* piece, size_t /*count*/) noexcept { free_for_document(piece); }
  friend bool operator==(DocumentAllocator, DocumentAllocator) noexcept { return true; }
};

// A lease of one document's memory.
class DocumentMemory {
 public:
  DocumentMemory() = default;
  explicit DocumentMemory(const Pools& pools) noexcept;  // empty when memory has run out
  DocumentMemory(DocumentMemory&& other) noexcept : arena_(std::exchange(other.arena_, nullptr)) {}
  DocumentMemory& operator=(DocumentMemory&& other) noexcept {
    DocumentMemory taken(std::move(other));
    std::swap(arena_, taken.arena_);
    return *this;
  }
  ~DocumentMemory();
  [[nodiscard]] void* allocate(size_t bytes) noexcept;  // nullptr: empty, or no memory

 private:
  friend class MemoryScope;
  base::BumpArena* arena_ = nullptr;
};

// While it lives, what this thread allocates for documents comes from `memory`.
class MemoryScope {
 public:
  explicit MemoryScope(const DocumentMemory& memory) noexcept;
  ~MemoryScope();
  MemoryScope(const MemoryScope&) = delete;
  MemoryScope& operator=(const MemoryScope&) = delete;

 private:
  base::BumpArena* outer_;
};

// What read_json() meets, in the text's order. Names and strings are unescaped; the views die with the call.
class JsonEvents {
 public:
  virtual ~JsonEvents() = default;
  virtual void begin_object() = 0;
  virtual void begin_array() = 0;
  virtual void end() = 0;
  virtual void name(std::string_view name) = 0;
  virtual void string(std::string_view value) = 0;
  virtual void number_signed(int64_t value) = 0;
  virtual void number_unsigned(uint64_t value) = 0;
  virtual void number(double value) = 0;
  virtual void boolean(bool value) = 0;
  virtual void null() = 0;
};
inline constexpr size_t kDocumentDepthMax = 1000;

// Needs: what the events do keeps no memory but a document's, since a std::bad_alloc in them ends here.
Status read_json(std::string_view text, const Pools& pools, JsonEvents& events) noexcept;

}  // namespace detail

// nlohmann::json but for its memory, its strings' type, and its objects: JsonObject instead of std::map. The order is the same
// and references to members live as long, but iterators die with the next insertion or erasure.
using PooledJson =
    nlohmann::basic_json<JsonObject, std::vector,
                         std::basic_string<char, std::char_traits<char>, detail::DocumentAllocator<char>>, bool,
                         int64_t, uint64_t, double, detail::DocumentAllocator>;

namespace detail {

// Builds a document from what is read. Needs: a MemoryScope.
class DocumentBuilder final : public JsonEvents {
 public:
  explicit DocumentBuilder(PooledJson& root) noexcept : place_(&root) {}

  void begin_object() override { begin(PooledJson::value_t::object); }
  void begin_array() override { begin(PooledJson::value_t::array); }
  void end() override { --depth_; }
  void name(std::string_view name) override {
    auto& members = *around_[depth_ - 1]->get_ptr<PooledJson::object_t*>();
    place_ = &members.try_emplace(name).first->second;  // of a name that comes twice, the place it has
    is_placed_ = true;
  }
  void string(std::string_view value) override { put(PooledJson::string_t(value)); }
  void number_signed(int64_t value) override { put(value); }
  void number_unsigned(uint64_t value) override { put(value); }
  void number(double value) override { put(value); }
  void boolean(bool value) override { put(value); }
  void null() override { put(nullptr); }

 private:
  void begin(PooledJson::value_t kind) { around_[depth_++] = &put(kind); }
  template <typename Value>
  PooledJson& put(Value&& value) {
    PooledJson& here = place();
    if (here.is_null()) return *std::construct_at(&here, std::forward<Value>(value));  // null has nothing to destroy
    return here = PooledJson(std::forward<Value>(value));
  }
  // Where the next value goes.
  PooledJson& place() {
    if (depth_ == 0 || is_placed_) {
      is_placed_ = false;
      return *place_;
    }
    return around_[depth_ - 1]->get_ptr<PooledJson::array_t*>()->emplace_back();
  }

  PooledJson* place_;
  bool is_placed_ = false;
  size_t depth_ = 0;
  std::array<PooledJson*, kDocumentDepthMax> around_;  // the objects and arrays we are in
};

}  // namespace detail

// A document whose memory is leased and given back whole: nothing in it is freed piece by piece. Move-only; may go from
// thread to thread, be used by one at a time, and end anywhere, also after the store. Not for keeping: what you want to keep,
// copy (`PooledJson mine = *document;` is on the heap, `nlohmann::json mine = *document;` too).
class Document {
 public:
  Document() = default;  // empty
  // A null, to be edited. Empty when memory has run out.
  explicit Document(const Pools& pools) noexcept : memory_(pools) {
    if (void* const place = memory_.allocate(sizeof(PooledJson))) json_ = new (place) PooledJson();
  }
  Document(Document&& other) noexcept { swap(other); }
  Document& operator=(Document&& other) noexcept {
    Document(std::move(other)).swap(*this);
    return *this;
  }
  ~Document() {
    // Destructors would only walk through memory that goes back anyway, unless an edit moved something in from the heap.
    if (was_edited_ && json_ != nullptr && detail::has_heap_pieces()) json_->~PooledJson();
  }

  explicit operator bool() const noexcept { return json_ != nullptr; }
  // Need: not empty. For reading.
  [[nodiscard]] const PooledJson& operator*() const noexcept { return *json_; }
  [[nodiscard]] const PooledJson* operator->() const noexcept { return json_; }

  // Calls fn(PooledJson&) to change it. Parts that fn makes are in the document's memory: copy, do not move, what shall
  // outlive it. Needs: not empty.
  template <std::invocable<PooledJson&> Fn>
  decltype(auto) edit(Fn&& fn) {
    was_edited_ = true;
    const detail::MemoryScope scope(memory_);
    return std::invoke(std::forward<Fn>(fn), *json_);
  }

 private:
  friend Result<Document> unmarshal(std::string_view text, const Pools& pools) noexcept;
  Status read(std::string_view text, const Pools& pools) noexcept {
    const detail::MemoryScope scope(memory_);
    detail::DocumentBuilder builder(*json_);
    return detail::read_json(text, pools, builder);
  }
  void swap(Document& other) noexcept {
    std::swap(memory_, other.memory_);
    std::swap(json_, other.json_);
    std::swap(was_edited_, other.was_edited_);
  }

  detail::DocumentMemory memory_;
  PooledJson* json_ = nullptr;  // in memory_
  bool was_edited_ = false;
};

namespace detail {

template <typename Json>
concept JsonDocument = requires(const Json& document) {
  typename Json::object_t;
  typename Json::array_t;
  typename Json::string_t;
  { document.type() } -> std::same_as<typename Json::value_t>;
};

}  // namespace detail

// Any nlohmann document, as one value of `out`. Recursive; at 1,000 levels the writer fails and this returns.
template <detail::JsonDocument Json>
void write_json(JsonWriter& out, const Json& document) noexcept {
  using Kind = typename Json::value_t;
  switch (document.type()) {
    case Kind::object:
      out.begin_object();
      if (out.failed()) return;
      for (const auto& [name, value] : *document.template get_ptr<const typename Json::object_t*>()) {
        out.member({name.data(), name.size()});
        write_json(out, value);
      }
      out.end_object();
      break;
    case Kind::array:
      out.begin_array();
      if (out.failed()) return;
      for (const auto& value : *document.template get_ptr<const typename Json::array_t*>()) write_json(out, value);
      out.end_array();
      break;
    case Kind::string: {
      const auto& text = *document.template get_ptr<const typename Json::string_t*>();
      out.text({text.data(), text.size()});
      break;
    }
    case Kind::boolean:
      out.boolean(*document.template get_ptr<const typename Json::boolean_t*>());
      break;
    case Kind::number_integer:
      out.number(*document.template get_ptr<const typename Json::number_integer_t*>());
      break;
    case Kind::number_unsigned:
      out.number(*document.template get_ptr<const typename Json::number_unsigned_t*>());
      break;
    case Kind::number_float:
      out.number(*document.template get_ptr<const typename Json::number_float_t*>());
      break;
    case Kind::null:
      out.null();
      break;
    case Kind::binary:
    case Kind::discarded:
      out.fail({Code::kInvalidArgument, "a document with binary parts has no JSON text"});
  }
}

// A document's text, without white space, members in the document's order; doubles with the fewest digits that read back
// as the same. kInvalidArgument: a string is no UTF-8, more than 1,000 levels, binary parts; kOutOfMemory.
template <detail::JsonDocument Json>
Result<PooledText> marshal(const Json& document, const Pools& pools) noexcept {
  JsonWriter out(pools);
  write_json(out, document);
  return out.take();
}

// A text's document. kInvalidArgument: malformed, too deep, a number beyond every double; with line and column. kOutOfMemory.
inline Result<Document> unmarshal(std::string_view text, const Pools& pools) noexcept {
  Document document(pools);
  if (!document) return Status(Code::kOutOfMemory, "out of memory");
  if (Status status = document.read(text, pools); !status.ok()) return status;
  return Result<Document>(std::move(document));
}

// The text of the value at a JSON pointer (RFC 6901), nullopt when there is none; points into `text`, or at a constant. Reads
// as far as it must, builds nothing, allocates nothing. kInvalidArgument: malformed as far as it was read, which is all of it
// where the path leads through an object: the same member may come once more.
Result<std::optional<std::string_view>> extract_field(std::string_view text, std::string_view pointer) noexcept;
// A member of the object that `text` is, by its plain name: what it says when it is a string; when it is true or false.
std::optional<std::string> field_string(std::string_view text, std::string_view name) noexcept;
std::optional<bool> field_bool(std::string_view text, std::string_view name) noexcept;
// What the string at a JSON pointer says.
std::optional<std::string> path_string(std::string_view text, std::string_view pointer) noexcept;

// ---- with a store ---------------------------------------------------------------------------------

// The document of a key, read in place into memory of the store's pools. nullopt: the key is absent, or its value no JSON
// document. kInvalidArgument: no document can hold it (a number beyond every double); kOutOfMemory. Holds the value in place
// while it parses, as Store::read() does.
inline Result<std::optional<Document>> get_json(const Store& store, std::string_view key) noexcept {
  const Pools& pools = store.pools();
  std::optional<Result<Document>> parsed;
  store.read_json(key, [&](std::string_view text) { parsed.emplace(unmarshal(text, pools)); });
  if (!parsed.has_value()) return std::optional<Document>();
  if (!parsed->ok()) return std::move(*parsed).status().with("get_json");
  return std::optional<Document>(std::move(**parsed));
}

// As Store::put_json() of the document's text. The failures of marshal() come before those of the store.
template <detail::JsonDocument Json>
Status put_json(Store& store, std::string_view key, const Json& document, const WriteOptions& options = {}) {
  const Result<PooledText> text = marshal(document, store.pools());
  return text.ok() ? store.put_json(key, text->view(), options) : text.status();
}

// As Store::patch() with the document's text.
template <detail::JsonDocument Json>
Status patch(Store& store, std::string_view key, const Json& merge_patch, const WriteOptions& options = {}) {
  const Result<PooledText> text = marshal(merge_patch, store.pools());
  return text.ok() ? store.patch(key, text->view(), options) : text.status();
}

}  // namespace kvstore::inline v1

// JsonObject: the members of one JSON object, in the order of their names' bytes. What nlohmann::basic_json wants of its
// ObjectType, and what programs know of std::map; PooledJson (json.h) is made with it.
//
// How: each member is a piece of memory of its own, as in a map, but no tree holds them together. They stand in leaves,
// sorted, each with the first eight bytes of its name beside it, so that a search compares numbers in a row and looks at a
// name only where those are alike:
//
//     leaf:  ["active  "|*] ["born    "|*] ["city    "|*] ...        up to 512 of them
//                        |              |
//                        v              v
//               ("active", true)  ("born", 1815)                     members, which never move
//
// Most objects are one leaf that grows with them. A full one is split, and a directory of leaves is searched first, by
// halves. So whatever the order of names an insertion moves the entries of one leaf at most. A split goes through the whole
// directory besides, which it searches and shifts: n insertions make n/256 leaves at most, hence that many splits, so they
// cost n/131072 pointers for each name, eight of a million. A single sorted array would make a hostile document of a million
// names quadratic with half a million entries for each, a tree costs every small one its balancing.
//
// As in a map: references and pointers to members live until the member is erased. Unlike there: iterators die with the
// next insertion or erasure. Thread-safe as a map is: many may read, or one may write.
#pragma once

#include <algorithm>
#include <bit>
#include <compare>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <initializer_list>
#include <iterator>
#include <limits>
#include <memory>
#include <new>
#include <string_view>
#include <tuple>
#include <type_traits>
#include <utility>
#include <vector>

namespace kvstore::inline v1 {

namespace detail {

template <typename Word>
[[nodiscard]] uint64_t load_big_endian(const char* text) noexcept {
  Word word = 0;
  std::memcpy(&word, text, sizeof word);
  if constexpr (std::endian::native == std::endian::big) return word;
  if constexpr (sizeof word == 8) return __builtin_bswap64(word);
  return __builtin_bswap32(static_cast<uint32_t>(word));
}

// The first eight bytes of a name as a number, zeros where there are none: such numbers are ordered as the names are.
[[nodiscard]] inline uint64_t name_start(std::string_view name) noexcept {
  const char* const text = name.data();
  const size_t size = name.size();
  if (size >= 8) return load_big_endian<uint64_t>(text);
  if (size >= 4) {
    return load_big_endian<uint32_t>(text) << 32 | load_big_endian<uint32_t>(text + size - 4) << (64 - 8 * size);
  }
  const auto byte = [text](size_t at) { return uint64_t{static_cast<unsigned char>(text[at])} << (56 - 8 * at); };
  return size == 0 ? 0 : byte(0) | byte(size / 2) | byte(size - 1);
}

[[noreturn]] void throw_no_such_member();  // std::out_of_range, also where the caller is compiled without exceptions

}  // namespace detail

// Compare is not asked: bytes decide, as std::less does with strings.
template <typename Key, typename T, typename Compare, typename Allocator>
class JsonObject {
  static constexpr uint32_t kLeafCountMin = 8, kLeafCountMax = 512;

 public:
  using key_type = Key;
  using mapped_type = T;
  using value_type = std::pair<const Key, T>;
  using key_compare = Compare;
  using allocator_type = Allocator;
  using size_type = size_t;
  using difference_type = ptrdiff_t;
  using reference = value_type&;
  using const_reference = const value_type&;

 private:
  struct Entry {
    uint64_t start;  // of the name
    value_type* member;
  };
  struct Leaf {  // with room for `capacity` entries behind it
    Leaf* next;
    Leaf* before;
    uint32_t count;  // never 0 but in the only leaf
    uint32_t capacity;
    [[nodiscard]] Entry* entries() noexcept { return reinterpret_cast<Entry*>(this + 1); }
  };
  // Where a name stands, or would: in front of the entry `at`.
  struct Place {
    Leaf* leaf;
    uint32_t at;
    bool is_taken;
    uint64_t start;
  };
  template <bool kConst>
  class Iterator {
   public:
    using iterator_category = std::bidirectional_iterator_tag;
    using value_type = JsonObject::value_type;
    using difference_type = ptrdiff_t;
    using reference = std::conditional_t<kConst, const value_type&, value_type&>;
    using pointer = std::conditional_t<kConst, const value_type*, value_type*>;

    Iterator() = default;
    template <bool kOther>
    // NOLINTNEXTLINE(google-explicit-constructor): as every container's const_iterator
    requires(kConst && !kOther) Iterator(const Iterator<kOther>& other)
    noexcept : leaf_(other.leaf_), at_(other.at_) {}

    reference operator*() const noexcept { return *leaf_->entries()[at_].member; }
    pointer operator->() const noexcept { return leaf_->entries()[at_].member; }
    Iterator& operator++() noexcept {
      if (++at_ == leaf_->count && leaf_->next != nullptr) leaf_ = leaf_->next, at_ = 0;
      return *this;
    }
    Iterator& operator--() noexcept {
      if (at_ == 0) leaf_ = leaf_->before, at_ = leaf_->count;
      --at_;
      return *this;
    }
    Iterator operator++(int) noexcept {
      const Iterator old = *this;
      ++*this;
      return old;
    }
    Iterator operator--(int) noexcept {
      const Iterator old = *this;
      --*this;
      return old;
    }
    friend bool operator==(const Iterator&, const Iterator&) = default;

   private:
    friend class JsonObject;
    template <bool>
    friend class Iterator;
    Iterator(Leaf* leaf, uint32_t at) noexcept : leaf_(leaf), at_(at) {}
    Leaf* leaf_ = nullptr;
    uint32_t at_ = 0;  // the end is behind the last leaf's last entry
  };

 public:
  using iterator = Iterator<false>;
  using const_iterator = Iterator<true>;
  using reverse_iterator = std::reverse_iterator<iterator>;
  using const_reverse_iterator = std::reverse_iterator<const_iterator>;

  JsonObject() = default;
  template <std::input_iterator It>
  JsonObject(It first, It last) : JsonObject() {
    insert(first, last);
  }
  JsonObject(std::initializer_list<value_type> members) : JsonObject(members.begin(), members.end()) {}
  JsonObject(const JsonObject& other) : JsonObject(other.begin(), other.end()) {}
  JsonObject(JsonObject&& other) noexcept { swap(other); }
  JsonObject& operator=(const JsonObject& other) {
    JsonObject(other).swap(*this);
    return *this;
  }
  JsonObject& operator=(JsonObject&& other) noexcept {
    JsonObject(std::move(other)).swap(*this);
    return *this;
  }
  ~JsonObject() { clear(); }

  void swap(JsonObject& other) noexcept {
    std::swap(first_, other.first_);
    std::swap(last_, other.last_);
    std::swap(size_, other.size_);
    leaves_.swap(other.leaves_);
  }
  friend void swap(JsonObject& a, JsonObject& b) noexcept { a.swap(b); }

  [[nodiscard]] iterator begin() noexcept { return {first_, 0}; }
  [[nodiscard]] iterator end() noexcept { return {last_, last_ != nullptr ? last_->count : 0}; }
  [[nodiscard]] const_iterator begin() const noexcept { return {first_, 0}; }
  [[nodiscard]] const_iterator end() const noexcept { return {last_, last_ != nullptr ? last_->count : 0}; }
  [[nodiscard]] const_iterator cbegin() const noexcept { return begin(); }
  [[nodiscard]] const_iterator cend() const noexcept { return end(); }
  [[nodiscard]] reverse_iterator rbegin() noexcept { return reverse_iterator(end()); }
  [[nodiscard]] reverse_iterator rend() noexcept { return reverse_iterator(begin()); }
  [[nodiscard]] const_reverse_iterator rbegin() const noexcept { return const_reverse_iterator(end()); }
  [[nodiscard]] const_reverse_iterator rend() const noexcept { return const_reverse_iterator(begin()); }
  [[nodiscard]] const_reverse_iterator crbegin() const noexcept { return rbegin(); }
  [[nodiscard]] const_reverse_iterator crend() const noexcept { return rend(); }

  [[nodiscard]] bool empty() const noexcept { return size_ == 0; }
  [[nodiscard]] size_t size() const noexcept { return size_; }
  [[nodiscard]] size_t max_size() const noexcept { return std::numeric_limits<ptrdiff_t>::max() / sizeof(Entry); }
  [[nodiscard]] key_compare key_comp() const { return {}; }
  [[nodiscard]] allocator_type get_allocator() const noexcept { return {}; }

  void clear() noexcept {
    for (Leaf* leaf = first_; leaf != nullptr;) {
      for (uint32_t i = 0; i < leaf->count; ++i) FreeMember()(leaf->entries()[i].member);
      free_leaf(std::exchange(leaf, leaf->next));
    }
    first_ = last_ = nullptr;
    size_ = 0;
    leaves_.clear();
  }

  // ---- Looking -----------------------------------------------------------------------------------

  [[nodiscard]] iterator find(std::string_view name) noexcept { return found(name); }
  [[nodiscard]] const_iterator find(std::string_view name) const noexcept { return found(name); }
  [[nodiscard]] iterator lower_bound(std::string_view name) noexcept { return bound(name); }
  [[nodiscard]] const_iterator lower_bound(std::string_view name) const noexcept { return bound(name); }
  [[nodiscard]] bool contains(std::string_view name) const noexcept { return place_of(name).is_taken; }
  [[nodiscard]] size_t count(std::string_view name) const noexcept { return contains(name) ? 1 : 0; }
  // Throws std::out_of_range.
  [[nodiscard]] T& at(std::string_view name) {
    const Place place = place_of(name);
    if (!place.is_taken) detail::throw_no_such_member();
    return place.leaf->entries()[place.at].member->second;
  }
  [[nodiscard]] const T& at(std::string_view name) const { return const_cast<JsonObject&>(*this).at(name); }

  // ---- Changing ----------------------------------------------------------------------------------
  // What allocates throws std::bad_alloc. Of a single member nothing has changed then; of a range, as in std::map, those
  // before the one that failed are in.

  // A member that is there already stays as it is, and `value` is not looked at.
  template <typename Name, typename... Value>
  requires std::convertible_to<const Name&, std::string_view> std::pair<iterator, bool> try_emplace(Name&& name,
                                                                                                    Value&&... value) {
    Place place = place_of(name);
    if (place.is_taken) return {iterator(place.leaf, place.at), false};
    OwnedMember member = make_member(std::forward<Name>(name), std::forward<Value>(value)...);
    make_room(place);
    Entry* const here = place.leaf->entries() + place.at;
    std::memmove(static_cast<void*>(here + 1), here, (place.leaf->count - place.at) * sizeof(Entry));
    *here = {place.start, member.release()};
    ++place.leaf->count;
    ++size_;
    return {iterator(place.leaf, place.at), true};
  }
  template <typename Name, typename Value>
  requires std::convertible_to<const Name&, std::string_view> std::pair<iterator, bool> emplace(Name&& name,
                                                                                                Value&& value) {
    return try_emplace(std::forward<Name>(name), std::forward<Value>(value));
  }
  template <typename... Member>
  std::pair<iterator, bool> emplace(Member&&... member) {
    return insert(value_type(std::forward<Member>(member)...));
  }
  template <typename... Member>
  iterator emplace_hint(const_iterator /*hint*/, Member&&... member) {  // the place is found quickly without
    return emplace(std::forward<Member>(member)...).first;
  }
  std::pair<iterator, bool> insert(const value_type& member) { return try_emplace(member.first, member.second); }
  std::pair<iterator, bool> insert(value_type&& member) { return try_emplace(member.first, std::move(member.second)); }
  template <std::input_iterator It>
  void insert(It first, It last) {
    for (; first != last; ++first) {
      auto&& member = *first;
      emplace(member.first, std::forward<decltype(member)>(member).second);
    }
  }
  template <typename Name, typename Value>
  requires std::convertible_to<const Name&, std::string_view> std::pair<iterator, bool> insert_or_assign(
      Name&& name, Value&& value) {
    const auto placed = try_emplace(std::forward<Name>(name), std::forward<Value>(value));
    if (!placed.second) placed.first->second = std::forward<Value>(value);
    return placed;
  }
  template <typename Name>
  requires std::convertible_to<const Name&, std::string_view> T& operator[](Name&& name) {
    return try_emplace(std::forward<Name>(name)).first->second;
  }

  // Returns what stands behind it now.
  iterator erase(const_iterator at) noexcept {
    Leaf& leaf = *at.leaf_;
    Entry* const here = leaf.entries() + at.at_;
    FreeMember()(here->member);
    std::memmove(static_cast<void*>(here), here + 1, (leaf.count - at.at_ - 1) * sizeof(Entry));
    --leaf.count;
    --size_;
    if (leaf.count == 0 && first_ != last_) return take_out(leaf);
    return settled(&leaf, at.at_);
  }
  iterator erase(iterator at) noexcept { return erase(const_iterator(at)); }
  iterator erase(const_iterator first, const_iterator last) noexcept {
    iterator at(first.leaf_, first.at_);
    for (auto count = std::distance(first, last); count > 0; --count) at = erase(at);
    return at;
  }
  size_t erase(std::string_view name) noexcept {
    const Place place = place_of(name);
    if (place.is_taken) erase(const_iterator(place.leaf, place.at));
    return place.is_taken ? 1 : 0;
  }

  friend bool operator==(const JsonObject& a, const JsonObject& b) {
    return a.size() == b.size() && std::equal(a.begin(), a.end(), b.begin());
  }
  friend bool operator<(const JsonObject& a, const JsonObject& b) {
    return std::lexicographical_compare(a.begin(), a.end(), b.begin(), b.end());
  }
  friend std::partial_ordering operator<=>(const JsonObject& a, const JsonObject& b) {
    const auto order = [](const value_type& x, const value_type& y) -> std::partial_ordering {
      const std::partial_ordering by_name = std::string_view(x.first) <=> std::string_view(y.first);
      return std::is_neq(by_name) ? by_name : x.second <=> y.second;
    };
    return std::lexicographical_compare_three_way(a.begin(), a.end(), b.begin(), b.end(), order);
  }

 private:
  using Words = typename std::allocator_traits<Allocator>::template rebind_alloc<uint64_t>;
  struct FreeMember {
    void operator()(value_type* member) const noexcept {
      std::destroy_at(member);
      Allocator().deallocate(member, 1);
    }
  };
  using OwnedMember = std::unique_ptr<value_type, FreeMember>;

  template <typename Name, typename... Value>
  static OwnedMember make_member(Name&& name, Value&&... value) {
    const auto give_back = [](value_type* memory) { Allocator().deallocate(memory, 1); };
    std::unique_ptr<value_type, decltype(give_back)> memory(Allocator().allocate(1), give_back);
    new (static_cast<void*>(memory.get()))
        value_type(std::piecewise_construct, std::forward_as_tuple(std::forward<Name>(name)),
                   std::forward_as_tuple(std::forward<Value>(value)...));
    return OwnedMember(memory.release());
  }

  static constexpr size_t words_of(uint32_t capacity) noexcept {
    return (sizeof(Leaf) + capacity * sizeof(Entry)) / sizeof(uint64_t);
  }
  static Leaf* make_leaf(uint32_t capacity) {
    static_assert(sizeof(Leaf) % sizeof(uint64_t) == 0 && alignof(Entry) <= alignof(uint64_t));
    return new (static_cast<void*>(Words().allocate(words_of(capacity)))) Leaf{nullptr, nullptr, 0, capacity};
  }
  static void free_leaf(Leaf* leaf) noexcept {
    const size_t words = words_of(leaf->capacity);
    Words().deallocate(reinterpret_cast<uint64_t*>(leaf), words);
  }

  // Below 0: the entry's name comes before `name`, which starts with `start`; 0: it is that.
  [[nodiscard]] static int compare(const Entry& entry, uint64_t start, std::string_view name) noexcept {
    if (entry.start != start) return entry.start < start ? -1 : 1;
    const std::string_view own = entry.member->first;
    // So short they differ in zeros at most, which count: the shorter one has none.
    if (own.size() <= 8 && name.size() <= 8) return static_cast<int>(own.size()) - static_cast<int>(name.size());
    return own.compare(name);
  }

  [[nodiscard]] Place place_of(std::string_view name) const noexcept {
    const uint64_t start = detail::name_start(name);
    if (size_ == 0) return {first_, 0, false, start};
    // Most objects get their members in order, since nlohmann/json writes them so.
    const uint32_t last = last_->count - 1;
    if (const int order = compare(last_->entries()[last], start, name); order <= 0) {
      return {last_, order == 0 ? last : last + 1, order == 0, start};
    }
    Leaf* const leaf = leaves_.empty() ? first_ : leaf_of(start, name);
    // By the numbers alone first, without a branch that depends on them.
    const Entry* at = leaf->entries();
    for (uint32_t count = leaf->count; count != 0;) {
      const uint32_t half = count / 2;
      const bool is_before = at[half].start < start;
      at = is_before ? at + half + 1 : at;
      count = is_before ? count - half - 1 : half;
    }
    const Entry* const end = leaf->entries() + leaf->count;
    if (at != end && at->start == start && compare(*at, start, name) < 0) {
      at = std::partition_point(at, end, [&](const Entry& entry) { return compare(entry, start, name) < 0; });
    }
    const bool is_taken = at != end && compare(*at, start, name) == 0;
    return {leaf, static_cast<uint32_t>(at - leaf->entries()), is_taken, start};
  }
  // The last leaf that does not begin behind `name`, or the first.
  [[nodiscard]] Leaf* leaf_of(uint64_t start, std::string_view name) const noexcept {
    const auto begins_at_or_before = [&](Leaf* leaf) { return compare(leaf->entries()[0], start, name) <= 0; };
    return std::partition_point(leaves_.begin() + 1, leaves_.end(), begins_at_or_before)[-1];
  }
  // An iterator never stands behind a leaf that another one follows.
  [[nodiscard]] static iterator settled(Leaf* leaf, uint32_t at) noexcept {
    if (leaf != nullptr && at == leaf->count && leaf->next != nullptr) return {leaf->next, 0};
    return {leaf, at};
  }
  [[nodiscard]] iterator found(std::string_view name) const noexcept {
    const Place place = place_of(name);
    return place.is_taken ? iterator(place.leaf, place.at) : const_cast<JsonObject&>(*this).end();
  }
  [[nodiscard]] iterator bound(std::string_view name) const noexcept {
    const Place place = place_of(name);
    return settled(place.leaf, place.at);
  }

  // Room for one more entry in the place's leaf; the place moves along.
  void make_room(Place& place) {
    Leaf* const leaf = place.leaf;
    if (leaf == nullptr) {
      first_ = last_ = place.leaf = make_leaf(kLeafCountMin);
    } else if (leaf->count == leaf->capacity) {
      leaf->capacity < kLeafCountMax ? grow(place) : split(place);
    }
  }
  void grow(Place& place) {  // the only leaf
    Leaf* const larger = make_leaf(std::min(2 * place.leaf->capacity, kLeafCountMax));
    larger->count = place.leaf->count;
    std::memcpy(larger->entries(), place.leaf->entries(), larger->count * sizeof(Entry));
    free_leaf(place.leaf);
    first_ = last_ = place.leaf = larger;
  }
  void split(Place& place) {
    Leaf* const left = place.leaf;
    if (leaves_.empty()) leaves_.push_back(left);
    if (leaves_.size() == leaves_.capacity())
      leaves_.reserve(2 * leaves_.size());  // from here on only a leaf is to be had
    Leaf* const right = make_leaf(kLeafCountMax);
    leaves_.insert(std::find(leaves_.begin(), leaves_.end(), left) + 1, right);
    // Names that come in order leave full leaves behind.
    const uint32_t kept = left == last_ && place.at == left->count ? left->count : left->count / 2;
    right->count = left->count - kept;
    std::memcpy(right->entries(), left->entries() + kept, right->count * sizeof(Entry));
    left->count = kept;
    right->before = left;
    right->next = std::exchange(left->next, right);
    (right->next != nullptr ? right->next->before : last_) = right;
    if (place.at > kept || right->count == 0) place.leaf = right, place.at -= kept;
  }
  // An empty leaf among others. Returns what is behind it.
  iterator take_out(Leaf& leaf) noexcept {
    leaves_.erase(std::find(leaves_.begin(), leaves_.end(), &leaf));
    (leaf.before != nullptr ? leaf.before->next : first_) = leaf.next;
    (leaf.next != nullptr ? leaf.next->before : last_) = leaf.before;
    const iterator behind = leaf.next != nullptr ? iterator(leaf.next, 0) : end();
    free_leaf(&leaf);
    return behind;
  }

  Leaf* first_ = nullptr;
  Leaf* last_ = nullptr;
  size_t size_ = 0;
  // All, in order; empty as long as there has been only one.
  std::vector<Leaf*, typename std::allocator_traits<Allocator>::template rebind_alloc<Leaf*>> leaves_;
};

}  // namespace kvstore::inline v1

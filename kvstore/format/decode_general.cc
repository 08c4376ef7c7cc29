// Any spelling of any line. Every object is read in two steps: first its members are stepped over and the
// known ones noted as raw text, whatever their order; then the notes are interpreted. Nothing but the
// notes is kept, so a json value comes back as the very bytes that stand in the line.
#include <algorithm>
#include <array>
#include <bitset>
#include <optional>

#include "kvstore/format/base64.h"
#include "kvstore/format/digits.h"
#include "kvstore/format/encode.h"
#include "kvstore/format/json_string.h"
#include "kvstore/format/json_text.h"
#include "kvstore/format/readers.h"
#include "kvstore/version.h"

namespace kvstore::format {
namespace {

enum Name : size_t {
  kBy,
  kClosedSeq,
  kCrc,
  kCreated,
  kEntries,
  kExpires,
  kFirstSeq,
  kFormat,
  kHost,
  kJson,
  kKey,
  kKey64,
  kKvstore,
  kLastSeq,
  kNext,
  kOp,
  kOps,
  kPid,
  kSeq,
  kStarted,
  kStore,
  kSynced,
  kTs,
  kValue,
  kValue64,
  kWhole,
  kNameCount
};
constexpr std::array<std::string_view, kNameCount> kNames = {
    "by",   "closed_seq", "crc",   "created", "entries",  "expires", "first_seq", "format", "host",
    "json", "key",        "key64", "kvstore", "last_seq", "next",    "op",        "ops",    "pid",
    "seq",  "started",    "store", "synced",  "ts",       "value",   "value64",   "whole"};
static_assert(std::ranges::is_sorted(kNames));

// The raw text of an object's known members; a member that is absent has a null view.
using Members = std::array<std::string_view, kNameCount>;

// Thrown nowhere: an error is noted once and handed up as false.
class GeneralReader {
 public:
  GeneralReader(std::string_view text, std::vector<Op>* ops, base::Scratch* scratch, Problem* problem)
      : text_(text), ops_(ops), scratch_(scratch), problem_(problem) {}

  LineKind read(Line* line) {
    Members members;
    size_t at = skip_json_space(text_, 0);
    if (!read_members(&at, &members)) return LineKind::kMalformed;
    if (at != text_.size()) return malformed(at, "text behind the object");
    const bool understood =
        members[kKvstore].data() != nullptr ? read_special(members, line) : read_record(members, line);
    if (!understood) return LineKind::kMalformed;
    return newer_ ? LineKind::kUnknownOp : line->kind;
  }

 private:
  // ---- errors ----------------------------------------------------------------------------------

  LineKind malformed(size_t offset, std::string_view what, std::string_view subject = {}) {
    fail(offset, what, subject);
    return LineKind::kMalformed;
  }
  bool fail(size_t offset, std::string_view what, std::string_view subject = {}) {
    *problem_ = {offset, what, subject, false};
    return false;
  }
  bool fail(std::string_view where, std::string_view what) { return fail(offset_of(where), what); }
  bool fail(const Members& members, std::string_view what, Name name) {
    const std::string_view where = has(members, name) ? members[name] : members[kOp];
    *problem_ = {where.data() != nullptr ? offset_of(where) : 0, what, kNames[name], true};
    return false;
  }
  // Well-formed, but beyond this version. The first such place is the one reported.
  bool newer(std::string_view where, std::string_view what) {
    if (!newer_) *problem_ = {offset_of(where), what, where, false};
    newer_ = true;
    return true;
  }
  size_t offset_of(std::string_view part) const { return static_cast<size_t>(part.data() - text_.data()); }

  // ---- objects ---------------------------------------------------------------------------------

  // At `*at`: an object. Notes its known members, steps over the others, refuses duplicates of either.
  bool read_members(size_t* at, Members* members) {
    const size_t first_unknown = unknown_.size();
    if (*at == text_.size() || text_[*at] != '{') return fail(*at, "expected an object");
    *at = skip_json_space(text_, *at + 1);
    bool more = *at == text_.size() || text_[*at] != '}';
    if (!more) ++*at;
    while (more) {
      if (!read_member(at, members)) return false;
      *at = skip_json_space(text_, *at);
      if (*at == text_.size() || (text_[*at] != ',' && text_[*at] != '}')) return fail(*at, "expected ',' or '}'");
      more = text_[*at] == ',';
      ++*at;
      if (more) *at = skip_json_space(text_, *at);
    }
    return check_unknown_names(first_unknown);
  }

  bool read_member(size_t* at, Members* members) {
    const size_t name_begin = *at;
    if (name_begin == text_.size() || text_[name_begin] != '"')
      return fail(name_begin, "expected a member name in quotes");
    if (!skip_value(at)) return false;
    const std::string_view quoted = text_.substr(name_begin, *at - name_begin);
    *at = skip_json_space(text_, *at);
    if (*at == text_.size() || text_[*at] != ':') return fail(*at, "expected ':'");
    *at = skip_json_space(text_, *at + 1);
    const size_t value_begin = *at;
    const std::string_view name = unescape_json(quoted, *scratch_);
    const auto* const known = std::ranges::lower_bound(kNames, name);
    const bool is_known = known != kNames.end() && *known == name;
    // The values in "ops" may each be as deep as any, inside the array and the operation.
    if (!skip_value(at, kJsonDepthMax + (name == kNames[kOps] ? 2 : 0))) return false;
    if (!is_known) {
      unknown_.push_back({name, quoted});
      return true;
    }
    std::string_view& noted = (*members)[static_cast<size_t>(known - kNames.begin())];
    if (noted.data() != nullptr) return fail(name_begin, "duplicate member", quoted);
    noted = text_.substr(value_begin, *at - value_begin);
    return true;
  }

  bool skip_value(size_t* at, size_t depth_max = kJsonDepthMax) {
    JsonError error;
    const std::optional<size_t> end = skip_json_value(text_, *at, &error, depth_max);
    if (!end) return fail(error.offset, error.what);
    *at = *end;
    return true;
  }

  // Duplicates among the names noted since `first`, by sorting: a line may have millions of them.
  bool check_unknown_names(size_t first) {
    const auto begin = unknown_.begin() + static_cast<ptrdiff_t>(first);
    std::sort(begin, unknown_.end(), [](const Unknown& a, const Unknown& b) {
      return a.name != b.name ? a.name < b.name : a.quoted.data() < b.quoted.data();
    });
    const auto twin = std::adjacent_find(begin, unknown_.end(), [](auto& a, auto& b) { return a.name == b.name; });
    if (twin != unknown_.end()) return fail(offset_of((twin + 1)->quoted), "duplicate member", (twin + 1)->quoted);
    unknown_.erase(begin, unknown_.end());
    return true;
  }

  // ---- single values ---------------------------------------------------------------------------

  bool read_integer(const Members& members, Name name, uint64_t* value) {
    const std::string_view raw = members[name];
    if (raw.data() == nullptr) return fail(members, "missing member", name);
    *value = 0;
    for (const char c : raw) {
      if (c < '0' || c > '9') return fail(raw, "expected a whole number, without sign, fraction or exponent");
      *value = *value * 10 + static_cast<uint64_t>(c - '0');
      if (*value > kIntegerMax) return fail(raw, "number above 9007199254740991");
    }
    return true;  // JSON itself forbids leading zeros
  }
  template <typename Signed>
  bool read_integer(const Members& members, Name name, Signed* value) {
    uint64_t wide = 0;
    if (!read_integer(members, name, &wide)) return false;
    *value = static_cast<Signed>(wide);
    return true;
  }

  bool read_string(const Members& members, Name name, std::string_view* value) {
    const std::string_view raw = members[name];
    if (raw.data() == nullptr) return fail(members, "missing member", name);
    if (raw[0] != '"') return fail(raw, "expected a string");
    *value = unescape_json(raw, *scratch_);
    return true;
  }

  bool read_base64_string(const Members& members, Name name, std::string_view* value) {
    std::string_view text;
    if (!read_string(members, name, &text)) return false;
    const std::optional<size_t> size = base64_decoded_size(text);
    if (size) {
      char* const out = scratch_->allocate(*size);
      if (read_base64(out, text)) {
        *value = {out, *size};
        return true;
      }
    }
    return fail(members[name], "not base64 with padding (RFC 4648)");
  }

  // ---- records ---------------------------------------------------------------------------------

  bool read_record(const Members& members, Line* line) {
    line->kind = is_entry(members) ? LineKind::kEntry : LineKind::kRecord;
    if (!read_integer(members, kSeq, &line->stamp.seq)) return false;
    if (line->kind == LineKind::kRecord && !read_integer(members, kTs, &line->stamp.ts_us)) return false;
    if (line->stamp.seq == 0) return fail(members, "a sequence number of 0 in", kSeq);
    if (has(members, kSynced)) {
      if (!read_integer(members, kSynced, &line->stamp.synced)) return false;
      if (line->stamp.synced >= line->stamp.seq)
        return fail(members, "a voucher for this record or a later one in", kSynced);
    }
    if (has(members, kBy) && !read_string(members, kBy, &line->by)) return false;
    std::string_view op;
    if (!read_string(members, kOp, &op)) return false;
    if (op != "batch") return read_op(members, op);
    line->is_batch = true;
    for (const Name name : {kKey, kKey64, kValue, kValue64, kJson, kExpires}) {
      if (has(members, name)) return fail(members, "a batch with a member", name);
    }
    return read_ops(members);
  }

  // Only a put can do without a time, and then nothing else that belongs to a commit may be there. All other lines
  // without one are records that lack it.
  static bool is_entry(const Members& members) {
    const std::string_view op = members[kOp];
    return !has(members, kTs) && !has(members, kSynced) && !has(members, kBy) && op.starts_with('"') &&
           json_string_says(op, "put");
  }

  bool read_ops(const Members& members) {
    const std::string_view raw = members[kOps];
    if (raw.data() == nullptr) return fail(members, "missing member", kOps);
    if (raw[0] != '[') return fail(raw, "expected an array");
    size_t at = skip_json_space(text_, offset_of(raw) + 1);
    while (text_[at] != ']') {  // ends: the array has been stepped over before
      Members op_members;
      const size_t begin = at;
      if (!read_members(&at, &op_members)) return false;
      std::string_view op;
      if (!has(op_members, kOp)) {
        *problem_ = {begin, "missing member", kNames[kOp], true};
        return false;
      }
      if (!read_string(op_members, kOp, &op)) return false;
      if (op == "batch") return fail(op_members[kOp], "a batch inside a batch");
      if (!read_op(op_members, op)) return false;
      at = skip_json_space(text_, at);
      if (text_[at] == ',') at = skip_json_space(text_, at + 1);
    }
    return true;
  }

  bool read_op(const Members& members, std::string_view name) {
    Op op;
    if (name == "del") {
      op.kind = Op::Kind::kDel;
    } else if (name == "evict") {
      op.kind = Op::Kind::kEvict;
    } else if (name != "put") {
      return newer(members[kOp], "unknown operation");
    }
    if (has(members, kOps)) return fail(members, "a single operation with a member", kOps);
    if (!read_key(members, &op)) return false;
    if (!op.removes()) {
      if (!read_value(members, &op)) return false;
      if (has(members, kExpires) && !read_integer(members, kExpires, &op.expires_us)) return false;
    } else {
      for (const Name value : {kValue, kValue64, kJson, kExpires}) {
        if (has(members, value))
          return fail(members, name == "del" ? "a del with a member" : "an evict with a member", value);
      }
    }
    ops_->push_back(op);
    return true;
  }

  bool read_key(const Members& members, Op* op) {
    if (has(members, kKey) && has(members, kKey64)) return fail(members, "a second key in", kKey64);
    const Name name = has(members, kKey64) ? kKey64 : kKey;
    if (!(name == kKey ? read_string(members, kKey, &op->key) : read_base64_string(members, kKey64, &op->key)))
      return false;
    if (op->key.empty()) return fail(members, "an empty key in", name);
    if (op->key.size() > kKeyBytesMax) return fail(members, "a key above 64 KiB in", name);
    return true;
  }

  bool read_value(const Members& members, Op* op) {
    const int count = has(members, kValue) + has(members, kValue64) + has(members, kJson);
    if (count == 0) return fail(members, "missing member", kValue);
    if (count > 1) return fail(members, "a second value in", has(members, kValue64) ? kValue64 : kJson);
    if (has(members, kJson)) {
      op->is_json = true;
      op->value = members[kJson];
    } else if (has(members, kValue)) {
      if (!read_string(members, kValue, &op->value)) return false;
    } else if (!read_base64_string(members, kValue64, &op->value)) {
      return false;
    }
    if (op->value.size() > kValueBytesMax)
      return fail(members, "a value above 64 MiB in",
                  has(members, kJson)    ? kJson
                  : has(members, kValue) ? kValue
                                         : kValue64);
    return true;
  }

  // ---- the other kinds -------------------------------------------------------------------------

  bool read_special(const Members& members, Line* line) {
    std::string_view kind;
    if (!read_string(members, kKvstore, &kind)) return false;
    if (kind == "wal") {
      line->kind = LineKind::kSegmentHeader;
      SegmentHeader& header = line->header;
      if (!read_format(members, &header.format) || newer_) return newer_;
      if (!read_store(members, &header.store) || !read_integer(members, kFirstSeq, &header.first_seq)) return false;
      if (header.first_seq == 0) return fail(members, "a sequence number of 0 in", kFirstSeq);
      return read_integer(members, kCreated, &header.created_us);
    }
    if (kind == "end") {
      line->kind = LineKind::kSegmentEnd;
      return read_integer(members, kLastSeq, &line->end.last_seq) && read_next(members, &line->end.next);
    }
    if (kind == "snapshot") {
      line->kind = LineKind::kSnapshotHeader;
      SnapshotHeader& header = line->snapshot;
      if (!read_format(members, &header.format) || newer_) return newer_;
      return read_store(members, &header.store) && read_integer(members, kLastSeq, &header.last_seq) &&
             read_integer(members, kCreated, &header.created_us);
    }
    if (kind == "snapshot_end") {
      line->kind = LineKind::kSnapshotEnd;
      SnapshotEnd& end = line->snapshot_end;
      return read_integer(members, kEntries, &end.entries) && read_integer(members, kLastSeq, &end.last_seq) &&
             read_next(members, &end.next) && read_checksum(members, kWhole, &end.whole);
    }
    if (kind == "lock") {
      line->kind = LineKind::kOwner;
      OwnerLine& owner = line->owner;
      if (!read_format(members, &owner.format) || newer_) return newer_;
      return read_string(members, kStore, &owner.store) && read_integer(members, kPid, &owner.pid) &&
             read_string(members, kHost, &owner.host) && read_integer(members, kStarted, &owner.started_us) &&
             read_integer(members, kClosedSeq, &owner.closed_seq);
    }
    return newer(members[kKvstore], "unknown kind of line");
  }

  bool read_format(const Members& members, uint32_t* format) {
    uint64_t number = 0;
    if (!read_integer(members, kFormat, &number)) return false;
    *format = static_cast<uint32_t>(std::min<uint64_t>(number, UINT32_MAX));
    return number == kFormatVersion || newer(members[kFormat], "unknown format number");
  }

  // Of a header: only LOCK may not know yet.
  bool read_store(const Members& members, std::string_view* store) {
    return read_string(members, kStore, store) && (!store->empty() || fail(members, "an empty text in", kStore));
  }

  bool read_next(const Members& members, std::string_view* name) {
    return read_string(members, kNext, name) &&
           (is_segment_name(*name) || fail(members, "no name of a segment in", kNext));
  }

  bool read_checksum(const Members& members, Name name, uint32_t* checksum) {
    std::string_view digits;
    if (!read_string(members, name, &digits)) return false;
    const std::optional<uint32_t> number = read_hex_digits(digits);
    *checksum = number.value_or(0);
    return number || fail(members, "not eight lower-case hexadecimal digits in", name);
  }

  // wal-00000000000000000001.jsonl: the name leads to a file, so nothing else gets through.
  static bool is_segment_name(std::string_view name) {
    constexpr std::string_view kPrefix = "wal-", kSuffix = ".jsonl";
    constexpr size_t kDigits = 20;
    if (name.size() != kPrefix.size() + kDigits + kSuffix.size()) return false;
    const std::string_view digits = name.substr(kPrefix.size(), kDigits);
    return name.starts_with(kPrefix) && name.ends_with(kSuffix) &&
           std::ranges::all_of(digits, [](char c) { return c >= '0' && c <= '9'; });
  }

  static bool has(const Members& members, Name name) { return members[name].data() != nullptr; }

  struct Unknown {
    std::string_view name;    // what it says
    std::string_view quoted;  // as it stands in the line
  };

  const std::string_view text_;
  std::vector<Op>* const ops_;
  base::Scratch* const scratch_;
  Problem* const problem_;
  std::vector<Unknown> unknown_;
  bool newer_ = false;
};

}  // namespace

void read_general(std::string_view text, Line* line, std::vector<Op>* ops, base::Scratch* scratch, Problem* problem) {
  const size_t op_begin = ops->size();
  *line = Line{};
  line->kind = GeneralReader(text, ops, scratch, problem).read(line);
  if (line->kind != LineKind::kRecord && line->kind != LineKind::kEntry) ops->resize(op_begin);
  line->op_begin = op_begin;
  line->op_count = ops->size() - op_begin;
}

}  // namespace kvstore::format

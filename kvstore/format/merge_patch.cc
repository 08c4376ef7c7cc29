#include "kvstore/format/merge_patch.h"

#include <cstddef>
#include <map>
#include <string_view>
#include <vector>

#include "kvstore/base/scratch.h"
#include "kvstore/format/json_text.h"

namespace kvstore::format {
namespace {

using Member = JsonMembers::Member;

bool is_object(std::string_view json) noexcept { return json.starts_with('{'); }

// What the patch says of one name.
struct Change {
  Member member;
  size_t last_in_target = 0;  // counted from 1; 0: the target has no such member
};

class Merger {
 public:
  explicit Merger(base::Buffer& out) : out_(out) {}

  // Recursive, as deep as the patch is nested: kJsonDepthMax levels at most.
  void merge(std::string_view target, std::string_view patch) {
    if (!is_object(patch)) return out_.append(patch);
    std::vector<Change> changes;
    std::map<std::string_view, size_t> index_of;  // no hash table: names may be chosen to collide
    base::Scratch names;
    for (JsonMembers members(patch); const auto member = members.next();) {
      const auto [place, is_new] = index_of.try_emplace(unescape_json(member->quoted_name, names), changes.size());
      if (is_new) changes.push_back({*member});
      changes[place->second].member.value = member->value;
    }
    const auto change_for = [&](const Member& member) -> Change* {
      lookup_.clear();
      const auto place = index_of.find(unescape_json(member.quoted_name, lookup_));
      return place == index_of.end() ? nullptr : &changes[place->second];
    };
    if (is_object(target)) {
      size_t count = 0;
      for (JsonMembers members(target); const auto member = members.next();) {
        ++count;
        if (Change* const change = change_for(*member)) change->last_in_target = count;
      }
    }

    out_.append('{');
    bool is_first = true;
    const auto begin_member = [&](std::string_view quoted_name) {
      if (!is_first) out_.append(',');
      is_first = false;
      out_.append(quoted_name);
      out_.append(':');
    };
    if (is_object(target)) {
      size_t count = 0;
      for (JsonMembers members(target); const auto member = members.next();) {
        ++count;
        const Change* const change = change_for(*member);
        if (change == nullptr) {
          begin_member(member->quoted_name);
          out_.append(member->value);
        } else if (change->last_in_target == count && change->member.value != "null") {
          begin_member(member->quoted_name);
          merge(member->value, change->member.value);
        }
      }
    }
    for (const Change& change : changes) {
      if (change.last_in_target != 0 || change.member.value == "null") continue;
      begin_member(change.member.quoted_name);
      merge({}, change.member.value);
    }
    out_.append('}');
  }

 private:
  base::Buffer& out_;
  base::Scratch lookup_;
};

}  // namespace

void merge_patch(base::Buffer& out, std::string_view target, std::string_view patch) {
  Merger(out).merge(target, patch);
}

}  // namespace kvstore::format

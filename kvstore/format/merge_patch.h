// JSON merge patch (RFC 7396) from text to text: what a patch does not name keeps its bytes, which no document type would
// do for numbers and duplicate members. Pure.
#pragma once

#include <string_view>

#include "kvstore/base/buffer.h"

namespace kvstore::format {

// Appends `target` changed by `patch`. An empty `target` stands for none. Where the patch names a member that the target has
// several times, the last one is patched, in its place, and the others go. Needs: check_json() passes for both, and no white
// space is around them. Throws std::bad_alloc. Cost: each level of nesting that target and patch have in common is
// read once more.
void merge_patch(base::Buffer& out, std::string_view target, std::string_view patch);

}  // namespace kvstore::format

// Record -> line. A line is stamp + body + seal + '\n':
//
//     {"seq":8,"ts":1763800000123456,"synced":6,"op":"put","key":"a","value":"1","crc":"xxxxxxxx"}
//     `---------------- stamp ----------------'`-------- body ------------------'`------ seal ----'
//
// The body and its checksum need no lock; the stamp is known only under the commit lock, so the two
// are made apart and their checksums joined (base/crc32c.h). Pure, thread-safe, allocates nothing but
// buffer growth.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include "kvstore/base/buffer.h"
#include "kvstore/format/record.h"

namespace kvstore::format {

inline constexpr size_t kStampBytesMax = 80;
inline constexpr size_t kSealBytes = 18;  // FORMAT.md, "The seal": ,"crc":"xxxxxxxx"}

// Appends the body of one record. One op and !as_batch: a plain record; otherwise "op":"batch" with its
// ops. Keys and values of valid UTF-8 become JSON strings with the least escaping, all else
// key64/value64 (base64 with padding). A JSON value is written as json_on_one_line() gives it, which is
// how it will come back.
// Needs: sizes within limits, `by` valid UTF-8 (empty: left out), JSON values already checked with
// format::check_json(), expires_us 0..kIntegerMax. Throws std::bad_alloc.
void encode_body(base::Buffer& out, std::span<const Op> ops, bool as_batch, std::string_view by);

// Writes `{"seq":…,"ts":…,` and, when stamp.synced is not 0, `"synced":…,`. Returns the byte count.
// Needs: room for kStampBytesMax; all three at most kIntegerMax.
[[nodiscard]] size_t encode_stamp(char* out, const Stamp& stamp) noexcept;

// Writes the seal, kSealBytes bytes, no newline.
void encode_seal(char* out, uint32_t crc) noexcept;

// Appends one line of a snapshot, seal and newline included: the live value of a key, `seq` being its version.
// Needs: `op` is a put and as encode_body() needs it; seq 1..kIntegerMax. Throws std::bad_alloc, and may leave a
// part of the line behind then.
void encode_entry(base::Buffer& out, const Op& op, Seq seq);

// Whole lines with seal and newline, for the rare kinds. A host that is no UTF-8 loses its other bytes.
// Allocate.
[[nodiscard]] std::string encode_line(const Stamp& stamp, std::span<const Op> ops, bool as_batch = false,
                                      std::string_view by = {});
[[nodiscard]] std::string encode_segment_header(const SegmentHeader& header);
[[nodiscard]] std::string encode_segment_end(const SegmentEnd& end);
[[nodiscard]] std::string encode_snapshot_header(const SnapshotHeader& header);
[[nodiscard]] std::string encode_snapshot_end(const SnapshotEnd& end);
[[nodiscard]] std::string encode_owner(const OwnerLine& owner);

}  // namespace kvstore::format

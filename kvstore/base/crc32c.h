// CRC32C (Castagnoli, polynomial 0x1EDC6F41, reflected 0x82F63B78), as in RFC 3720 appendix B.4 and
// SSE4.2. Uses the processor's instructions where it has them, a table-driven version elsewhere; both are
// tested against each other. Pure, thread-safe.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>

namespace kvstore::base {

// The checksum of `bytes`; with `crc` the checksum of (what crc covers + bytes).
[[nodiscard]] uint32_t crc32c(std::string_view bytes, uint32_t crc = 0) noexcept;

// Joining two checksums without seeing the bytes again: with shift = crc32c_shift(b.size()),
//   crc32c(a + b) == crc32c_join(crc32c(a), crc32c(b), shift).
// The shift is a factor that stands for so many zero bytes (the .cc tells which) and good for crc32c_join()
// only. Making one costs up to three multiplications and may be done ahead, outside a lock; joining costs one.
[[nodiscard]] uint32_t crc32c_shift(size_t size) noexcept;
[[nodiscard]] uint32_t crc32c_join(uint32_t crc_a, uint32_t crc_b, uint32_t shift_of_b) noexcept;

// The portable versions, for tests and for processors without the instructions.
[[nodiscard]] uint32_t crc32c_portable(std::string_view bytes, uint32_t crc = 0) noexcept;
[[nodiscard]] uint32_t crc32c_join_portable(uint32_t crc_a, uint32_t crc_b, uint32_t shift_of_b) noexcept;
[[nodiscard]] bool crc32c_is_hardware() noexcept;

}  // namespace kvstore::base

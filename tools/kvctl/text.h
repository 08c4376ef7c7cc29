// Turning bytes into text that is safe to look at, and text into what it says. Pure.
//
// Keys, values and file names come from strangers. Printed raw, an escape sequence in one could rewrite
// the screen, and a bidi control could make a line read as something it is not, so whatever kvctl lists
// goes through escape().
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace kvctl {

// Reversible: `\` becomes `\\`; newline, tab, return become \n \t \r; other ASCII controls and bytes that
// are no UTF-8 become \xNN, one byte each; C1 controls (U+0080-9F), bidi controls and line separators become
// \uNNNN. All else stays as it is.
[[nodiscard]] std::string escape(std::string_view bytes);

// The same for a finished sentence, whose backslashes stay single: safe, not reversible.
[[nodiscard]] std::string escape_message(std::string_view message);

// A JSON string with quotes, in which the same characters are escaped. Needs: valid UTF-8.
[[nodiscard]] std::string json_string(std::string_view utf8);

// The same for JSON text, which stays the same JSON: DEL, C1 controls, bidi controls and line separators, which
// can only stand in strings, become \uNNNN. Needs: valid JSON.
[[nodiscard]] std::string escape_json_text(std::string_view json);

// escape(bytes), cut to about `columns` characters and then followed by "… (1234 bytes)".
[[nodiscard]] std::string shorten(std::string_view bytes, size_t columns);

// A path as one word for a shell, for commands that we suggest: none that passes for an option, and control characters and
// the like as $'\n', so that the command works as it is read. (POSIX has that spelling since 2024, bash and zsh for long.)
[[nodiscard]] std::string path_argument(std::string_view path);

// The same for a key: as --key64 when a command line could not carry it.
[[nodiscard]] std::string key_argument(std::string_view key);

// "1 record", "2 records"; `plural` where an s does not make it.
[[nodiscard]] std::string count_of(uint64_t count, std::string_view noun, std::string_view plural = {});
// "512 B", "64.0 MiB".
[[nodiscard]] std::string human_bytes(uint64_t bytes);

// Decimal digits and nothing else, with '-' allowed in front for the signed one.
[[nodiscard]] std::optional<uint64_t> parse_uint(std::string_view text) noexcept;
[[nodiscard]] std::optional<int64_t> parse_int(std::string_view text) noexcept;

// Base64 with padding (RFC 4648), strict when reading.
[[nodiscard]] std::string to_base64(std::string_view bytes);
[[nodiscard]] std::optional<std::string> from_base64(std::string_view text);

}  // namespace kvctl

#include "tests/support/format_random.h"

#include <iterator>

namespace kvstore::testing {

uint64_t below(Rng& rng, uint64_t count) { return std::uniform_int_distribution<uint64_t>(0, count - 1)(rng); }

void append_code_point(std::string& out, uint32_t code_point) {
  const auto put = [&out](uint32_t byte) { out += static_cast<char>(byte); };
  if (code_point < 0x80) {
    put(code_point);
  } else if (code_point < 0x800) {
    put(0xc0 | code_point >> 6), put(0x80 | (code_point & 63));
  } else if (code_point < 0x10000) {
    put(0xe0 | code_point >> 12), put(0x80 | (code_point >> 6 & 63)), put(0x80 | (code_point & 63));
  } else {
    put(0xf0 | code_point >> 18), put(0x80 | (code_point >> 12 & 63)), put(0x80 | (code_point >> 6 & 63));
    put(0x80 | (code_point & 63));
  }
}

uint32_t random_code_point(Rng& rng) {
  constexpr uint32_t kRanges[][2] = {{0, 0x7f},        {0x80, 0x7ff},       {0x800, 0xd7ff},
                                     {0xe000, 0xffff}, {0x10000, 0x10ffff}, {0x2028, 0x2029}};
  const auto& range = kRanges[below(rng, std::size(kRanges))];
  return range[0] + static_cast<uint32_t>(below(rng, range[1] - range[0] + 1));
}

std::string random_bytes(Rng& rng, Texture texture, size_t size) {
  std::string out;
  while (out.size() < size) {
    switch (texture) {
      case Texture::kAscii:
        out += static_cast<char>('#' + below(rng, '[' - '#'));
        break;
      case Texture::kEscapes:
        out += "abc\"\\\n\t\r\b\f/"[below(rng, 11)];
        break;
      case Texture::kControls:
        out += static_cast<char>(below(rng, 0x80));
        break;
      case Texture::kUnicode:
        append_code_point(out, random_code_point(rng));
        break;
      case Texture::kMixed:
        if (below(rng, 30) == 0) {
          append_code_point(out, random_code_point(rng));
        } else {
          out += static_cast<char>('a' + below(rng, 26));
        }
        break;
      case Texture::kBytes:
        out += static_cast<char>(below(rng, 256));
        break;
      case Texture::kAlmostUtf8:
        append_code_point(out, 0x80 + static_cast<uint32_t>(below(rng, 0xd000)));
        break;
      case Texture::kCount:
        break;
    }
  }
  if (texture == Texture::kAlmostUtf8 && !out.empty()) {
    if (below(rng, 2) == 0) {
      out.resize(size);
    } else {
      out[below(rng, out.size())] = static_cast<char>(0x80 + below(rng, 0x80));
    }
  }
  return out;
}

size_t random_size(Rng& rng) {
  switch (below(rng, 8)) {
    case 0:
      return below(rng, 4);
    case 1:
      return 2040 + below(rng, 16);  // around the encoder's chunk
    case 2:
      return below(rng, 40) == 0 ? below(rng, 5000) : below(rng, 600);
    case 3:
    case 4: {
      const size_t at = 16 * below(rng, 9) + below(rng, 5);
      return at < 2 ? 0 : at - 2;
    }
    default:
      return below(rng, 120);
  }
}

namespace {

std::string random_json_string(Rng& rng) {
  std::string out = "\"";
  for (size_t count = below(rng, 8); count > 0; --count) {
    switch (below(rng, 5)) {
      case 0:
        out += "\\n";
        break;
      case 1:
        out += "\\u00e9";
        break;
      case 2:
        out += "\\ud83d\\ude00";
        break;
      case 3:
        append_code_point(out, 0x80 + static_cast<uint32_t>(below(rng, 0xd000)));
        break;
      default:
        out += static_cast<char>('a' + below(rng, 26));
    }
  }
  return out + "\"";
}

std::string random_space(Rng& rng) {
  return below(rng, 6) == 0 ? std::string(1 + below(rng, 2), " \t"[below(rng, 2)]) : "";
}

}  // namespace

std::string random_json(Rng& rng, int depth) {
  constexpr const char* kScalars[] = {
      "0", "-0", "1.50", "1e5", "-12.25E-3", "true", "false", "null", "12345678901234567890", "\"\""};
  const uint64_t kind = below(rng, depth > 0 ? 4 : 2);
  if (kind == 0) return kScalars[below(rng, std::size(kScalars))];
  if (kind == 1) return random_json_string(rng);
  const bool object = kind == 2;
  std::string out = object ? "{" : "[";
  out += random_space(rng);
  for (size_t count = below(rng, 5), i = 0; i < count; ++i) {
    if (i > 0) out += "," + random_space(rng);
    if (object) out += random_json_string(rng) + random_space(rng) + ":" + random_space(rng);
    out += random_json(rng, depth - 1) + random_space(rng);
  }
  return out + (object ? "}" : "]");
}

RandomRecord random_record(Rng& rng) {
  RandomRecord record;
  const auto integer = [&rng] { return below(rng, format::kIntegerMax) >> below(rng, 53); };
  const auto keep = [&record](std::string bytes) -> std::string_view {
    return record.bytes.emplace_back(std::move(bytes));
  };
  const auto texture = [&rng] { return static_cast<Texture>(below(rng, static_cast<uint64_t>(Texture::kCount))); };
  record.stamp.seq = 1 + integer();
  record.stamp.ts_us = static_cast<int64_t>(integer());
  if (below(rng, 2) == 0) record.stamp.synced = below(rng, record.stamp.seq);
  if (below(rng, 4) == 0) record.by = random_bytes(rng, Texture::kUnicode, below(rng, 30));
  record.is_batch = below(rng, 4) == 0;
  for (size_t count = record.is_batch ? below(rng, 6) : 1; count > 0; --count) {
    format::Op op;
    op.key = keep(random_bytes(rng, texture(), 1 + random_size(rng)));
    if (below(rng, 5) == 0) {
      op.kind = format::Op::Kind::kDel;
    } else {
      op.is_json = below(rng, 4) == 0;
      op.value = keep(op.is_json ? random_json(rng, 4) : random_bytes(rng, texture(), random_size(rng)));
      if (below(rng, 3) == 0) op.expires_us = static_cast<int64_t>(integer());
    }
    record.ops.push_back(op);
  }
  return record;
}

}  // namespace kvstore::testing

#include "tools/kvctl/operation.h"

#include <fmt/format.h>

#include <cstring>

#include "kvstore/format/json_text.h"
#include "kvstore/options.h"
#include "tools/kvctl/clock.h"
#include "tools/kvctl/command.h"
#include "tools/kvctl/text.h"

namespace kvctl {
namespace {

namespace format = kvstore::format;
using kvstore::base::Scratch;

constexpr int64_t kExpiresMaxUs = (int64_t{1} << 53) - 1;  // FORMAT.md: all integers stay under 2^53

struct FieldName {
  std::string_view name;
  std::optional<std::string_view> EntryFields::*field;
};
constexpr FieldName kFieldNames[] = {
    {"key", &EntryFields::key},         {"key64", &EntryFields::key64}, {"value", &EntryFields::value},
    {"value64", &EntryFields::value64}, {"json", &EntryFields::json},   {"ttl", &EntryFields::ttl},
    {"expires", &EntryFields::expires},
};

std::string_view keep(std::string_view bytes, Scratch& scratch) {
  char* copy = scratch.allocate(bytes.size());
  if (!bytes.empty()) std::memcpy(copy, bytes.data(), bytes.size());
  return {copy, bytes.size()};
}

Problem decode_base64(std::string_view name, std::string_view text, Scratch& scratch, std::string_view& out) {
  const std::optional<std::string> bytes = from_base64(text);
  if (!bytes) return fmt::format("\"{}\" is no base64", name);
  out = keep(*bytes, scratch);
  return std::nullopt;
}

Problem set_key(const EntryFields& fields, Scratch& scratch, Operation& out) {
  if (fields.key && fields.key64) return "both \"key\" and \"key64\" are given";
  if (!fields.key && !fields.key64) return "\"key\" is missing";
  if (fields.key) {
    out.key = *fields.key;
  } else if (Problem problem = decode_base64("key64", *fields.key64, scratch, out.key)) {
    return problem;
  }
  return check_key(out.key);
}

Problem set_value(const EntryFields& fields, Scratch& scratch, Operation& out) {
  const int given = fields.value.has_value() + fields.value64.has_value() + fields.json.has_value();
  if (given == 0) return "\"value\" is missing";
  if (given > 1) return "more than one of \"value\", \"value64\" and \"json\" is given";
  if (fields.json) {
    out.kind = Operation::Kind::kPutJson;
    out.value = *fields.json;
    if (const auto error = format::check_json(out.value)) {
      return fmt::format("\"json\" is no JSON: {}", format::describe(out.value, *error));
    }
  } else if (fields.value) {
    out.value = *fields.value;
  } else if (Problem problem = decode_base64("value64", *fields.value64, scratch, out.value)) {
    return problem;
  }
  if (out.value.size() > kvstore::kValueBytesMax) {
    return fmt::format("the value has {} bytes; at most {} are allowed", out.value.size(), kvstore::kValueBytesMax);
  }
  return std::nullopt;
}

Problem set_expiry(const EntryFields& fields, Operation& out) {
  if (fields.ttl && fields.expires) return "both \"ttl\" and \"expires\" are given";
  if (fields.ttl) {
    const auto ttl = parse_duration(*fields.ttl);
    if (!ttl) return fmt::format("\"ttl\" is '{}', which is no time like 90s or 7d", *fields.ttl);
    out.options.ttl = *ttl;
  }
  if (fields.expires) {
    std::optional<int64_t> expires = parse_int(*fields.expires);
    if (!expires && !parse_duration(*fields.expires)) expires = parse_time(*fields.expires, 0);
    if (!expires || *expires <= 0 || *expires > kExpiresMaxUs) {
      return fmt::format(
          "\"expires\" is '{}', which is neither microseconds since 1970 nor a time like "
          "2025-11-22T08:30:00Z",
          *fields.expires);
    }
    out.options.expires_us = *expires;
  }
  return std::nullopt;
}

}  // namespace

std::optional<std::string_view>* find_field(EntryFields& fields, std::string_view name) {
  for (const FieldName& known : kFieldNames) {
    if (known.name == name) return &(fields.*known.field);
  }
  return nullptr;
}

Problem to_operation(const EntryFields& fields, Scratch& scratch, Operation& out) {
  out = Operation();
  if (Problem problem = set_key(fields, scratch, out)) return problem;
  if (Problem problem = set_value(fields, scratch, out)) return problem;
  return set_expiry(fields, out);
}

Problem OperationParser::parse_entry(std::string_view line, Operation& out) {
  scratch_.clear();
  return parse_members(line, false, out);
}

Problem OperationParser::parse_members(std::string_view object, bool with_op, Operation& out) {
  EntryFields fields;
  std::optional<std::string_view> op;
  Problem problem = for_each_member(object, scratch_, [&](const JsonMember& member) -> Problem {
    const bool is_op = with_op && member.name == "op";
    std::optional<std::string_view>* field = is_op ? &op : find_field(fields, member.name);
    if (field == nullptr) return fmt::format("unknown member \"{}\"", member.name);
    if (field->has_value()) return fmt::format("member \"{}\" is given twice", member.name);
    if (field == &fields.json || (field == &fields.expires && !member.is_string())) {
      *field = member.value;
    } else if (member.is_string()) {
      *field = format::unescape_json(member.value, scratch_);
    } else {
      return fmt::format("\"{}\" must be a string", member.name);
    }
    return std::nullopt;
  });
  if (problem) return problem;

  if (!with_op || op == "put") return to_operation(fields, scratch_, out);
  if (!op) return "\"op\" is missing";
  if (op != "del") return fmt::format("unknown op \"{}\" (put and del are known)", *op);
  if (fields.value || fields.value64 || fields.json || fields.ttl || fields.expires) {
    return "a del has a key and nothing else";
  }
  out = Operation();
  out.kind = Operation::Kind::kDel;
  return set_key(fields, scratch_, out);
}

Problem OperationParser::parse_command(std::string_view line, std::vector<Operation>& out, bool& is_batch) {
  scratch_.clear();
  out.clear();
  std::optional<std::string_view> ops;
  size_t members = 0;
  if (Problem problem = for_each_member(line, scratch_, [&](const JsonMember& member) -> Problem {
        if (member.name == "ops") ops = member.value;
        ++members;
        return std::nullopt;
      })) {
    return problem;
  }
  is_batch = ops.has_value();
  if (!is_batch) return parse_members(line, true, out.emplace_back());

  if (members > 1) return "a line with \"ops\" has no other member";
  return for_each_element(*ops, [&](std::string_view element) -> Problem {
    if (Problem problem = parse_members(element, true, out.emplace_back())) {
      return fmt::format("operation {} of \"ops\": {}", out.size(), *problem);
    }
    return std::nullopt;
  });
}

void add_to(kvstore::Batch& batch, const Operation& operation) {
  switch (operation.kind) {
    case Operation::Kind::kPut:
      return batch.put(operation.key, operation.value, operation.options);
    case Operation::Kind::kPutJson:
      return batch.put_json(operation.key, operation.value, operation.options);
    case Operation::Kind::kDel:
      return batch.del(operation.key);
  }
}

}  // namespace kvctl

#include "tools/kvctl/table_reader.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "kvstore/options.h"
#include "tools/kvctl/text.h"

namespace kvctl {
namespace {

// A quote that is never closed would otherwise swallow the rest of the file before anybody complains.
constexpr size_t kRowBytesMax = 2 * kvstore::kValueBytesMax;

std::string_view without_return(std::string_view line) {
  if (line.ends_with('\r')) line.remove_suffix(1);
  return line;
}

}  // namespace

TableReader::Row TableReader::read_header() {
  Row row = read_row();
  if (row.problem || !row.status.ok()) return row;
  if (row.at_end) return row_line_ = 1, Row{.problem = "the header line is missing (columns: key, value, …)"};

  EntryFields fields;
  bool has_key = false;
  bool has_value = false;
  size_t begin = 0;
  for (size_t end : ends_) {
    std::string name = text_.substr(begin, end - begin);
    begin = end;
    if (find_field(fields, name) == nullptr) {
      return {.problem = fmt::format("unknown column '{}' (known: key key64 value value64 json ttl expires)", name)};
    }
    if (std::find(columns_.begin(), columns_.end(), name) != columns_.end()) {
      return {.problem = fmt::format("column '{}' is given twice", name)};
    }
    has_key = has_key || name == "key" || name == "key64";
    has_value = has_value || name == "value" || name == "value64" || name == "json";
    columns_.push_back(std::move(name));
  }
  if (!has_key) return {.problem = "the header names no column 'key'"};
  if (!has_value) return {.problem = "the header names no column 'value'"};
  return row;
}

TableReader::Row TableReader::next(Operation& out) {
  Row row = read_row();
  if (row.at_end || row.problem || !row.status.ok()) return row;
  if (ends_.size() != columns_.size()) {
    return {.problem = fmt::format("{}, but the header has {}", count_of(ends_.size(), "field"), columns_.size())};
  }

  // An empty field means "not given", but for the last choice of a value: then it is an empty value.
  EntryFields fields;
  size_t begin = 0;
  for (size_t i = 0; i < columns_.size(); ++i) {
    const std::string_view text = std::string_view(text_).substr(begin, ends_[i] - begin);
    begin = ends_[i];
    if (!text.empty()) *find_field(fields, columns_[i]) = text;
  }
  if (!fields.value && !fields.value64 && !fields.json) fields.value = std::string_view();
  scratch_.clear();
  row.problem = to_operation(fields, scratch_, out);
  row.has_entry = !row.problem;
  return row;
}

TableReader::Row TableReader::read_row() {
  for (;;) {
    kvstore::Result<std::optional<std::string_view>> line = lines_.next();
    row_line_ = lines_.line_number();
    if (!line.ok()) return {.status = line.status()};
    if (!line->has_value()) return {.at_end = true};
    const std::string_view text = **line;
    if (without_return(text).empty()) continue;
    text_.clear();
    ends_.clear();
    if (kind_ == Kind::kCsv) return split_csv(text);
    split_tsv(without_return(text));
    return {};
  }
}

void TableReader::split_tsv(std::string_view line) {
  for (;;) {
    const size_t tab = line.find('\t');
    text_ += line.substr(0, tab);
    ends_.push_back(text_.size());
    if (tab == std::string_view::npos) return;
    line.remove_prefix(tab + 1);
  }
}

TableReader::Row TableReader::split_csv(std::string_view line) {
  std::string_view rest = line;
  for (;;) {
    if (!rest.starts_with('"')) {
      rest = rest.find(',') == std::string_view::npos ? without_return(rest) : rest;
      const size_t comma = rest.find(',');
      const std::string_view field = rest.substr(0, comma);
      if (field.find('"') != std::string_view::npos) {
        return {.problem = "a quote inside a field that does not begin with one"};
      }
      text_ += field;
      ends_.push_back(text_.size());
      if (comma == std::string_view::npos) return {};
      rest.remove_prefix(comma + 1);
      continue;
    }

    rest.remove_prefix(1);
    for (;;) {
      const size_t quote = rest.find('"');
      text_ += rest.substr(0, quote);
      if (quote == std::string_view::npos) {  // the field goes on in the next line
        kvstore::Result<std::optional<std::string_view>> more = lines_.next();
        if (!more.ok()) return {.status = more.status()};
        if (!more->has_value() || text_.size() > kRowBytesMax) return {.problem = "a quoted field that never ends"};
        text_ += '\n';
        rest = **more;
        continue;
      }
      rest.remove_prefix(quote + 1);
      if (!rest.starts_with('"')) break;
      text_ += '"';
      rest.remove_prefix(1);
    }
    ends_.push_back(text_.size());
    if (without_return(rest).empty()) return {};
    if (!rest.starts_with(',')) return {.problem = "something other than a comma behind a closing quote"};
    rest.remove_prefix(1);
  }
}

}  // namespace kvctl

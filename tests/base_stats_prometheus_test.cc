// The Prometheus page, read by a parser that is stricter than Prometheus itself: HELP, then TYPE, then samples, one family
// after the other, nothing twice. https://prometheus.io/docs/instrumenting/exposition_formats/
#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <nlohmann/json.hpp>
#include <regex>
#include <set>
#include <sstream>
#include <string>
#include <utility>
#include <vector>

#include "kvstore/stats.h"

namespace kvstore {
namespace {

using Labels = std::vector<std::pair<std::string, std::string>>;

struct Sample {
  std::string name;
  Labels labels;
  std::string value;
};

struct Family {
  std::string name;
  std::string help;
  std::string type;
  std::vector<Sample> samples;
};

// name="value",… with \\ \" \n undone. False: malformed.
bool parse_labels(std::string_view text, Labels& out) {
  static const std::regex name("[a-zA-Z_][a-zA-Z0-9_]*");
  while (!text.empty()) {
    const size_t equals = text.find("=\"");
    if (equals == std::string_view::npos) return false;
    std::pair<std::string, std::string> label{text.substr(0, equals), ""};
    if (!std::regex_match(label.first, name)) return false;
    size_t i = equals + 2;
    for (; i < text.size() && text[i] != '"'; ++i) {
      if (text[i] != '\\') {
        label.second += text[i];
        continue;
      }
      if (++i == text.size() || (text[i] != '\\' && text[i] != '"' && text[i] != 'n')) return false;
      label.second += text[i] == 'n' ? '\n' : text[i];
    }
    if (i == text.size()) return false;
    out.push_back(std::move(label));
    text.remove_prefix(i + 1);
    if (text.empty()) return true;
    if (!text.starts_with(',') || text.size() == 1) return false;
    text.remove_prefix(1);
  }
  return true;
}

// Whether a sample of this name may stand in this family.
bool belongs(const std::string& sample, const Family& family) {
  if (family.type != "histogram") return sample == family.name;
  return sample == family.name + "_bucket" || sample == family.name + "_sum" || sample == family.name + "_count";
}

std::vector<Family> parse(const std::string& page) {
  static const std::regex help("# HELP ([a-zA-Z_:][a-zA-Z0-9_:]*) (.+)");
  static const std::regex type("# TYPE ([a-zA-Z_:][a-zA-Z0-9_:]*) (counter|gauge|histogram)");
  static const std::regex sample(R"(([a-zA-Z_:][a-zA-Z0-9_:]*)(?:\{(.+)\})? ([0-9]+(?:\.[0-9]+)?))");
  std::vector<Family> families;
  std::set<std::string> names;
  std::set<std::pair<std::string, Labels>> seen;
  EXPECT_TRUE(page.ends_with('\n'));
  std::istringstream lines(page);
  for (std::string line; std::getline(lines, line);) {
    std::smatch match;
    if (std::regex_match(line, match, help)) {
      EXPECT_TRUE(families.empty() || !families.back().samples.empty()) << line;
      EXPECT_TRUE(names.insert(match[1]).second) << "twice: " << line;
      families.push_back({.name = match[1], .help = match[2], .type = "", .samples = {}});
    } else if (std::regex_match(line, match, type)) {
      EXPECT_TRUE(!families.empty() && families.back().name == match[1] && families.back().type.empty()) << line;
      families.back().type = match[2];
    } else if (std::regex_match(line, match, sample)) {
      Sample found{.name = match[1], .labels = {}, .value = match[3]};
      EXPECT_TRUE(parse_labels(match[2].str(), found.labels)) << line;
      EXPECT_TRUE(!families.empty() && !families.back().type.empty() && belongs(found.name, families.back())) << line;
      EXPECT_TRUE(seen.emplace(found.name, found.labels).second) << "twice: " << line;
      families.back().samples.push_back(std::move(found));
    } else {
      ADD_FAILURE() << "neither HELP nor TYPE nor a sample: " << line;
    }
  }
  return families;
}

const Sample* find(const std::vector<Family>& families, const std::string& name) {
  for (const Family& family : families) {
    for (const Sample& sample : family.samples) {
      if (sample.name == name) return &sample;
    }
  }
  return nullptr;
}
std::string value_of(const std::vector<Family>& families, const std::string& name) {
  const Sample* sample = find(families, name);
  return sample != nullptr ? sample->value : "absent";
}

Stats busy() {
  Stats stats;
  stats.entries = 7;
  stats.commits = 12345;
  stats.broken = true;
  stats.opened_us = 1'763'800'000'000'001;
  stats.oldest_pin_age_us = 1'500'000;
  stats.compaction_us = 20;
  stats.commit_process = {.count = 6,
                          .sum_ns = 1'000'000'300,
                          .max_ns = 200'000'000'000,
                          .buckets = {{.upto_ns = 64, .count = 1},
                                      {.upto_ns = 128, .count = 2},
                                      {.upto_ns = 144, .count = 1},
                                      {.upto_ns = uint64_t{1} << 37, .count = 2}}};
  stats.sync = {.count = 1, .sum_ns = 3'000'000, .max_ns = 3'000'000, .buckets = {{.upto_ns = 3'145'728, .count = 1}}};
  return stats;
}

TEST(StatsPrometheus, IsAWellFormedPageWithHelpAndTypeForEveryFamily) {
  const std::vector<Family> families = parse(to_prometheus(busy()));
  EXPECT_GT(families.size(), 50U);
  for (const Family& family : families) {
    EXPECT_FALSE(family.samples.empty()) << family.name;
    EXPECT_TRUE(family.help.ends_with('.')) << family.help;
  }
}

TEST(StatsPrometheus, NamesSayWhatTheFigureIs) {
  static const std::regex name("kvstore(_[a-z]+)+");
  static const std::regex other_unit(".*_(us|ms|ns|micros|millis|kib|mib|percent)(_.*)?");
  for (const Family& family : parse(to_prometheus(busy()))) {
    EXPECT_TRUE(std::regex_match(family.name, name)) << family.name;
    EXPECT_FALSE(std::regex_match(family.name, other_unit)) << family.name;
    EXPECT_EQ(family.name.ends_with("_total"), family.type == "counter") << family.name;
    EXPECT_TRUE(family.type != "histogram" || family.name.ends_with("_seconds")) << family.name;
  }
}

TEST(StatsPrometheus, TellsEveryFigureThatTheJsonHas) {
  size_t figures = 0, histograms = 0;
  const auto count = [&](const auto& self, const nlohmann::json& object) -> void {
    for (const auto& [name, value] : object.items()) {
      if (name == "read_only" || value.is_string()) continue;
      if (!value.is_object()) {
        ++figures;
      } else if (value.contains("buckets")) {
        ++histograms;
      } else {
        self(self, value);
      }
    }
  };
  count(count, nlohmann::json::parse(to_json(Stats())));
  size_t told = 0, told_histograms = 0;
  for (const Family& family : parse(to_prometheus(Stats()))) {
    if (family.type != "histogram") told += family.samples.size();
    for (const Sample& sample : family.samples) told_histograms += sample.name == family.name + "_count";
  }
  EXPECT_EQ(told, figures);
  EXPECT_EQ(told_histograms, histograms);
}

TEST(StatsPrometheus, ValuesAreInBaseUnitsAndExact) {
  const std::vector<Family> families = parse(to_prometheus(busy()));
  EXPECT_EQ(value_of(families, "kvstore_entries"), "7");
  EXPECT_EQ(value_of(families, "kvstore_commits_total"), "12345");
  EXPECT_EQ(value_of(families, "kvstore_broken"), "1");
  EXPECT_EQ(value_of(families, "kvstore_opened_timestamp_seconds"), "1763800000.000001");
  EXPECT_EQ(value_of(families, "kvstore_oldest_pin_age_seconds"), "1.5");
  EXPECT_EQ(value_of(families, "kvstore_compaction_last_duration_seconds"), "0.00002");
  EXPECT_EQ(value_of(families, "kvstore_log_sync_duration_seconds_sum"), "0.003");
}

TEST(StatsPrometheus, BucketsAreCumulativeAndEndInInfinityWhichIsTheCount) {
  size_t histograms = 0;
  for (const Family& family : parse(to_prometheus(busy(), {{"store", "a"}}))) {
    if (family.type != "histogram") continue;
    std::map<Labels, std::vector<std::pair<std::string, uint64_t>>> buckets;
    std::map<Labels, uint64_t> counts;
    std::set<Labels> sums;
    for (const Sample& sample : family.samples) {
      Labels others = sample.labels;
      if (sample.name.ends_with("_bucket")) {
        ASSERT_EQ(others.back().first, "le");
        const std::string le = others.back().second;
        others.pop_back();
        buckets[others].emplace_back(le, std::stoull(sample.value));
      } else if (sample.name.ends_with("_count")) {
        counts[others] = std::stoull(sample.value);
      } else {
        sums.insert(others);
      }
    }
    for (const auto& [labels, series] : buckets) {
      ++histograms;
      EXPECT_EQ(series.back().first, "+Inf");
      EXPECT_EQ(series.back().second, counts.at(labels)) << family.name;
      EXPECT_TRUE(sums.contains(labels));
      for (size_t i = 1; i < series.size(); ++i) {
        EXPECT_GE(series[i].second, series[i - 1].second) << family.name;
        EXPECT_GT(std::stod(series[i].first), std::stod(series[i - 1].first));  // "+Inf" is the greatest
      }
    }
    EXPECT_EQ(buckets.size(), counts.size());
  }
  EXPECT_EQ(histograms, 5U);
}

TEST(StatsPrometheus, ABucketCountsWhatIsNoLongerThanItsBound) {
  const std::string page = to_prometheus(busy());
  const auto line = [](const std::string& le, int count) {
    return "\nkvstore_commit_duration_seconds_bucket{durability=\"process\",le=\"" + le + "\"} " +
           std::to_string(count) + '\n';
  };
  EXPECT_NE(page.find(line("0.000000128", 3)), std::string::npos) << page;
  EXPECT_NE(page.find(line("0.000000256", 4)), std::string::npos);
  EXPECT_NE(page.find(line("68.719476736", 4)), std::string::npos);
  EXPECT_NE(page.find(line("+Inf", 6)), std::string::npos);
  EXPECT_NE(page.find("\nkvstore_commit_duration_seconds_sum{durability=\"process\"} 1.0000003\n"), std::string::npos);
  EXPECT_NE(page.find("\nkvstore_commit_duration_seconds_count{durability=\"process\"} 6\n"), std::string::npos);
  EXPECT_NE(page.find("\nkvstore_commit_duration_seconds_count{durability=\"sync\"} 0\n"), std::string::npos);
}

TEST(StatsPrometheus, EverySampleCarriesTheLabelsWhateverTheirValue) {
  const std::string odd = "a\\b\"c\nd,e=\"}\xc3\xa4";
  for (const Family& family : parse(to_prometheus(busy(), {{"store", odd}, {"9 lives-at", "x"}}))) {
    for (const Sample& sample : family.samples) {
      ASSERT_GE(sample.labels.size(), 2U);
      EXPECT_EQ(sample.labels[0], (std::pair<std::string, std::string>("store", odd)));
      EXPECT_EQ(sample.labels[1], (std::pair<std::string, std::string>("__lives_at", "x")));
    }
  }
}

TEST(StatsPrometheus, AReadOnlyStoreDoesNotPretendToCount) {
  Stats stats = busy();
  stats.read_only = true;
  const std::vector<Family> families = parse(to_prometheus(stats));
  EXPECT_EQ(value_of(families, "kvstore_entries"), "7");
  EXPECT_EQ(value_of(families, "kvstore_commits_total"), "absent");
  for (const Family& family : families) EXPECT_EQ(family.type, "gauge") << family.name;
}

}  // namespace
}  // namespace kvstore

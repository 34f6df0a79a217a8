// SPDX-License-Identifier: Apache-2.0
// Alerts, runbook and dashboards refer only to existing metrics, and to each other.
#include "base/strings.hpp"
#include "content_of.hpp"
#include "telemetry/metrics.hpp"

#include <cctype>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <regex>
#include <set>
#include <string>

#include <boost/json.hpp>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <yaml-cpp/yaml.h>

namespace fallbackd::telemetry {
namespace {

using test::contentOf;
namespace fs = std::filesystem;
namespace json = boost::json;

std::vector<YAML::Node> alerts() {
  std::vector<YAML::Node> all;
  const auto root = YAML::LoadFile(DEPLOY "/prometheus/rules.yml");
  for (const auto& group : root["groups"]) {
    for (const auto& rule : group["rules"]) {
      if (rule["alert"]) all.push_back(rule);
    }
  }
  return all;
}

std::vector<fs::path> dashboards() {
  std::vector<fs::path> files;
  for (const auto& entry : fs::directory_iterator(DEPLOY "/grafana")) {
    if (entry.path().extension() == ".json") files.push_back(entry.path());
  }
  return files;
}

TEST(Deploy, EachAlertHasItsRunbook) {
  std::set<std::string> headings;
  const auto runbook = contentOf(DEPLOY "/prometheus/RUNBOOK.md");
  for (const auto line : split(runbook, '\n')) {
    if (line.starts_with("## ")) headings.emplace(line.substr(3));
  }
  std::set<std::string> names;
  for (const auto& alert : alerts()) {
    const auto name = alert["alert"].as<std::string>();
    std::string anchor = name;
    for (char& c : anchor) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
    EXPECT_EQ(
        alert["annotations"]["runbook_url"].as<std::string>(),
        "{{ with $externalLabels.runbooks }}{{ . }}{{ else }}https://fallbackd.io/{{ end }}RUNBOOK.md#" +
            anchor);
    EXPECT_FALSE(alert["annotations"]["summary"].as<std::string>().empty()) << name;
    EXPECT_THAT(alert["labels"]["severity"].as<std::string>(), testing::AnyOf("critical", "warning")) << name;
    EXPECT_TRUE(names.insert(name).second) << name << " is defined twice";
  }
  EXPECT_EQ(names, headings);
  EXPECT_GE(names.size(), 10U);
}

TEST(Deploy, EachAlertIsTested) {
  std::set<std::string> tried;
  const auto root = YAML::LoadFile(DEPLOY "/prometheus/rules_test.yml");
  for (const auto& test : root["tests"]) {
    for (const auto& one : test["alert_rule_test"]) {
      if (one["exp_alerts"] && one["exp_alerts"].size() > 0) tried.insert(one["alertname"].as<std::string>());
    }
  }
  for (const auto& alert : alerts())
    EXPECT_TRUE(tried.contains(alert["alert"].as<std::string>())) << alert["alert"];
}

/// Expects that a text refers only to known metrics and recorded series.
void expectKnown(const fs::path& path, const std::set<std::string>& known) {
  static const std::regex kName("(fallbackd[_:]|process_)[a-z0-9_:]*[a-z0-9]");
  const auto text = contentOf(path);
  std::size_t found = 0;
  for (std::sregex_iterator it(text.begin(), text.end(), kName), end; it != end; ++it, ++found) {
    EXPECT_TRUE(known.contains(it->str())) << path.filename() << " refers to " << it->str();
  }
  EXPECT_GT(found, 0U) << path;
}

TEST(Deploy, OnlyExistingMetricsAreUsed) {
  std::set<std::string> known;
  const Metrics metrics("test");
  for (const auto& metric : metrics.descriptions()) {
    known.insert(metric.name);
    if (metric.type != "histogram") continue;
    for (const char* suffix : {"_bucket", "_sum", "_count"}) known.insert(metric.name + suffix);
  }
  expectKnown(DEPLOY "/prometheus/RUNBOOK.md", known);
  const auto root = YAML::LoadFile(DEPLOY "/prometheus/rules.yml");
  for (const auto& group : root["groups"]) {
    for (const auto& rule : group["rules"]) {
      if (rule["record"]) known.insert(rule["record"].as<std::string>());
    }
  }
  expectKnown(DEPLOY "/prometheus/rules.yml", known);
  for (const auto& file : dashboards()) expectKnown(file, known);
}

/// The Prometheus operator names jobs after its monitors: our own label identifies the daemons.
TEST(Deploy, NothingReliesOnTheNameOfTheJob) {
  for (const auto& file : dashboards()) {
    EXPECT_THAT(contentOf(file), testing::Not(testing::HasSubstr("job="))) << file;
  }
  std::set<std::string> alone;
  for (const auto& alert : alerts()) {
    const auto expr = alert["expr"].as<std::string>();
    EXPECT_THAT(expr, testing::Not(testing::HasSubstr("job="))) << alert["alert"];
    if (expr.find("up{daemon=\"fallbackd\"}") != std::string::npos)
      alone.insert(alert["alert"].as<std::string>());
  }
  EXPECT_THAT(alone, testing::ElementsAre("FallbackdAbsent", "FallbackdDown"));
  for (const char* file : {"/prometheus/scrape.yml", "/kustomize/components/podmonitor/podmonitor.yaml",
                           "/helm/fallbackd/templates/monitoring.yaml"}) {
    EXPECT_THAT(contentOf(std::string(DEPLOY) + file),
                testing::ContainsRegex("target(_l|L)abel: daemon[^a-z]+replacement: fallbackd"))
        << file;
  }
}

/// The link of the column in a panel's overrides.
std::string linkOf(const json::value& panel, const std::string& column) {
  for (const auto& rule : panel.at("fieldConfig").at("overrides").as_array()) {
    if (rule.at("matcher").at("options").as_string() != column) continue;
    for (const auto& property : rule.at("properties").as_array()) {
      if (property.at("id").as_string() != "links") continue;
      return std::string(property.at("value").at(0).at("url").as_string());
    }
  }
  return "";
}

TEST(Deploy, TablesLeadToTheDashboardOfWhatTheyName) {
  int links = 0;
  for (const auto& file : dashboards()) {
    const auto root = json::parse(contentOf(file));
    for (const auto& panel : root.at("panels").as_array()) {
      if (panel.at("type").as_string() != "table") continue;
      const std::string query(panel.at("targets").at(0).at("expr").as_string());
      for (const auto& [label, column] : {std::pair{"workload", "Workload"}, std::pair{"node", "Node"}}) {
        const std::string uid = std::string("fallbackd-") + label;
        if (root.at("uid").as_string() == uid ||
            !std::regex_search(query, std::regex(std::string("by \\([^)]*\\b") + label + "\\b")))
          continue;
        EXPECT_THAT(linkOf(panel, column),
                    testing::StartsWith("/d/" + uid + "?var-" + label + "=${__value.raw}&"))
            << file << ": " << panel.at("title").as_string();
        ++links;
      }
    }
  }
  EXPECT_GE(links, 5);
}

/// The README promises that a point in these graphs leads to the log lines of its recovery.
TEST(Deploy, GraphsOfRecoveryTimesShowExemplars) {
  int graphs = 0;
  for (const auto& file : dashboards()) {
    const auto root = json::parse(contentOf(file));
    for (const auto& panel : root.at("panels").as_array()) {
      if (panel.at("type").as_string() != "timeseries") continue;
      bool quantiles = false;
      bool shown = false;
      for (const auto& target : panel.at("targets").as_array()) {
        quantiles |= target.at("expr").as_string().starts_with("histogram_quantile");
        const auto* exemplar = target.as_object().if_contains("exemplar");
        shown |= exemplar != nullptr && exemplar->as_bool();
      }
      EXPECT_EQ(quantiles, shown) << file << ": " << panel.at("title").as_string();
      graphs += shown ? 1 : 0;
    }
  }
  EXPECT_EQ(graphs, 4);
}

TEST(Deploy, DashboardsAreComplete) {
  std::set<std::string> uids;
  for (const auto& file : dashboards()) {
    const auto root = json::parse(contentOf(file));
    EXPECT_TRUE(uids.emplace(root.at("uid").as_string()).second) << file;
    std::set<std::string> variables;
    for (const auto& variable : root.at("templating").at("list").as_array()) {
      variables.emplace(variable.at("name").as_string());
    }
    EXPECT_EQ(variables, (std::set<std::string>{"datasource", "cluster", "namespace", "workload", "node"}))
        << file;
    std::set<std::int64_t> ids;
    for (const auto& panel : root.at("panels").as_array()) {
      const auto title = panel.at("title").as_string();
      EXPECT_TRUE(ids.insert(panel.at("id").as_int64()).second) << file << ": " << title;
      if (panel.at("type").as_string() == "row") continue;
      EXPECT_FALSE(panel.at("description").as_string().empty()) << file << ": " << title;
      EXPECT_FALSE(panel.at("targets").as_array().empty()) << file << ": " << title;
    }
  }
  EXPECT_EQ(uids.size(), 3U);
}

}  // namespace
}  // namespace fallbackd::telemetry

// SPDX-License-Identifier: Apache-2.0
// Runs every query of every dashboard, and every template variable, against a real Prometheus that scraped
// real daemons through a real outage, with the configuration that the operator makes from our PodMonitor.
// DASHBOARDS_JSON names a folder for the results (scripts/report dashboards draws the panels from it).
// DASHBOARDS_PACE is the number of scrapes between two scenes.
#include "base/strings.hpp"
#include "e2e_gtest.hpp"
#include "outage.hpp"
#include "sys/file.hpp"
#include "wait.hpp"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>

#include <boost/json.hpp>
#include <gmock/gmock.h>

namespace fallbackd::e2e {
namespace {

namespace fs = std::filesystem;
namespace json = boost::json;

constexpr double kStep = 2;                              // seconds: two scrapes
constexpr auto kRulesCeiling = std::chrono::minutes(2);  // four times the interval of rules.yml

struct Panel {
  std::string dashboard;
  std::string title;
};

/// Why a panel may be empty after this outage.
std::string mayBeEmpty(const Panel& panel) {
  if (panel.dashboard == "fallbackd-workload" && panel.title == "Recoveries that failed") {
    return "no recovery of checkout failed";
  }
  return "";
}

std::string replaced(std::string text, const std::string& what, const std::string& with) {
  for (auto at = text.find(what); at != std::string::npos; at = text.find(what, at + with.size())) {
    text.replace(at, what.size(), with);
  }
  return text;
}

class DashboardsE2e : public testing::Test {
 protected:
  void SetUp() override {
    E2E_TRY(outage_, Outage::open());
    E2E_TRY(prometheus_,
            Prometheus::start(outage_->targets(),
                              FALLBACKD_DEPLOY "/kustomize/components/podmonitor/podmonitor.yaml",
                              FALLBACKD_DEPLOY "/prometheus/rules.yml"));
    const double began = Prometheus::now();
    const char* const pace = std::getenv("DASHBOARDS_PACE");
    const int scrapes = pace == nullptr ? 2 : std::atoi(pace);  // NOLINT(cert-err34-c): 0 is seen below
    ASSERT_GT(scrapes, 0) << "DASHBOARDS_PACE";
    E2E_CHECK(outage_->play([&] { return prometheus_->scrapes(scrapes); }));
    to_ = Prometheus::now();
    // The last step is the end of the outage, so that the last scrape also counts.
    from_ = to_ - std::ceil((to_ - began) / kStep) * kStep;
  }

  /// Like Grafana: the chosen values, or for "all" the variable's own pattern or all of its values.
  void resolveVariables(const json::value& dashboard) {
    values_.clear();
    values_["$__range"] = std::to_string(static_cast<int>(std::ceil(to_ - from_))) + "s";
    values_["$__rate_interval"] = "4s";
    values_["$__interval"] = std::to_string(static_cast<int>(kStep)) + "s";
    for (const auto& variable : dashboard.at("templating").at("list").as_array()) {
      const std::string name(variable.at("name").as_string());
      if (variable.at("type").as_string() == "datasource") continue;
      auto query = std::string(variable.at("query").at("query").as_string());
      for (const auto& [known, value] : values_) query = replaced(query, known, value);
      const std::string prefix = "label_values(";
      const auto comma = query.rfind(", ");
      ASSERT_TRUE(query.starts_with(prefix) && comma != std::string::npos) << query;
      E2E_TRY(const auto found, prometheus_->labelValues(query.substr(prefix.size(), comma - prefix.size()),
                                                         query.substr(comma + 2, query.size() - comma - 3)));
      // The operator's Prometheus has one cluster, and no label for it.
      ASSERT_EQ(found.empty(), name == "cluster") << name << ": " << query;
      table_.push_back(json::object{{"dashboard", dashboard.at("uid")},
                                    {"panel", "$" + name},
                                    {"expr", variable.at("query").at("query")},
                                    {"series", found.size()},
                                    {"value", found.empty() ? "" : found.front()},
                                    {"reason", found.empty() ? "one cluster" : ""}});
      const bool all = variable.at("includeAll").as_bool();
      const auto* pattern = variable.as_object().if_contains("allValue");
      std::string value = all || found.empty() ? "(" + join(found, "|") + ")" : found.front();
      if (all && pattern != nullptr) value = pattern->as_string();
      values_["$" + name] = value;
    }
  }

  [[nodiscard]] std::string filled(const json::value& target) const {
    std::string expression(target.at("expr").as_string());
    // Longest first: $__rate_interval begins with another variable's name.
    std::vector<std::string> names;
    for (const auto& [name, value] : values_) names.push_back(name);
    std::sort(names.begin(), names.end(), [](const auto& x, const auto& y) { return x.size() > y.size(); });
    for (const auto& name : names) expression = replaced(expression, name, values_.at(name));
    return expression;
  }

  void ask(const Panel& panel, const json::value& target, json::array& results) {
    const auto expression = filled(target);
    const auto* instant = target.as_object().if_contains("instant");
    const bool once = instant != nullptr && instant->as_bool();
    const auto answer =
        once ? prometheus_->query(expression, to_) : prometheus_->queryRange(expression, from_, to_, kStep);
    ASSERT_TRUE(answer) << panel.dashboard << ", " << panel.title << ": " << answer.error().message();
    std::string value;
    if (!answer->empty()) {
      const auto& first = answer->at(0).as_object();
      value =
          once ? first.at("value").at(1).as_string() : first.at("values").as_array().back().at(1).as_string();
    }
    const std::string reason = answer->empty() ? mayBeEmpty(panel) : "";
    EXPECT_TRUE(!answer->empty() || !reason.empty())
        << panel.dashboard << ", " << panel.title << ": no data for " << expression;
    if (value == "NaN") ADD_FAILURE() << panel.dashboard << ", " << panel.title << ": NaN for " << expression;
    table_.push_back(json::object{{"dashboard", panel.dashboard},
                                  {"panel", panel.title},
                                  {"expr", target.at("expr")},
                                  {"series", answer->size()},
                                  {"value", value},
                                  {"reason", reason}});
    results.push_back(json::object{{"refId", target.at("refId")}, {"result", *answer}});
  }

  void askAll(const fs::path& file) {
    E2E_TRY(const auto text, sys::readFile(Stage::cli, file, 1 << 20));
    const auto dashboard = json::parse(text);
    ASSERT_NO_FATAL_FAILURE(resolveVariables(dashboard));
    json::object panels;
    for (const auto& panel : dashboard.at("panels").as_array()) {
      json::array results;
      const Panel which{std::string(dashboard.at("uid").as_string()),
                        std::string(panel.at("title").as_string())};
      for (const auto& target : panel.at("targets").as_array()) {
        ASSERT_NO_FATAL_FAILURE(ask(which, target, results));
      }
      panels[std::to_string(panel.at("id").as_int64())] = std::move(results);
    }
    json::object variables;
    for (const auto& [name, value] : values_) variables[name] = value;
    drawn_.push_back(json::object{{"dashboard", dashboard}, {"variables", variables}, {"results", panels}});
  }

  std::unique_ptr<Outage> outage_;
  std::unique_ptr<Prometheus> prometheus_;
  double from_ = 0;
  double to_ = 0;
  std::map<std::string, std::string> values_;
  json::array table_;
  json::array drawn_;
};

TEST_F(DashboardsE2e, EveryQueryAndVariableHasData) {
  for (const char* name : {"fleet", "node", "workload"}) {
    ASSERT_NO_FATAL_FAILURE(askAll(fs::path(FALLBACKD_DEPLOY) / "grafana" / (std::string(name) + ".json")));
  }

  // The rules are evaluated on real data, and the expected alerts fire. Recording rules have their own
  // interval.
  const auto comes = [&](const std::string& expression) {
    return waitUntil(kRulesCeiling, [&] {
      const auto found = prometheus_->query(expression);
      return found && !found->empty();
    });
  };
  EXPECT_TRUE(comes("fallbackd:rto_seconds:p99_1h"));
  // The next list of all pods finds the real container and, by its image's id or name, its version.
  EXPECT_TRUE(
      comes(R"(fallbackd_workload_containers{workload="wishlist", version="other", node="node-c"} == 1)"));
  E2E_TRY(const auto pending, prometheus_->query(R"(count by (alertname) (ALERTS))"));
  json::array alerts;
  for (const auto& one : pending) alerts.push_back(one.at("metric").at("alertname"));
  const auto said = json::serialize(alerts);
  for (const char* alert : {"FallbackdFallbackActive", "FallbackdRecoveryFailed", "FallbackdNotCovered",
                            "FallbackdBinaryExpiresSoon", "FallbackdVersionSkew"}) {
    EXPECT_THAT(said, testing::HasSubstr(alert));
  }

  // Alerts that query the scrape itself find the daemons by the PodMonitor's label.
  E2E_TRY(const auto up,
          prometheus_->query(R"(up{daemon="fallbackd", job="fallbackd-system/fallbackd"} == 1)"));
  EXPECT_EQ(up.size(), Outage::kNodes.size());
  E2E_TRY(const auto absent, prometheus_->query(R"(ALERTS{alertname=~"FallbackdAbsent|FallbackdDown"})"));
  EXPECT_TRUE(absent.empty()) << absent;

  // From a point in a panel to the log: the exemplar's recovery id appears in the daemon's log.
  E2E_TRY(const auto exemplars,
          prometheus_->exemplars(R"(fallbackd_recovery_seconds_bucket{node="node-a"})", from_, to_));
  const auto log = outage_->daemon("node-a").logText();
  std::size_t found = 0;
  for (const auto& series : exemplars) {
    for (const auto& one : series.at("exemplars").as_array()) {
      EXPECT_THAT(log, testing::HasSubstr(std::string(one.at("labels").at("recovery").as_string())));
      ++found;
    }
  }
  EXPECT_GE(found, 2U) << "no exemplars: did Prometheus get OpenMetrics?";

  if (const char* const folder = std::getenv("DASHBOARDS_JSON"); folder != nullptr) {
    E2E_TRY(const auto answer, httpGet("127.0.0.1", outage_->daemon("node-a").telemetryPort(), "/metrics"));
    E2E_TRY(const auto took, prometheus_->query(R"(max(scrape_duration_seconds))"));
    std::ofstream(fs::path(folder) / "dashboards.json")
        << json::serialize(json::object{{"from", from_},
                                        {"to", to_},
                                        {"step", kStep},
                                        {"alerts", alerts},
                                        {"exemplars", found},
                                        {"scrapeBytes", answer.body.size()},
                                        {"scrapeSeconds", took.at(0).at("value").at(1)},
                                        {"table", table_},
                                        {"dashboards", drawn_}});
  }
}

}  // namespace
}  // namespace fallbackd::e2e

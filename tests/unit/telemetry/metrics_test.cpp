// SPDX-License-Identifier: Apache-2.0
// The daemon's metrics: when series appear, how they are replaced, that the page documents all of them, that
// other parsers read the output, and the cost of scraping a full node.
#include "telemetry/metrics.hpp"

#include "base/strings.hpp"
#include "config/model.hpp"
#include "content_of.hpp"
#include "shell.hpp"
#include "temp_folder.hpp"

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <iterator>
#include <regex>
#include <set>
#include <thread>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace fallbackd::telemetry {
namespace {

using test::contentOf;
using namespace std::chrono_literals;
using testing::HasSubstr;
using testing::Not;

config::Config configOf(const std::vector<std::string>& names, const std::string& tag = "1.8.3") {
  config::Config config;
  for (const auto& name : names) {
    config::Workload workload;
    workload.name = name;
    workload.match = {"shop", {}, "main"};
    workload.image = "registry.example:5000/shop/" + name + ":" + tag;
    workload.binary = {name, "1.8.3"};
    config.workloads.push_back(workload);
  }
  return config;
}

/// One recovery from its beginning to its hand-back.
void recover(Metrics& metrics, const std::string& workload, const std::string& id) {
  metrics.recovery.begun(workload, Cause::unreachable);
  for (const auto phase : {Phase::detect, Phase::verify, Phase::prepare, Phase::health_check, Phase::exec,
                           Phase::ready, Phase::total}) {
    metrics.recovery.phase(workload, Cause::unreachable, phase, 7ms, id);
  }
  metrics.recovery.activeFallbacks(workload, 1);
  metrics.recovery.handBackGap(workload, 90ms, id);
  metrics.recovery.ended(workload, Cause::unreachable, RecoveryOutcome::handed_back, id);
  metrics.recovery.activeFallbacks(workload, -1);
}

/// Creates every series that can exist.
void fill(Metrics& metrics) {
  metrics.configured(configOf({"checkout", "payment"}));
  recover(metrics, "checkout", "0123456789ab");
  metrics.recovery.ended("payment", Cause::dns, RecoveryOutcome::failed, "ba9876543210",
                         RecoveryFailure{Stage::admission, Reason::digest_mismatch});
  metrics.recovery.fallbackExit("checkout", ExitKind::oom_killed);
  metrics.cache.graceUsed("checkout@1.8.3");
  metrics.cache.rollbacks({{"checkout", true}});
  metrics.detection.registryCircuits(
      {{"registry.example:5000", CircuitState::open}, {"other", CircuitState::closed}});
  metrics.detection.containerdCalls({{"ListContainers", 5}});
  metrics.detection.containerdConnected(true);
  metrics.detection.notStarted({1, 0, 2});
  metrics.detection.sandboxImagePresent(true);
  metrics.cache.refused(Reason::expired);
  metrics.cache.coverage(
      {{"checkout", "checkout@1.8.3", CoverageState::admitted, true, Clock::system().wall() + 24h}});
  metrics.workload.runningContainers({{"checkout", {1, 2, 3}}});
  metrics.workload.coverage({{"rescued", 4}, {"not_covered", 0}});
  metrics.cache.usage(1, 2, 3);
  metrics.daemon.configLoaded(ConfigLoad::ok);
  metrics.journal.changed(JournalOperation::write, JournalResult::ok, 1);
  metrics.daemon.spawnerRestarts(1);
  metrics.podSources.used(
      {{{"kubelet", {true, Wall::time_point(std::chrono::seconds(1700000000)), {{"ok", 3}, {"timeout", 1}}}}},
       17});
  metrics.mirror.used(
      {{{"served", 2}, {"upstream_well", 5}}, 4096, {{{"tag", "unreachable"}, 1}}, {{"well", 3}}});
  metrics.podSources.used(EventUsage{true, {{"created", 5}, {"dropped_full", 1}}});
  metrics.detection.unstick({{UnstickResult::ended, 4}, {UnstickResult::proxy, 1}});
  metrics.detection.credentialProviders({{{ProviderResult::given, 3}, {ProviderResult::timeout, 1}}, 2});
  metrics.daemon.workerUsage({4, 1, {{"prepare_volumes", 2}}, {{"prepare_volumes", 3}}});
  metrics.daemon.loopStalled();
  metrics.daemon.loopTurnsAgain(2s);
  metrics.standIns.running("checkout", 1);
  metrics.standIns.counted("checkout", StandInResult::rejected);
  metrics.standIns.took("checkout", StandInPhase::create, 20ms);
  metrics.orders.paused(1, 2);
  metrics.orders.drill(OrderMetrics::Drill::holds);
  metrics.orders.withheld(3, 4);
  metrics.orders.observed("checkout", ObservedResult::refused);
}

double valueOf(const std::string& text, const std::string& series) {
  const auto at = text.find("\n" + series + " ");
  return at == std::string::npos ? -1 : std::strtod(text.c_str() + at + series.size() + 2, nullptr);
}

TEST(Metrics, AConfiguredWorkloadHasItsSeriesBeforeAnythingHappens) {
  Metrics metrics("1.2.3");
  metrics.configured(configOf({"checkout"}));
  const auto text = metrics.serialize();
  EXPECT_THAT(text, HasSubstr("fallbackd_active_fallbacks{workload=\"checkout\"} 0\n"));
  EXPECT_THAT(text, HasSubstr("fallbackd_fallback_seconds_total{workload=\"checkout\"} 0\n"));
  EXPECT_THAT(
      text, HasSubstr("fallbackd_recoveries_begun_total{cause=\"server_error\",workload=\"checkout\"} 0\n"));
  EXPECT_THAT(text, Not(HasSubstr("cause=\"not_found\",workload"))) << "the cause is not a trigger";
  EXPECT_THAT(text, HasSubstr("fallbackd_build_info{version=\"1.2.3\"} 1\n"));
  EXPECT_THAT(text, HasSubstr("fallbackd_workload_version_skew{workload=\"checkout\"} 0\n"));
}

TEST(Metrics, AReloadReplacesTheConfiguredSeries) {
  Metrics metrics("test");
  metrics.configured(configOf({"checkout", "payment"}));
  metrics.cache.coverage({{"checkout", "checkout@1.8.3", CoverageState::missing, false, {}},
                          {"payment", "payment@1.8.3", CoverageState::grace, true, Clock::system().wall()}});
  metrics.configured(configOf({"checkout"}, "v1.9.0"));
  metrics.cache.coverage(
      {{"checkout", "checkout@1.8.3", CoverageState::admitted, true, Clock::system().wall() + 24h}});
  const auto text = metrics.serialize();
  EXPECT_THAT(text, HasSubstr("image=\"registry.example:5000/shop/checkout:v1.9.0\",workload=\"checkout\","));
  EXPECT_THAT(text, Not(HasSubstr("checkout:1.8.3")));
  EXPECT_THAT(text, HasSubstr("fallbackd_workload_version_skew{workload=\"checkout\"} 1\n"));
  EXPECT_THAT(text, HasSubstr("fallbackd_workload_coverage{state=\"admitted\",workload=\"checkout\"} 1\n"));
  EXPECT_THAT(text, HasSubstr("fallbackd_workload_coverage{state=\"missing\",workload=\"checkout\"} 0\n"));
  EXPECT_THAT(text, Not(HasSubstr("workload=\"payment\",workload_namespace")));
  EXPECT_THAT(text, Not(HasSubstr("state=\"grace\",workload=\"payment\"")));
  EXPECT_EQ(valueOf(text, "fallbackd_workload_binary_expiry_timestamp_seconds{workload=\"payment\"}"), -1);
  EXPECT_GT(valueOf(text, "fallbackd_workload_binary_expiry_timestamp_seconds{workload=\"checkout\"}"),
            1.7e9);
}

TEST(Metrics, ARollbackIsShownUntilItLeavesTheConfiguration) {
  Metrics metrics("test");
  metrics.cache.rollbacks({{"checkout", true}, {"cart", false}});
  const auto both = metrics.serialize();
  EXPECT_THAT(both, HasSubstr("fallbackd_version_rollback{name=\"checkout\"} 1\n"));
  EXPECT_THAT(both, HasSubstr("fallbackd_version_rollback{name=\"cart\"} 0\n"));
  metrics.cache.rollbacks({{"cart", false}});
  EXPECT_THAT(metrics.serialize(), Not(HasSubstr("name=\"checkout\"")));
}

TEST(Metrics, TimeInFallbackGrowsWhileTheFallbackRuns) {
  Metrics metrics("test");
  const std::string series = "fallbackd_fallback_seconds_total{workload=\"checkout\"}";
  const auto now = Clock::system().now();
  metrics.recovery.fallbackServes("checkout", "a", now - 100s);
  metrics.recovery.fallbackServes("checkout", "b", now - 10s);
  EXPECT_GE(valueOf(metrics.serialize(), series), 110);
  metrics.recovery.fallbackServed("checkout", "a", now);
  metrics.recovery.fallbackServed("checkout", "a", now);  // reported twice, counted once
  const double running = valueOf(metrics.serialize(), series);
  EXPECT_GE(running, 110);
  EXPECT_LT(running, 190);
  metrics.recovery.fallbackServed("checkout", "b", now - 1s);
  const double ended = valueOf(metrics.serialize(), series);
  EXPECT_GE(ended, running) << "a scrape counted time after the end";
  EXPECT_EQ(valueOf(metrics.serialize(), series), ended);
}

TEST(Metrics, TimeInFallbackIsThatToItsEnd) {
  Metrics metrics("test");
  const auto now = Clock::system().now();
  metrics.recovery.fallbackServes("checkout", "a", now - 100s);
  metrics.recovery.fallbackServed("checkout", "a", now - 40s);
  EXPECT_NEAR(valueOf(metrics.serialize(), "fallbackd_fallback_seconds_total{workload=\"checkout\"}"), 60,
              1e-6);
}

TEST(Metrics, AnExemplarLeadsFromABucketToTheRecovery) {
  Metrics metrics("test");
  fill(metrics);
  const auto text = metrics.serializeOpenMetrics();
  EXPECT_THAT(text, HasSubstr("fallbackd_recovery_seconds_bucket{cause=\"unreachable\",workload=\"checkout\","
                              "le=\"0.0075\"} 1 # {recovery=\"0123456789ab\"} 0.007 "));
  EXPECT_THAT(text, HasSubstr("fallbackd_recovery_phase_seconds_bucket{phase=\"exec\",le=\"0.02\"} 1 # "
                              "{recovery=\"0123456789ab\"} 0.007 "));
  EXPECT_THAT(text, HasSubstr("outcome=\"failed\",reason=\"digest_mismatch\",stage=\"admission\","
                              "workload=\"payment\"} 1 # {recovery=\"ba9876543210\"} 1 "));
  EXPECT_THAT(metrics.serialize(), Not(HasSubstr("0123456789ab")));
}

TEST(Metrics, TheProcessIsMeasured) {
  const Metrics metrics("test");
  const auto text = metrics.serialize();
  EXPECT_GT(valueOf(text, "process_resident_memory_bytes"), 1e5);
  EXPECT_GT(valueOf(text, "process_start_time_seconds"), 1.7e9);
  EXPECT_GE(valueOf(text, "process_open_fds"), 3);
  EXPECT_GE(valueOf(text, "process_threads"), 1);
}

/// A node has tens of workloads and half a dozen causes: the series of these pairs dominate the cost of a
/// scrape.
TEST(Metrics, AWorkloadAndCauseCostNoMoreThanOneHistogram) {
  Metrics metrics("test");
  recover(metrics, "checkout", "0123456789ab");
  const auto count = [](const std::string& text, std::string_view family) {
    const auto lines = split(text, '\n');
    return std::count_if(lines.begin(), lines.end(), [&](auto line) { return line.starts_with(family); });
  };
  const auto one = metrics.serialize();
  EXPECT_LE(count(one, "fallbackd_recovery_seconds_"), 30);
  EXPECT_LE(count(one, "fallbackd_recovery_phase_seconds_"), 90);
  recover(metrics, "payment", "ba9876543210");
  const auto two = metrics.serialize();
  EXPECT_EQ(count(two, "fallbackd_recovery_seconds_"), 2 * count(one, "fallbackd_recovery_seconds_"));
  EXPECT_EQ(count(two, "fallbackd_recovery_phase_"), count(one, "fallbackd_recovery_phase_"));
}

/// Names of the labels in "name{a="x",b="y"} 1".
std::set<std::string> labelNames(std::string_view line) {
  std::set<std::string> names;
  const auto open = line.find('{');
  if (open == std::string_view::npos) return names;
  for (const auto part : split(line.substr(open + 1), ',')) {
    const auto equals = part.find("=\"");
    if (equals != std::string_view::npos) names.emplace(part.substr(0, equals));
  }
  names.erase("le");
  return names;
}

TEST(Metrics, EverySeriesIsDescribedWithAllItsLabels) {
  Metrics metrics("test");
  fill(metrics);
  std::set<std::string> seen;
  const auto text = metrics.serialize();
  for (const auto line : split(text, '\n')) {
    if (line.empty() || line.front() == '#') continue;
    std::string name(line.substr(0, line.find_first_of("{ ")));
    const auto described = std::find_if(
        metrics.descriptions().begin(), metrics.descriptions().end(), [&](const MetricDescription& one) {
          return name == one.name ||
                 (one.type == "histogram" &&
                  (name == one.name + "_bucket" || name == one.name + "_sum" || name == one.name + "_count"));
        });
    ASSERT_NE(described, metrics.descriptions().end()) << line;
    std::set<std::string> labels;
    for (const auto& label : described->labels) labels.insert(label.name);
    EXPECT_EQ(labelNames(line), labels) << line;
    seen.insert(described->name);
  }
  EXPECT_EQ(seen.size(), metrics.descriptions().size()) << "fill() misses one";
}

/// The lines of an exposition, sorted within each family, with a star for each value that differs between
/// runs.
std::string stable(const std::string& text) {
  static const std::regex kValue(
      "^((process_|fallbackd_config_last_success_|fallbackd_workload_binary_expiry_)[^ ]*) .*");
  std::string lines;
  std::set<std::string> ofFamily;
  const auto flush = [&] {
    for (const auto& line : std::exchange(ofFamily, {})) lines.append(line).append("\n");
  };
  for (const auto line : split(text, '\n')) {
    if (line.starts_with("# HELP")) flush();
    if (!line.empty()) ofFamily.insert(std::regex_replace(std::string(line), kValue, "$1 *"));
  }
  flush();
  return lines;
}

/// Other people's dashboards and alerts rely on these names, labels and values.
TEST(Metrics, AScrapeIsThatOfTheFixture) {
  Metrics metrics("test");
  fill(metrics);
  EXPECT_EQ(stable(metrics.serialize()), contentOf(FIXTURES "/scrape.txt"));
}

TEST(Metrics, ThePageMatchesTheCode) {
  const Metrics metrics("test");
  EXPECT_EQ(contentOf(DEPLOY "/METRICS.md"), metricsPage(metrics.descriptions()))
      << "regenerate it: fallbackd --print-metrics > deploy/METRICS.md";
}

TEST(Metrics, PromtoolFindsNoFaults) {
  Metrics metrics("test");
  fill(metrics);
  const test::TempFolder folder;
  const auto file = folder.write("metrics", metrics.serialize());
  const auto output = test::shell("promtool check metrics < " + file);
  EXPECT_EQ(output.code, 0) << output.text;
  EXPECT_EQ(output.text, "");
}

/// The reference parser of OpenMetrics, which is stricter than Prometheus.
TEST(Metrics, TheStrictParserReadsOpenMetrics) {
  Metrics metrics("test");
  fill(metrics);
  const test::TempFolder folder;
  const auto file = folder.write("metrics", metrics.serializeOpenMetrics());
  const auto output = test::shell(
      "/usr/bin/python3 -c 'import sys; from prometheus_client.openmetrics import parser;"
      "samples = [s for f in parser.text_string_to_metric_families(sys.stdin.read()) for s in f.samples];"
      "print(sorted({s.exemplar.labels[\"recovery\"] for s in samples if s.exemplar}))' < " +
      file);
  EXPECT_EQ(output.text, "['0123456789ab', 'ba9876543210']\n");
}

/// 50 workloads and 110 pods, the maximum of a node. SCRAPE_JSON names a file for the figures.
TEST(Metrics, AFullNodesScrapeIsCheap) {
  Metrics metrics("test");
  std::vector<std::string> names;
  std::vector<Coverage> coverage;
  for (int i = 0; i < 50; ++i) {
    names.push_back("workload-" + std::to_string(i));
    coverage.push_back(
        {names.back(), names.back() + "@1.8.3", CoverageState::admitted, true, Clock::system().wall() + 24h});
  }
  metrics.configured(configOf(names));
  metrics.cache.coverage(coverage);
  for (int i = 0; i < 110; ++i)
    recover(metrics, names[static_cast<std::size_t>(i) % names.size()], "0123456789ab");
  const auto measure = [](const auto& work) {
    constexpr int kTimes = 20;
    const auto begin = Clock::system().now();
    for (int i = 0; i < kTimes; ++i) work();
    return toMillis((Clock::system().now() - begin) / kTimes);
  };
  std::string text;
  std::string open;
  const double textMs = measure([&] { text = metrics.serialize(); });
  const double openMs = measure([&] { open = metrics.serializeOpenMetrics(); });
  std::size_t series = 0;
  for (const auto line : split(text, '\n')) series += line.empty() || line.front() == '#' ? 0 : 1;
  std::printf(
      "  110 recoveries of 50 workloads: %zu series; text %zu bytes, %.2f ms; OpenMetrics %zu bytes, %.2f "
      "ms\n",
      series, text.size(), textMs, open.size(), openMs);
  if (const char* const file = std::getenv("SCRAPE_JSON"); file != nullptr) {
    std::ofstream(file) << "{\"series\":" << series << ",\"textBytes\":" << text.size()
                        << ",\"textMs\":" << textMs << ",\"openMetricsBytes\":" << open.size()
                        << ",\"openMetricsMs\":" << openMs << "}\n";
  }
  EXPECT_LT(series, 6000U);
  EXPECT_LT(open.size(), 3U << 20);
  EXPECT_LT(textMs, 1000);
}

}  // namespace
}  // namespace fallbackd::telemetry

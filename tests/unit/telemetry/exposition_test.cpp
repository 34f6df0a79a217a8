// SPDX-License-Identifier: Apache-2.0
// The bytes of both formats, with exemplars at the right buckets.
#include "telemetry/exposition.hpp"

#include "shell.hpp"
#include "telemetry/metrics/families.hpp"

#include <array>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <prometheus/counter.h>
#include <prometheus/gauge.h>
#include <prometheus/histogram.h>
#include <prometheus/registry.h>

namespace fallbackd::telemetry {
namespace {

using testing::HasSubstr;

struct ExpositionTest : testing::Test {
  std::string as(Format format) { return expose(registry.Collect(), format, exemplars); }

  const std::vector<double> bounds{0.25, 1};
  prometheus::Registry registry;
  Exemplars exemplars;
};

TEST_F(ExpositionTest, WritesCountersGaugesAndHistograms) {
  prometheus::BuildCounter().Name("pulls_total").Help("Pulls.").Register(registry).Add({}).Increment(3);
  prometheus::BuildGauge()
      .Name("free_bytes")
      .Help("Free.")
      .Register(registry)
      .Add({{"disk", "a"}})
      .Set(1.5e-7);
  auto& histogram = prometheus::BuildHistogram().Name("rto_seconds").Help("RTO.").Register(registry);
  auto& series = histogram.Add({{"phase", "total"}}, bounds);
  series.Observe(0.25);
  series.Observe(4);
  EXPECT_EQ(as(Format::text),
            "# HELP pulls_total Pulls.\n# TYPE pulls_total counter\npulls_total 3\n"
            "# HELP free_bytes Free.\n# TYPE free_bytes gauge\nfree_bytes{disk=\"a\"} 1.5e-07\n"
            "# HELP rto_seconds RTO.\n# TYPE rto_seconds histogram\n"
            "rto_seconds_bucket{phase=\"total\",le=\"0.25\"} 1\n"
            "rto_seconds_bucket{phase=\"total\",le=\"1.0\"} 1\n"
            "rto_seconds_bucket{phase=\"total\",le=\"+Inf\"} 2\n"
            "rto_seconds_sum{phase=\"total\"} 4.25\nrto_seconds_count{phase=\"total\"} 2\n");
}

TEST_F(ExpositionTest, OpenMetricsNamesCountersWithoutTotalAndHasAnEnd) {
  prometheus::BuildCounter().Name("pulls_total").Help("Say \"hi\"\\").Register(registry).Add({});
  EXPECT_EQ(as(Format::open_metrics),
            "# HELP pulls Say \\\"hi\\\"\\\\\n# TYPE pulls counter\npulls_total 0\n# EOF\n");
  EXPECT_THAT(as(Format::text), HasSubstr("# HELP pulls_total Say \"hi\"\\\\\n"));
}

TEST_F(ExpositionTest, EscapesLabelValues) {
  prometheus::BuildGauge().Name("g").Help("h").Register(registry).Add({{"l", "a\"b\\c\nd"}}).Set(1);
  EXPECT_THAT(as(Format::text), HasSubstr("g{l=\"a\\\"b\\\\c\\nd\"} 1\n"));
}

TEST_F(ExpositionTest, AnExemplarIsAtTheBucketThatCountedIt) {
  auto& histogram = prometheus::BuildHistogram().Name("rto_seconds").Help("RTO.").Register(registry);
  const Exemplars::Labels labels{{"cause", "dns"}, {"phase", "total"}};
  auto& series = histogram.Add(labels, bounds);
  const auto observe = [&](const char* recovery, double value) {
    series.Observe(value);
    exemplars.observed("rto_seconds", labels, bounds, {recovery, value, 1700000000.5});
  };
  observe("older", 0.2);
  observe("edge", 0.25);  // bounds are inclusive, and each bucket keeps its newest exemplar
  observe("beyond", 7);
  const auto text = as(Format::open_metrics);
  EXPECT_THAT(text, HasSubstr("le=\"0.25\"} 2 # {recovery=\"edge\"} 0.25 1700000000.500\n"));
  EXPECT_THAT(text, HasSubstr("le=\"1.0\"} 2\n"));
  EXPECT_THAT(text, HasSubstr("le=\"+Inf\"} 3 # {recovery=\"beyond\"} 7 1700000000.500\n"));
  EXPECT_EQ(as(Format::text).find('#', 60), std::string::npos) << "the text format has no exemplars";
}

TEST_F(ExpositionTest, SeriesOfAFamilyHaveSeparateExemplars) {
  auto& counter = prometheus::BuildCounter().Name("ended_total").Help("Ended.").Register(registry);
  counter.Add({{"outcome", "failed"}}).Increment();
  counter.Add({{"outcome", "pod_gone"}}).Increment();
  exemplars.counted("ended_total", {{"outcome", "failed"}}, {"0123456789ab", 1, 5});
  const auto text = as(Format::open_metrics);
  EXPECT_THAT(text, HasSubstr("ended_total{outcome=\"failed\"} 1 # {recovery=\"0123456789ab\"} 1 5.000\n"));
  EXPECT_THAT(text, HasSubstr("ended_total{outcome=\"pod_gone\"} 1\n"));
}

}  // namespace
}  // namespace fallbackd::telemetry

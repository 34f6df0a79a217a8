// SPDX-License-Identifier: Apache-2.0
// Shared by the benchmarks: series of figures, their percentiles, tables, and the same as JSON.
#pragma once

#include "base/error.hpp"

#include <string>
#include <utility>
#include <vector>

#include <boost/json/object.hpp>

namespace fallbackd::bench {

/// Nearest-rank percentile of at least one value, in any order.
double percentile(std::vector<double> values, double p);

struct Series {
  std::string name;
  std::vector<double> millis;
};

/// How two series differ in a percentile, beside what chance does to it.
struct Difference {
  double millis = 0;  // second less first
  double low = 0;     // 95 % of resampled differences are between these two (bootstrap, the same each time)
  double high = 0;
  /// Zero is between the two, or the difference is at most `noise`.
  [[nodiscard]] bool isWithin(double noise) const;
};
Difference difference(const Series& first, const Series& second, double p);
/// How much a percentile differs between the even and the odd samples of one series, which nothing but
/// chance tells apart.
double noiseOf(const Series& series, double p);

/// The heading of a table of series.
void printHead(const std::string& title);
/// Prints one line and returns {"name", "count", "p50Ms", "p99Ms", "maxMs"}.
boost::json::object report(const Series& series);
/// Prints a name and a value with its unit on one line.
void printFigure(const std::string& name, double value, const std::string& unit);

/// Writes `result`, with "name", "ok" and "why" added, to the file that BENCH_JSON names, if any. Prints
/// "NAME: ok" or "NAME: falls short: WHY" and returns the exit code.
int conclude(const std::string& name, const std::string& why, boost::json::object result);

/// One part of a benchmark: its figures, and in the text why it falls short.
using MeasurePart = Result<boost::json::object> (*)(std::string& why);
/// Measures each part under its name, and concludes with the first one that falls short or fails.
int concludeParts(const std::string& name, const std::vector<std::pair<const char*, MeasurePart>>& parts);

}  // namespace fallbackd::bench

// SPDX-License-Identifier: Apache-2.0
// Shared by the benchmarks: series of figures, their percentiles, tables and JSON.
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

/// The difference of two series in a percentile, with the effect of chance.
struct Difference {
  double millis = 0;  // second minus first
  double low = 0;     // 95 % of the resampled differences lie between these two (bootstrap, deterministic)
  double high = 0;
  /// Zero is between the two, or the difference is at most `noise`.
  [[nodiscard]] bool isWithin(double noise) const;
};
Difference difference(const Series& first, const Series& second, double p);
/// How much a percentile differs between the even and the odd samples of one series, which differ only by
/// chance.
double noiseOf(const Series& series, double p);

/// The heading of a table of series.
void printHead(const std::string& title);
/// Prints one line and returns {"name", "count", "p50Ms", "p99Ms", "maxMs"}.
boost::json::object report(const Series& series);
/// Prints a name and a value with its unit on one line.
void printFigure(const std::string& name, double value, const std::string& unit);

/// Writes `result`, with "name", "ok" and "why" added, to the file BENCH_JSON, if it is set. Prints "NAME:
/// ok" or "NAME: falls short: WHY" and returns the exit code.
int conclude(const std::string& name, const std::string& why, boost::json::object result);

/// One part of a benchmark: returns its figures, and in `why` why it falls short.
using MeasurePart = Result<boost::json::object> (*)(std::string& why);
/// Measures each part under its name, and concludes with the first one that falls short or fails.
int concludeParts(const std::string& name, const std::vector<std::pair<const char*, MeasurePart>>& parts);

}  // namespace fallbackd::bench

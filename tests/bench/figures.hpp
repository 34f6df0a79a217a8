// SPDX-License-Identifier: Apache-2.0
// What the benchmarks share: series of figures, their percentiles, tables, and the same as JSON.
#pragma once

#include <string>
#include <vector>

#include <boost/json/object.hpp>

namespace fallbackd::bench {

/// Nearest-rank percentile of values in any order, at least one.
double percentile(std::vector<double> values, double p);

struct Series {
  std::string name;
  std::vector<double> millis;
};

/// The head of a table of series.
void printHead(const std::string& title);
/// Prints one line, and gives {"name", "count", "p50Ms", "p99Ms", "maxMs"}.
boost::json::object report(const Series& series);
/// Prints one line of a name and a value with its unit.
void printFigure(const std::string& name, double value, const std::string& unit);

/// Writes to the file that BENCH_JSON names, if any; prints "NAME: ok" or "NAME: falls short: WHY" and gives
/// the exit code. `result` gets "name", "ok" and "why".
int conclude(const std::string& name, const std::string& why, boost::json::object result);

}  // namespace fallbackd::bench

// SPDX-License-Identifier: Apache-2.0
#include "figures.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <random>

#include <boost/json.hpp>

namespace fallbackd::bench {

namespace {

constexpr int kResamples = 4000;

}  // namespace

double percentile(std::vector<double> values, double p) {
  std::sort(values.begin(), values.end());
  const auto rank = static_cast<std::size_t>(std::ceil(p / 100 * static_cast<double>(values.size())));
  return values.at(std::max<std::size_t>(rank, 1) - 1);
}

bool Difference::isWithin(double noise) const {
  return (low <= 0 && high >= 0) || std::abs(millis) <= noise;
}

Difference difference(const Series& first, const Series& second, double p) {
  std::mt19937 random(1);  // NOLINT(cert-msc32-c,cert-msc51-cpp): the same figures give the same verdict
  const auto resampled = [&](const std::vector<double>& from) {
    std::uniform_int_distribution<std::size_t> any(0, from.size() - 1);
    std::vector<double> sample(from.size());
    for (auto& one : sample) one = from[any(random)];
    return percentile(std::move(sample), p);
  };
  std::vector<double> all;
  for (int i = 0; i < kResamples; ++i) all.push_back(resampled(second.millis) - resampled(first.millis));
  return {percentile(second.millis, p) - percentile(first.millis, p), percentile(all, 2.5),
          percentile(all, 97.5)};
}

double noiseOf(const Series& series, double p) {
  std::array<std::vector<double>, 2> halves;
  for (std::size_t i = 0; i < series.millis.size(); ++i) halves.at(i % 2).push_back(series.millis[i]);
  return std::abs(percentile(halves[0], p) - percentile(halves[1], p));
}

void printHead(const std::string& title) {
  std::printf("\n  %-58s %8s %8s %8s\n", title.c_str(), "P50", "P99", "max");
}

boost::json::object report(const Series& series) {
  const double p50 = percentile(series.millis, 50);
  const double p99 = percentile(series.millis, 99);
  const double most = percentile(series.millis, 100);
  std::printf("  %-58s %8.1f %8.1f %8.1f\n", series.name.c_str(), p50, p99, most);
  return {{"name", series.name},
          {"count", series.millis.size()},
          {"p50Ms", p50},
          {"p99Ms", p99},
          {"maxMs", most}};
}

void printFigure(const std::string& name, double value, const std::string& unit) {
  std::printf("  %-58s %8.1f %s\n", name.c_str(), value, unit.c_str());
}

int conclude(const std::string& name, const std::string& why, boost::json::object result) {
  result["name"] = name;
  result["ok"] = why.empty();
  result["why"] = why;
  const char* const file = std::getenv("BENCH_JSON");  // NOLINT(concurrency-mt-unsafe): one thread
  if (file != nullptr) std::ofstream(file) << boost::json::serialize(result) << "\n";
  std::printf("\n%s: %s\n", name.c_str(), why.empty() ? "ok" : ("falls short: " + why).c_str());
  return why.empty() ? 0 : 1;
}

int concludeParts(const std::string& name, const std::vector<std::pair<const char*, MeasurePart>>& parts) {
  std::string why;
  boost::json::object result;
  for (const auto& [part, measure] : parts) {
    std::string partWhy;
    auto figures = measure(partWhy);
    if (!figures) partWhy = std::string(part) + ": " + figures.error().message();
    if (figures) result[part] = std::move(*figures);
    if (why.empty()) why = partWhy;
    std::fflush(stdout);
  }
  return conclude(name, why, std::move(result));
}

}  // namespace fallbackd::bench

// SPDX-License-Identifier: Apache-2.0
// A real Prometheus (Debian's) with its own data folder. It scrapes the given targets every second with the
// configuration that the Prometheus operator makes from a PodMonitor.
#pragma once

#include "base/error.hpp"
#include "process.hpp"

#include <chrono>
#include <cstdint>
#include <filesystem>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include <boost/json/array.hpp>

namespace fallbackd::e2e {

struct ScrapeTarget {
  std::uint16_t port = 0;  // on 127.0.0.1
  std::string node;        // the node of its pod
};

/// Used by one thread. The destructor kills it. Times are seconds of Unix time.
class Prometheus {
 public:
  static Result<std::unique_ptr<Prometheus>> start(const std::vector<ScrapeTarget>& targets,
                                                   const std::filesystem::path& monitor,
                                                   const std::filesystem::path& rules);

  /// Blocks until every target was scraped this many more times.
  Result<> scrapes(int times);

  /// data.result of the answer: [{metric, value}], or [{metric, values}] for a range.
  [[nodiscard]] Result<boost::json::array> query(const std::string& expression,
                                                 std::optional<double> at = {}) const;
  [[nodiscard]] Result<boost::json::array> queryRange(const std::string& expression, double from, double to,
                                                      double step) const;
  /// What Grafana returns for label_values(SELECTOR, LABEL).
  [[nodiscard]] Result<std::vector<std::string>> labelValues(const std::string& selector,
                                                             const std::string& label) const;
  /// [{seriesLabels, exemplars: [{labels, value, timestamp}]}]
  [[nodiscard]] Result<boost::json::array> exemplars(const std::string& selector, double from,
                                                     double to) const;
  [[nodiscard]] static double now();

 private:
  Prometheus() = default;
  [[nodiscard]] Result<boost::json::value> api(const std::string& path,
                                               const std::map<std::string, std::string>& parameters) const;

  std::uint16_t port_ = 0;
  std::size_t targets_ = 0;
  std::optional<ChildProcess> process_;
};

}  // namespace fallbackd::e2e

// SPDX-License-Identifier: Apache-2.0
// CPU and heap profiles in the format of pprof, by gperftools. Its library replaces malloc, so it is not
// linked: if profiling is configured, the daemon re-executes itself with the library preloaded. One thread.
#pragma once

#include "base/error.hpp"
#include "http/server.hpp"

#include <string>

namespace fallbackd::telemetry {

/// Early in main(), before there are threads: does not return if the program re-executes itself. Without the
/// library it continues, and the profiles report what is missing.
void preloadProfiler(char** argv);

class Profiler {
 public:
  /// `folder`: where a CPU profile is written while it is taken.
  explicit Profiler(std::string folder) : folder_(std::move(folder)) {}

  /// ?seconds=N, 1 to 60, default 10; one at a time.
  boost::asio::awaitable<http::Response> cpu(http::Request request);
  /// Where the memory in use was allocated, sampled every 64 KiB.
  boost::asio::awaitable<http::Response> heap(http::Request request);

 private:
  std::string folder_;
  bool busy_ = false;
};

}  // namespace fallbackd::telemetry

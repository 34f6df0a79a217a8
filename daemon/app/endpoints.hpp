// SPDX-License-Identifier: Apache-2.0
// What the daemon serves over HTTP, and on which of its threads.
#pragma once

#include "app/coverage_view.hpp"
#include "app/snapshot_source.hpp"
#include "http/server.hpp"
#include "telemetry/metrics.hpp"
#include "telemetry/profiler.hpp"

#include <functional>
#include <optional>
#include <string>

#include <boost/asio/any_io_executor.hpp>

namespace fallbackd::app {

class Endpoints {
 public:
  /// How long the daemon's loop has not responded, if that is too long. Called on the server's thread.
  using Stalled = std::function<std::optional<Monotonic::duration>()>;

  /// `collect` runs on `daemon`, and updates metrics that are only computed on request.
  Endpoints(const config::TelemetrySettings& settings, const std::string& runDir,
            boost::asio::any_io_executor daemon, std::function<Snapshot()> collect,
            telemetry::Metrics& metrics, Stalled stalled, std::function<void(const std::string&)> trouble);

  /// Listens on the configured address and socket. Stage telemetry.
  Result<> open();
  /// Blocks until the server's thread has ended.
  void close() {
    tasks_.cancelAll();
    server_.stop();
  }

 private:
  void addRoutes();
  boost::asio::awaitable<SnapshotPtr> snapshot();
  [[nodiscard]] http::Response silent() const;

  config::TelemetrySettings settings_;
  telemetry::Metrics& metrics_;
  Stalled stalled_;
  http::Server server_;
  SnapshotSource snapshots_;
  CoverageCounts coverage_;
  telemetry::Profiler profiler_;
  TaskGroup tasks_;
};

}  // namespace fallbackd::app

// SPDX-License-Identifier: Apache-2.0
// What the daemon knows of its pods: the sources of the configuration, with a line in the log for each change
// of a source's state. On the daemon's loop.
#pragma once

#include "app/options.hpp"
#include "config/model.hpp"
#include "kube/pods.hpp"
#include "kube/sources.hpp"
#include "telemetry/log.hpp"

#include <optional>
#include <string>

#include <boost/asio/any_io_executor.hpp>

namespace fallbackd::app {

class PodSources {
 public:
  explicit PodSources(telemetry::Log& log);

  /// Starts what `settings` name; without sources nothing runs and no file is touched.
  void start(const boost::asio::any_io_executor& loop, const config::KubernetesSettings& settings,
             const Options& options);
  /// Blocks until the view is saved.
  void stop() { sources_.reset(); }

  [[nodiscard]] kube::Pods& pods() { return pods_; }
  [[nodiscard]] const kube::Pods& pods() const { return pods_; }

 private:
  void tell(const kube::SourceState& state);

  telemetry::Log& log_;
  kube::Pods pods_;
  std::optional<kube::Sources> sources_;
};

}  // namespace fallbackd::app

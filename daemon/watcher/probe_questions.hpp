// SPDX-License-Identifier: Apache-2.0
// What a probe pull asks: which image, with whose credentials, and for whom its verdict counts. Pure.
#pragma once

#include "config/model.hpp"
#include "domain/image_reference.hpp"
#include "watcher/prober.hpp"

#include <optional>
#include <set>
#include <string>
#include <tuple>

namespace fallbackd::watcher {

class ProbeQuestions {
 public:
  explicit ProbeQuestions(config::ConfigPtr config) { reconfigure(std::move(config)); }
  void reconfigure(config::ConfigPtr config);

  /// A registry may refuse clients without a password. So a pod's own choice speaks for the node only
  /// if it asks just as the configuration does: for the same image, with the same credentials.
  [[nodiscard]] Question questionFor(const config::Workload& workload, const ImageReference& reference,
                                     const std::string& podNamespace) const;

 private:
  [[nodiscard]] std::string credentialsFor(const config::Workload& workload,
                                           const ImageReference& reference) const;
  [[nodiscard]] std::optional<config::CredentialProviders> providersFor(
      const config::Workload& workload) const;

  config::ConfigPtr config_;
  /// The images that workloads of the configuration name, each with the file of its credentials, and whether
  /// providers are asked.
  std::set<std::tuple<std::string, std::string, bool>> configuredImages_;
};

}  // namespace fallbackd::watcher

// SPDX-License-Identifier: Apache-2.0
#include "watcher/probe_questions.hpp"

#include <algorithm>
#include <utility>

namespace fallbackd::watcher {

void ProbeQuestions::reconfigure(config::ConfigPtr config) {
  config_ = std::move(config);
  configuredImages_.clear();
  for (const auto& workload : config_->workloads) {
    if (const auto image = ImageReference::parse(workload.image)) {
      configuredImages_.emplace(image->toString(), credentialsFor(workload, *image),
                                providersFor(workload).has_value());
    }
  }
}

/// The operator's credentials go with the images that the operator named, and with those below the
/// repositories that the registry's entry gives away. An outage can be recognised without credentials, too.
std::string ProbeQuestions::credentialsFor(const config::Workload& workload,
                                           const ImageReference& reference) const {
  if (!workload.dockerConfig.empty()) return workload.dockerConfig;
  const bool ownChoice = workload.imageFrom != Provenance::configuration;
  std::string file;
  for (const auto& registry : config_->registries) {
    const bool given = !ownChoice || std::any_of(registry.repositories.begin(), registry.repositories.end(),
                                                 [&](const auto& one) { return reference.isBelow(one); });
    if (registry.host == reference.host() && given) file = registry.dockerConfig;
  }
  return file;
}

/// They give what the node itself may pull, so they are asked only for the operator's own images.
std::optional<config::CredentialProviders> ProbeQuestions::providersFor(
    const config::Workload& workload) const {
  return workload.imageFrom == Provenance::configuration ? config_->credentialProviders : std::nullopt;
}

Question ProbeQuestions::questionFor(const config::Workload& workload, const ImageReference& reference,
                                     const std::string& podNamespace) const {
  Question question{reference,    credentialsFor(workload, reference), workload.detection.stallTimeout, {},
                    podNamespace, workload.detection.responseTimeout,  providersFor(workload)};
  const bool asConfigured = configuredImages_.contains(
      {reference.toString(), question.credentialsFile, question.providers.has_value()});
  if (!speaksForTheNode(workload.imageFrom) && !asConfigured) question.scope = podNamespace;
  return question;
}

}  // namespace fallbackd::watcher

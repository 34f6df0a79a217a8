// SPDX-License-Identifier: Apache-2.0
#include "config/model.hpp"
#include "config/settle.hpp"
#include "domain/image_reference.hpp"

#include <algorithm>

namespace fallbackd::config {

PullPolicy pullPolicyOf(const Workload& workload) {
  if (workload.detection.pullPolicy) return *workload.detection.pullPolicy;
  const auto image = ImageReference::parse(workload.image);
  return image && image->tag() == "latest" ? PullPolicy::always : PullPolicy::if_not_present;
}

Mode modeOf(const Config& config, const Workload& workload, const std::string& podNamespace) {
  if (workload.mode) return *workload.mode;
  const auto found = config.namespaceModes.find(podNamespace);
  return found == config.namespaceModes.end() ? config.mode : found->second;
}

namespace {

bool holds(const std::vector<std::string>& list, const std::string& name) {
  return std::find(list.begin(), list.end(), name) != list.end();
}

}  // namespace

bool PodAnnotations::lists(const std::string& binary, const std::string& podNamespace) const {
  const auto found = binaries.find(binary);
  return found != binaries.end() && holds(found->second, podNamespace);
}

bool PodAnnotations::allows(const std::string& binary, const std::string& podNamespace) const {
  return binaries.contains(binary) ? lists(binary, podNamespace) : holds(namespaces, podNamespace);
}

bool PodAnnotations::countIn(const std::string& podNamespace) const {
  return holds(namespaces, podNamespace) ||
         std::any_of(binaries.begin(), binaries.end(),
                     [&](const auto& one) { return holds(one.second, podNamespace); });
}

std::string problemOfSettle(const Config& config, const Workload& workload) {
  if (workload.settle.value_or(config.settle) != Settle::automatic) return {};
  const auto& sources = config.kubernetes.sources;
  if (std::find(sources.begin(), sources.end(), PodSource::apiserver) != sources.end()) return {};
  return "settle is auto, which means never unless kubernetes.sources has apiserver: it shows whether a "
         "stand-in would replace a healthy pod";
}

std::string problemOfSettle(const Config& config) {
  auto problem = problemOfSettle(config, Workload());
  for (const auto& one : config.workloads) {
    if (problem.empty()) problem = problemOfSettle(config, one);
  }
  return problem;
}

Settle settleOf(const Config& config, const Workload& workload) {
  if (!problemOfSettle(config, workload).empty()) return Settle::never;
  return workload.settle.value_or(config.settle);
}

}  // namespace fallbackd::config

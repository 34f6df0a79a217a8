#include "watcher/match.hpp"

#include "watcher/image_reference.hpp"

#include <algorithm>

namespace fallbackd::watcher {

bool covers(const config::Match& match, const cri::Sandbox& sandbox) {
  if (match.namespaceName && *match.namespaceName != sandbox.podNamespace) return false;
  return std::all_of(match.labels.begin(), match.labels.end(), [&](const auto& wanted) {
    const auto found = sandbox.labels.find(wanted.first);
    return found != sandbox.labels.end() && found->second == wanted.second;
  });
}

namespace {

constexpr std::string_view kBinaryPrefix = "fallbackd.io/binary.";
constexpr std::string_view kImagePrefix = "fallbackd.io/image.";

/// A workload like the one that covers the container, where that is for this binary; else like the defaults.
std::shared_ptr<config::Workload> templateFor(const config::Config& config, const Covering& covering,
                                              const cri::Sandbox& sandbox, const std::string& container,
                                              const std::string& binaryName) {
  for (const auto& workload : covering.workloads) {
    if (workload->match.container == container && workload->binary.name == binaryName) {
      return std::make_shared<config::Workload>(*workload);
    }
  }
  auto made = std::make_shared<config::Workload>();
  made->name = "annotated";  // one for all: it becomes a metric's label
  made->match = {sandbox.podNamespace, {}, container};
  made->detection = config.detection.workloadDefaults;
  made->definedAt = "annotations of " + sandbox.podNamespace + "/" + sandbox.podName;
  return made;
}

bool sameRepository(const std::string& left, const std::string& right) {
  return registryHost(left) == registryHost(right) && repositoryOf(left) == repositoryOf(right);
}

void applyAnnotation(const config::Config& config, const cri::Sandbox& sandbox, const std::string& container,
                     const std::string& binary, Covering& covering) {
  const auto refuse = [&](const std::string& why) {
    covering.troubles.push_back("annotation " + std::string(kBinaryPrefix) + container + " of pod " +
                                sandbox.podNamespace + "/" + sandbox.podName + ": " + why);
  };
  auto ref = parseBinaryRef(binary);
  if (!ref) return refuse(ref.error().context);
  const auto workload = templateFor(config, covering, sandbox, container, ref->name);
  workload->binary = std::move(*ref);
  workload->binaryFrom = Provenance::annotation;
  const auto image = sandbox.annotations.find(std::string(kImagePrefix) + container);
  if (image != sandbox.annotations.end()) {
    if (!sameRepository(image->second, workload->image)) workload->dockerConfig.clear();
    workload->image = image->second;
  }
  if (workload->image.empty()) {
    return refuse("no workload of this binary covers the container; add " + std::string(kImagePrefix) +
                  container);
  }
  std::erase_if(covering.workloads, [&](const auto& one) { return one->match.container == container; });
  covering.workloads.push_back(workload);
}

}  // namespace

bool annotationsCount(const config::Config& config, const std::string& podNamespace) {
  const auto& allowed = config.podAnnotations.namespaces;
  return std::find(allowed.begin(), allowed.end(), podNamespace) != allowed.end();
}

Covering workloadsFor(const config::ConfigPtr& config, const cri::Sandbox& sandbox) {
  Covering covering;
  for (const auto& workload : config->workloads) {
    if (covers(workload.match, sandbox)) covering.workloads.emplace_back(config, &workload);
  }
  if (!annotationsCount(*config, sandbox.podNamespace)) return covering;
  for (const auto& [key, value] : sandbox.annotations) {
    if (key.starts_with(kBinaryPrefix)) {
      applyAnnotation(*config, sandbox, key.substr(kBinaryPrefix.size()), value, covering);
    }
  }
  return covering;
}

}  // namespace fallbackd::watcher

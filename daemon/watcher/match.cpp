// SPDX-License-Identifier: Apache-2.0
#include "watcher/match.hpp"

#include "base/strings.hpp"
#include "config/drill.hpp"
#include "domain/image_reference.hpp"
#include "watcher/specified.hpp"

#include <algorithm>
#include <array>

namespace fallbackd::watcher {

bool covers(const config::Match& match, const cri::Sandbox& sandbox) {
  if (match.namespaceName && *match.namespaceName != sandbox.podNamespace) return false;
  return std::all_of(match.labels.begin(), match.labels.end(), [&](const auto& wanted) {
    const auto found = sandbox.labels.find(wanted.first);
    return found != sandbox.labels.end() && found->second == wanted.second;
  });
}

bool isOfJob(const cri::Sandbox& sandbox) {
  const auto keys = jobLabels();
  return std::any_of(keys.begin(), keys.end(),
                     [&](std::string_view key) { return sandbox.labels.contains(std::string(key)); });
}

std::span<const std::string_view> jobLabels() {
  static constexpr std::array<std::string_view, 4> kLabels{
      "batch.kubernetes.io/job-name", "batch.kubernetes.io/controller-uid", "job-name", "controller-uid"};
  return kLabels;
}

namespace {

/// A drill is for the one pod that its label names: others may have the label, too.
bool coversPod(const config::Workload& workload, const cri::Sandbox& sandbox) {
  if (!covers(workload.match, sandbox)) return false;
  return !config::isDrill(workload) ||
         workload.match.labels.at(std::string(config::kDrillLabel)) == sandbox.podName;
}

/// A workload like the one that covers the container, if that is for this binary; otherwise like the
/// defaults.
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
  made->inheritance = config.inheritance;
  made->definedAt = "annotations of " + sandbox.podNamespace + "/" + sandbox.podName;
  return made;
}

/// Follows the annotations of one pod.
class Follower {
 public:
  Follower(const config::Config& config, const cri::Sandbox& sandbox, Covering& covering)
      : config_(config), sandbox_(sandbox), covering_(covering) {}

  void follow(const PodChoices& choices, const std::set<std::string>* made) {
    covering_.refused = choices.refused;
    covering_.cutOff = choices.cutOff;
    for (const auto& refusal : choices.refusals) say(refusal);
    std::size_t told = choices.refusals.size();
    std::size_t waiting = 0;
    for (const auto& choice : choices.choices) {
      const bool waits = made != nullptr && !made->contains(choice.container);
      if (waits && waiting == kMaxChosenContainers) {
        ++covering_.cutOff;
        continue;
      }
      const auto problem = follow(choice);
      if (!problem.empty() && told < kMaxTold) {
        say(problem);
        ++told;
      }
      if (problem.empty() && waits) ++waiting;
    }
    if (covering_.refused > told)
      say(std::to_string(covering_.refused - told) + " more annotations are refused");
    if (covering_.cutOff > 0) {
      say(std::to_string(covering_.cutOff) + " annotations are not followed: they may name " +
          std::to_string(kMaxChosenContainers) + " containers that were not made yet");
    }
  }

 private:
  static constexpr std::size_t kMaxTold = 6;

  /// Returns what is wrong with it, or nothing.
  std::string follow(const PodChoices::Choice& choice) {
    if (!config_.podAnnotations.allows(choice.binary.name, sandbox_.podNamespace)) {
      ++covering_.refused;
      return "annotation " + quoted(std::string(kBinaryAnnotation) + choice.container) + ": binary " +
             quoted(choice.binary.name) + " may not be chosen in namespace " + sandbox_.podNamespace +
             " (podAnnotations of the node)";
    }
    const auto workload = templateFor(config_, covering_, sandbox_, choice.container, choice.binary.name);
    if (isOfJob(sandbox_) && !workload->restart.policy) {
      ++covering_.refused;
      return "annotation " + quoted(std::string(kBinaryAnnotation) + choice.container) +
             ": the pod belongs to a Job, and no workload of this binary that sets restart.policy covers the "
             "container";
    }
    workload->binary = choice.binary;
    workload->binaryFrom = Provenance::annotation;
    if (!choice.image.empty() && !sameImage(choice.image, workload->image)) {
      workload->image = choice.image;
      workload->imageFrom = Provenance::annotation;
      workload->dockerConfig.clear();  // that of the workload's own image
    }
    // An annotation that names the image specifies everything, as a workload of the configuration does.
    if (!choice.image.empty()) workload->inheritance.on = false;
    if (workload->image.empty() && !workload->inheritance.on) {
      ++covering_.refused;
      return "annotation " + quoted(std::string(kBinaryAnnotation) + choice.container) +
             ": no workload of this binary covers the container; add " + std::string(kImageAnnotation) +
             choice.container;
    }
    std::erase_if(covering_.workloads,
                  [&](const auto& one) { return one->match.container == choice.container; });
    covering_.workloads.push_back(workload);
    return {};
  }

  void say(const std::string& what) {
    covering_.troubles.push_back("pod " + sandbox_.podNamespace + "/" + sandbox_.podName + ": " + what);
  }

  const config::Config& config_;
  const cri::Sandbox& sandbox_;
  Covering& covering_;
};

/// Takes from the specification what detection needs, and of several workloads for a container the one that
/// the pod asks for.
void specify(const config::Config& config, const cri::Sandbox& sandbox, const kube::Pod* spec,
             Covering& covering) {
  std::map<std::string, std::vector<WorkloadPtr>> candidates;  // by container
  for (const auto& workload : std::exchange(covering.workloads, {})) {
    if (!workload->inheritance.on) {
      covering.workloads.push_back(workload);
      continue;
    }
    if (spec == nullptr) {
      covering.withoutSpec.push_back(workload);
      continue;
    }
    auto known = specified(config, *workload, *spec);
    if (known) {
      candidates[workload->match.container].push_back(std::move(*known));
    } else if (workload->binaryFrom == Provenance::annotation || known.error().reason != Reason::not_found) {
      // Not every pod that a workload of the configuration matches must have its container.
      covering.troubles.push_back("pod " + sandbox.podNamespace + "/" + sandbox.podName + ", workload " +
                                  workload->name + ": " + known.error().context);
    }
  }
  for (const auto& [container, workloads] : candidates)
    covering.workloads.push_back(askedFor(workloads, *spec));
}

/// A container that is rehearsed is covered by nothing else.
void keepDrill(Covering& covering) {
  const auto drill = std::find_if(covering.workloads.begin(), covering.workloads.end(),
                                  [](const auto& one) { return config::isDrill(*one); });
  if (drill == covering.workloads.end()) return;
  const auto container = (*drill)->match.container;
  std::erase_if(covering.workloads,
                [&](const auto& one) { return one->match.container == container && !config::isDrill(*one); });
}

Covering cover(const config::ConfigPtr& config, const cri::Sandbox& sandbox, const PodChoices& choices,
               const std::set<std::string>* made, const kube::Pod* spec) {
  Covering covering;
  for (const auto& workload : config->workloads) {
    if (!coversPod(workload, sandbox)) continue;
    if (isOfJob(sandbox) && !workload.restart.policy) {
      covering.withoutPolicy.emplace_back(config, &workload);
      continue;
    }
    covering.workloads.emplace_back(config, &workload);
  }
  keepDrill(covering);
  if (annotationsCount(*config, sandbox.podNamespace)) {
    Follower(*config, sandbox, covering).follow(choices, made);
  }
  specify(*config, sandbox, spec, covering);
  return covering;
}

}  // namespace

cri::Labels choiceOf(const config::Workload& workload) {
  cri::Labels annotations;
  const auto& container = workload.match.container;
  if (workload.binaryFrom == Provenance::annotation) {
    annotations[std::string(kBinaryAnnotation) + container] = workload.binary.toString();
  }
  if (workload.imageFrom == Provenance::annotation) {
    annotations[std::string(kImageAnnotation) + container] = workload.image;
  }
  return annotations;
}

bool annotationsCount(const config::Config& config, const std::string& podNamespace) {
  return config.podAnnotations.countIn(podNamespace);
}

Covering workloadsFor(const config::ConfigPtr& config, const cri::Sandbox& sandbox, const PodChoices& choices,
                      const std::set<std::string>& made, const kube::Pod* spec) {
  return cover(config, sandbox, choices, &made, spec);
}

Covering workloadsFor(const config::ConfigPtr& config, const cri::Sandbox& sandbox, const kube::Pod* spec) {
  return cover(config, sandbox, readChoices(sandbox.annotations), nullptr, spec);
}

}  // namespace fallbackd::watcher

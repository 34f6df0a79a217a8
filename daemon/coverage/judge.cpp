// SPDX-License-Identifier: Apache-2.0
#include "coverage/judge.hpp"

#include "base/strings.hpp"
#include "coverage/words.hpp"
#include "domain/image_reference.hpp"
#include "kube/inherit.hpp"
#include "watcher/match.hpp"
#include "watcher/specified.hpp"

#include <algorithm>
#include <set>
#include <utility>

namespace fallbackd::coverage {

namespace {

using Kind = ContainerCoverage::Kind;

/// A template has no addresses yet; when a fallback starts, its sandbox has them.
kube::Pod withAddresses(kube::Pod pod) {
  constexpr const char* kSome = "192.0.2.1";
  if (pod.podIps.empty()) pod.podIps = {kSome};
  if (pod.hostIps.empty()) pod.hostIps = {kSome};
  return pod;
}

cri::Sandbox sandboxOf(const kube::Pod& spec) {
  cri::Sandbox sandbox;
  sandbox.podName = spec.name;
  sandbox.podNamespace = spec.namespaceName;
  sandbox.podUid = spec.uid;
  sandbox.labels = spec.labels;
  sandbox.annotations = spec.annotations;
  return sandbox;
}

class PodJudge {
 public:
  PodJudge(const Node& node, const PodRequest& request)
      : node_(node),
        request_(request),
        config_(*node.config),
        covering_(watcher::workloadsFor(node.config, request.sandbox, request.choices, {}, request.spec)) {
    if (request.spec != nullptr) spec_ = withAddresses(*request.spec);
  }

  PodCoverage judge() {
    PodCoverage pod;
    pod.podNamespace = request_.sandbox.podNamespace;
    pod.pod = request_.sandbox.podName;
    pod.specified = spec_.has_value();
    if (!spec_) {
      for (const auto& name : namesWithoutSpec())
        pod.containers.push_back(of(name, Kind::container, nullptr));
      return pod;
    }
    if (!spec_->ownerKind.empty()) pod.owner = spec_->ownerKind + " " + spec_->ownerName;
    for (const auto& one : spec_->initContainers)
      pod.containers.push_back(of(one.name, kube::isSidecar(one) ? Kind::sidecar : Kind::init, &one));
    for (const auto& one : spec_->containers) pod.containers.push_back(of(one.name, Kind::container, &one));
    return pod;
  }

 private:
  [[nodiscard]] std::set<std::string> namesWithoutSpec() const {
    std::set<std::string> names(request_.containers.begin(), request_.containers.end());
    for (const auto* list : {&covering_.workloads, &covering_.withoutSpec, &covering_.withoutPolicy}) {
      for (const auto& one : *list) names.insert(one->match.container);
    }
    for (const auto& one : request_.choices.choices) names.insert(one.container);
    return names;
  }

  ContainerCoverage of(const std::string& name, Kind kind, const kube::Container* container) const {
    ContainerCoverage out;
    out.container = name;
    out.kind = kind;
    if (container != nullptr) out.image = container->image;
    if (kind == Kind::init) {
      end(out, Verdict::init_container,
          {"the pod waits until it has ended, which no fallback can do in its place", {}});
    } else if (container != nullptr && container->imagePullPolicy == "Never") {
      end(out, Verdict::not_needed, {"kubelet never pulls this image, so no registry can block it", {}});
    } else if (const auto workload = findIn(covering_.workloads, name)) {
      byWorkload(*workload, out);
    } else if (const auto unspecified = findIn(covering_.withoutSpec, name)) {
      describe(*unspecified, out);
      end(out, Verdict::not_known, specificationUnknown());
    } else {
      withoutWorkload(out);
    }
    return out;
  }

  static watcher::WorkloadPtr findIn(const std::vector<watcher::WorkloadPtr>& list, const std::string& name) {
    const auto found =
        std::find_if(list.begin(), list.end(), [&](const auto& one) { return one->match.container == name; });
    return found == list.end() ? nullptr : *found;
  }

  static void end(ContainerCoverage& out, Verdict verdict, Ending ending) {
    out.verdict = verdict;
    out.why = std::move(ending.verdict);
    out.next = std::move(ending.next);
  }

  static void describe(const config::Workload& workload, ContainerCoverage& out) {
    out.workload = workload.name;
    out.binary = workload.binary.toString();
    out.byAnnotation = workload.binaryFrom == Provenance::annotation;
    if (out.image.empty()) out.image = workload.image;
  }

  [[nodiscard]] const watcher::PodChoices::Choice* choiceFor(const std::string& container) const {
    const auto& all = request_.choices.choices;
    const auto found =
        std::find_if(all.begin(), all.end(), [&](const auto& one) { return one.container == container; });
    return found == all.end() ? nullptr : &*found;
  }

  void withoutWorkload(ContainerCoverage& out) const {
    const auto& space = request_.sandbox.podNamespace;
    if (const auto* const choice = choiceFor(out.container)) {
      out.binary = choice->binary.toString();
      out.byAnnotation = true;
      if (!config_.podAnnotations.allows(choice->binary.name, space)) {
        return end(out, Verdict::not_allowed,
                   {"binary " + quoted(choice->binary.name) +
                        " may not be chosen by annotation in namespace " + space + " on this node",
                    "list the namespace in podAnnotations.namespaces or podAnnotations.binaries"});
      }
    }
    if (const auto trouble = troubleWith(out.container); !trouble.empty()) {
      return end(out, Verdict::annotation_ignored,
                 {trouble, "write fallbackd.io/binary.CONTAINER: NAME@VERSION in the pod's annotations"});
    }
    std::vector<std::string> near;
    for (const auto& workload : config_.workloads) {
      if (workload.match.container != out.container) continue;
      near.push_back("workload " + workload.name + ": " + missedBy(workload, request_.sandbox));
    }
    constexpr std::size_t kMaxTold = 4;
    if (near.size() > kMaxTold) near.resize(kMaxTold);
    end(out, Verdict::not_covered,
        {near.empty() ? "no workload is for this container" : join(near, "; "),
         "add a workload (fallbackctl init writes one), or the annotation fallbackd.io/binary." +
             out.container});
  }

  /// What is wrong with the annotations that name the container.
  [[nodiscard]] std::string troubleWith(const std::string& container) const {
    for (const auto* list : {&covering_.troubles, &request_.choices.refusals}) {
      for (const auto& one : *list) {
        for (const auto prefix : {watcher::kBinaryAnnotation, watcher::kImageAnnotation}) {
          if (one.find(quoted(std::string(prefix) + container)) != std::string::npos) return one;
        }
        if (one.find(", workload ") != std::string::npos && one.find(quoted(container)) != std::string::npos)
          return one;
      }
    }
    return {};
  }

  /// The binary's state decides last: it is more useful to report first what the pod requests.
  void byWorkload(const config::Workload& workload, ContainerCoverage& out) const {
    describe(workload, out);
    const auto* const binary = find(workload.binary);
    if (workload.inheritance.on && spec_ && !inherits(workload, binary, out)) return;
    if (!workload.inheritance.on && spec_) compareImage(workload, out);
    if (workload.detection.pullPolicy == config::PullPolicy::never) {
      return end(out, Verdict::not_needed,
                 {"kubelet never pulls this image, so no registry can block it", {}});
    }
    if (!isUsable(workload, binary, out)) return;
    waitsFor(out);
    const auto& space = request_.sandbox.podNamespace;
    if (const auto* const order = node_.pause.orderFor(space))
      return end(out, Verdict::paused, pausedBy(order->reason, node_.pause.wayOut(space)));
    if (config::modeOf(config_, workload, space) == config::Mode::observe)
      return end(out, Verdict::observed, observeOnly());
    if (out.differs.empty()) return end(out, Verdict::rescued, {"by " + out.binary, {}});
    end(out, Verdict::limited,
        {"by " + out.binary + ", which differs from the container in " + std::to_string(out.differs.size()) +
             (out.differs.size() == 1 ? " point" : " points"),
         {}});
  }

  [[nodiscard]] const Binary* find(const BinaryRef& ref) const {
    const auto found = node_.binaries.find(ref);
    return found == node_.binaries.end() ? nullptr : &found->second;
  }

  /// Whether the pod's specification lets its fallback start.
  bool inherits(const config::Workload& workload, const Binary* binary, ContainerCoverage& out) const {
    auto inherited = kube::inherit({*spec_, out.container, workload, config_.launcher, request_.facts,
                                    binary == nullptr ? std::nullopt : binary->image});
    if (!inherited) {
      auto ending = cannotReplace();
      ending.verdict += ": " + inherited.error().context;
      end(out, Verdict::not_inherited, std::move(ending));
      return false;
    }
    for (const auto& one : inherited->notInherited) out.differs.push_back(one.path + ": " + one.why);
    const auto version = watcher::versionVerdict(inherited->workload, *spec_);
    if (version.kind != kube::VersionVerdict::Kind::match) {
      const bool none = version.kind == kube::VersionVerdict::Kind::no_binary;
      auto ending = otherVersion(version.kind);
      ending.verdict = version.text;
      end(out, none ? Verdict::no_binary : Verdict::cannot_tell, std::move(ending));
      return false;
    }
    if (!version.text.empty()) out.differs.push_back("version: " + version.text);
    if (kube::mayStart(inherited->notInherited, workload.inheritance.missingEnv)) return true;
    std::vector<std::string> stops;
    for (const auto& one : inherited->notInherited) {
      if (!kube::mayStart({one}, workload.inheritance.missingEnv)) stops.push_back(one.path + ": " + one.why);
    }
    auto ending = needsMore();
    ending.verdict += ": " + join(stops, "; ");
    end(out, Verdict::not_inherited, std::move(ending));
    return false;
  }

  void compareImage(const config::Workload& workload, ContainerCoverage& out) const {
    if (out.image.empty() || workload.image.empty() || sameImage(out.image, workload.image)) return;
    out.differs.push_back("image: the workload names " + quoted(workload.image) + ", the pod " +
                          quoted(out.image));
  }

  bool isUsable(const config::Workload& workload, const Binary* binary, ContainerCoverage& out) const {
    const auto& ref = workload.binary;
    if (binary == nullptr) {
      if (node_.unlisted == Node::Unlisted::missing) {
        end(out, Verdict::no_binary, {ref.toString() + " is not in the cache", installAdvice(ref)});
      } else {
        end(out, Verdict::not_known, {ref.toString() + " has not been checked yet", "try again in a moment"});
      }
      return false;
    }
    if (!binary->serves) {
      const bool missing = binary->refused && binary->refused->reason == Reason::not_found;
      end(out, missing ? Verdict::no_binary : Verdict::not_admitted,
          {missing           ? ref.toString() + " is not in the cache"
           : binary->refused ? binary->refused->message()
                             : ref.toString() + " is not admitted",
           missing ? installAdvice(ref) : verifyAdvice(ref)});
      return false;
    }
    const auto& space = request_.sandbox.podNamespace;
    const auto& allowed = binary->namespaces;
    const bool listed = config_.podAnnotations.lists(ref.name, space);
    if (out.byAnnotation && !listed && allowed &&
        std::find(allowed->begin(), allowed->end(), space) == allowed->end()) {
      end(out, Verdict::not_allowed,
          {ref.toString() + " may not be chosen by annotation in namespace " + space +
               ": its attestation lists the namespaces that may, and this one is not among them",
           "sign it with --namespace " + space + ", or list it in podAnnotations.binaries"});
      return false;
    }
    if (binary->inGrace)
      out.differs.push_back("binary: " + ref.toString() + " expired, within its grace period");
    if (binary->refused)
      out.differs.push_back("binary: the file on disk is refused: " + binary->refused->message());
    return true;
  }

  /// Init containers pull images, too, and nothing takes their place.
  void waitsFor(ContainerCoverage& out) const {
    if (!spec_) return;
    const auto own = ImageReference::parse(out.image);
    for (const auto& one : spec_->initContainers) {
      if (one.name == out.container) break;
      if (kube::isSidecar(one) || one.imagePullPolicy == "Never") continue;
      const auto image = ImageReference::parse(one.image);
      const bool same = own && image && own->host() == image->host();
      out.differs.push_back(one.path + ": the pod waits until " + quoted(one.name) + " has ended" +
                            (same ? "; its image comes from the same registry, " + image->host() : ""));
    }
  }

  const Node& node_;
  const PodRequest& request_;
  const config::Config& config_;
  watcher::Covering covering_;
  std::optional<kube::Pod> spec_;
};

}  // namespace

PodCoverage judge(const Node& node, const PodRequest& request) {
  return PodJudge(node, request).judge();
}

PodCoverage judge(const Node& node, const kube::Pod& spec) {
  const auto sandbox = sandboxOf(spec);
  const auto choices = watcher::readChoices(spec.annotations);
  return judge(node, {sandbox, choices, &spec});
}

Counts count(const std::vector<PodCoverage>& pods) {
  Counts counts{};
  for (const auto& pod : pods) {
    for (const auto& one : pod.containers) ++counts.at(static_cast<std::size_t>(one.verdict));
  }
  return counts;
}

std::string_view toString(Kind kind) {
  switch (kind) {
    case Kind::sidecar:
      return "sidecar";
    case Kind::init:
      return "init";
    case Kind::container:
      break;
  }
  return "container";
}

}  // namespace fallbackd::coverage

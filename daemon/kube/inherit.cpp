// SPDX-License-Identifier: Apache-2.0
#include "kube/inherit.hpp"

#include "base/strings.hpp"
#include "domain/image_reference.hpp"
#include "kube/inherit_parts.hpp"

#include <algorithm>
#include <array>
#include <limits>
#include <utility>

namespace fallbackd::kube {

namespace {

const Container* findContainer(const std::vector<Container>& list, const std::string& name) {
  const auto found =
      std::find_if(list.begin(), list.end(), [&](const Container& one) { return one.name == name; });
  return found == list.end() ? nullptr : &*found;
}

Result<const Container*> containerOf(const InheritRequest& request) {
  const auto& pod = request.pod;
  const std::string which =
      "container " + quoted(request.container) + " of pod " + pod.namespaceName + "/" + pod.name;
  if (const auto* const found = findContainer(pod.containers, request.container)) return found;
  const auto* const found = findContainer(pod.initContainers, request.container);
  if (found == nullptr) return fail(Stage::config, Reason::not_found, which + " is not in its specification");
  if (isSidecar(*found)) return found;
  return fail(
      Stage::config, Reason::invalid,
      which + " is an init container: the pod waits until its work is done, which a fallback cannot tell");
}

void inheritImage(const Inheritance& to) {
  auto& workload = to.out.workload;
  const auto& image = to.container.image;
  if (to.given("image")) {
    if (!sameImage(workload.image, image)) {
      to.note(to.pathOf("image"),
              "the configuration names " + quoted(workload.image) + ", the pod " + quoted(image));
    }
    return;
  }
  const auto reference = ImageReference::parse(image);
  if (!reference) return to.refuse(to.pathOf("image"), reference.error().context);
  workload.image = image;
  workload.imageFrom = Provenance::pod_specification;
}

void inheritPullPolicy(const Inheritance& to) {
  auto& policy = to.out.workload.detection.pullPolicy;
  if (policy) return;
  constexpr std::array<std::pair<std::string_view, config::PullPolicy>, 3> kPolicies{
      {{"IfNotPresent", config::PullPolicy::if_not_present},
       {"Always", config::PullPolicy::always},
       {"Never", config::PullPolicy::never}}};
  const auto& said = to.container.imagePullPolicy;
  for (const auto& [name, value] : kPolicies) {
    if (name == said) policy = value;
  }
  // Without a policy the tag decides: pullPolicyOf().
  if (!policy && !said.empty()) to.note(to.pathOf("imagePullPolicy"), quoted(said) + " is not known");
}

void inheritRestart(const Inheritance& to) {
  const auto& pod = to.request.pod;
  auto& policy = to.out.workload.restart.policy;
  if (policy) return;
  if (pod.ownerKind == "Job") {
    // A Job's work must not be done twice, so the operator decides what the end of a fallback means.
    return to.refuse("metadata.ownerReferences",
                     "the pod belongs to a Job; only a workload that sets restart.policy covers it");
  }
  const auto& said = isSidecar(to.container) ? to.container.restartPolicy : pod.restartPolicy;
  if (said.empty() || said == "Always") {
    policy = config::RestartPolicy::always;
  } else if (said == "OnFailure") {
    policy = config::RestartPolicy::on_failure;
  } else if (said == "Never") {
    policy = config::RestartPolicy::never;
  } else {
    to.refuse("spec.restartPolicy", quoted(said) + " is not known");
  }
}

void inheritGrace(const Inheritance& to) {
  const auto& said = to.request.pod.terminationGracePeriodSeconds;
  if (to.given("terminationGrace") || !said) return;
  // Kubernetes treats a negative value as one second.
  constexpr std::int64_t kLongest = std::numeric_limits<std::int32_t>::max();
  const auto seconds = *said < 0 ? 1 : std::min(*said, kLongest);
  to.out.workload.terminationGrace = std::chrono::seconds(seconds);
}

/// Init containers in their order, up to the container itself if it is one of them.
void inheritOrder(const Inheritance& to) {
  std::vector<std::string> ended;
  for (const auto& one : to.request.pod.initContainers) {
    if (one.name == to.container.name) break;
    auto& list = isSidecar(one) ? to.out.sidecarsBefore : ended;
    list.push_back(one.name);
  }
  if (!to.given("startAfter")) to.out.workload.startAfter = std::move(ended);
}

void inheritNames(const Inheritance& to) {
  const auto& pod = to.request.pod;
  for (const auto& alias : pod.hostAliases) {
    to.out.workload.hostAliases.push_back({alias.ip, alias.hostnames});
  }
  // What is written into /etc/hosts must not add lines to it.
  const auto broken = [](const std::string& text) {
    return text.empty() ||
           std::any_of(text.begin(), text.end(), [](char c) { return static_cast<unsigned char>(c) <= ' '; });
  };
  const auto removed = std::erase_if(to.out.workload.hostAliases, [&](const config::HostAlias& one) {
    return broken(one.ip) || std::any_of(one.names.begin(), one.names.end(), broken);
  });
  if (removed > 0) to.note("spec.hostAliases", "entries that are not an address and names");
  if (!pod.subdomain.empty()) {
    to.note("spec.subdomain",
            "the pod's full name is not in /etc/hosts, because the cluster's domain is not known");
  }
  if (pod.hostNetwork) to.note("spec.hostNetwork", "/etc/hosts is not the node's");
}

void inheritNamespaces(const Inheritance& to) {
  const auto& pod = to.request.pod;
  const auto& launcher = to.request.launcher;
  const auto check = [&](bool wanted, bool allowed, const char* field, const char* setting) {
    if (wanted && !allowed)
      to.refuse(field, std::string("launcher.") + setting + " does not allow it on this node");
  };
  check(pod.hostNetwork, launcher.allowHostNetwork, "spec.hostNetwork", "allowHostNetwork");
  check(pod.hostPid, launcher.allowHostPid, "spec.hostPID", "allowHostPid");
  check(pod.hostIpc, launcher.allowHostIpc, "spec.hostIPC", "allowHostIpc");
  if (!pod.runtimeClassName.empty()) {
    to.refuse("spec.runtimeClassName",
              "a fallback does not run in the runtime " + quoted(pod.runtimeClassName));
  }
  if (!pod.osName.empty() && pod.osName != "linux") to.refuse("spec.os", "the pod is not for Linux");
}

void noteTheRest(const Inheritance& to) {
  const auto& container = to.container;
  if (!to.request.image) {
    to.note(to.pathOf("image"),
            "its USER, ENV, ENTRYPOINT, CMD and WORKDIR are not in the attestation (fallbackctl sign "
            "--image-config)");
  }
  for (const auto& hook : container.lifecycle) {
    to.note(to.pathOf("lifecycle." + hook), "hooks are not run");
  }
  if (container.stdin || container.tty) {
    to.note(to.pathOf(container.stdin ? "stdin" : "tty"),
            "a fallback has neither standard input nor a terminal");
  }
  if (to.request.pod.imagePullSecrets > 0 && !to.given("dockerconfigjson")) {
    to.note("spec.imagePullSecrets",
            "the probe pull uses the credentials of registries, credentialProviders or dockerconfigjson");
  }
  if (to.request.pod.enableServiceLinks && !to.request.facts.serviceVariables) {
    to.note("spec.enableServiceLinks", "variables of the namespace's Services are not known");
  }
}

}  // namespace

Result<Inherited> inheritForDetection(const InheritRequest& request) {
  FB_TRY(const auto* const container, containerOf(request));
  Inherited inherited;
  inherited.workload = request.configured;
  const Inheritance to{request, *container, inherited};
  inheritImage(to);
  inheritPullPolicy(to);
  inheritRestart(to);
  inheritOrder(to);
  return inherited;
}

Result<Inherited> inherit(const InheritRequest& request) {
  FB_TRY(const auto* const container, containerOf(request));
  Inherited inherited;
  inherited.workload = request.configured;
  const Inheritance to{request, *container, inherited};
  const ConfiguredVariables configured{request.configured.env, request.configured.envFiles};
  const ContainerEnvironment environment(request.pod, *container, request.facts, configured);
  inheritImage(to);
  inheritPullPolicy(to);
  inheritVariables(to, environment);
  inheritCommand(to, environment);
  inheritUser(to);
  inheritSecurity(to);
  inheritVolumes(to, environment);
  inheritProbes(to);
  inheritResources(to);
  inheritRestart(to);
  inheritGrace(to);
  inheritOrder(to);
  inheritNames(to);
  inheritNamespaces(to);
  noteTheRest(to);
  return inherited;
}

}  // namespace fallbackd::kube

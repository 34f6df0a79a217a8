// SPDX-License-Identifier: Apache-2.0
// What the pod's specification means for its fallback: the version that it requests, and the parts that a
// fallback does not get.
#include "app/explain_walk.hpp"
#include "recovery/effective.hpp"
#include "watcher/specified.hpp"

#include <algorithm>
#include <string>
#include <utility>

namespace fallbackd::app {

namespace {

constexpr const char* kSomeAddress = "192.0.2.1";

}  // namespace

Walk::Ending Walk::notSpecified() {
  std::string failing;
  for (const auto& source : snapshot_.knownPods.sources) {
    if (source.health == kube::Health::failing)
      failing += "; " + std::string(kube::toString(source.kind)) + " fails: " + source.error;
  }
  say("specification", Verdict::pending, "no source has described the pod yet" + failing);
  auto ending = coverage::specificationUnknown();
  if (!failing.empty()) {
    ending.next =
        "repair the source (fallbackctl status shows it), or name the image in the workload: then it starts "
        "without the specification";
  }
  return ending;
}

std::optional<Walk::Ending> Walk::specification(const watcher::PodSummary& pod,
                                                const config::Workload& workload) {
  const auto* spec = specOf(snapshot_, pod.sandbox.podUid);
  if (spec == nullptr) return notSpecified();
  const auto* binary = binaryOf(snapshot_, workload.binary);
  recovery::Setting setting;
  if (const auto facts = snapshot_.facts.find(pod.sandbox.podUid); facts != snapshot_.facts.end())
    setting.facts = facts->second;
  // A launch asks the sandbox for them. No value is shown here.
  if (spec->podIps.empty() && !spec->hostNetwork) setting.facts.podIps = {kSomeAddress};
  if (binary != nullptr) setting.image = binary->image;
  auto inherited = recovery::inheritedBy(workload, spec, *snapshot_.config, setting);
  if (!inherited) {
    say("specification", Verdict::no, inherited.error().context);
    return coverage::cannotReplace();
  }
  say("specification", Verdict::yes, "known: what the workload does not set comes from it");

  const auto version = watcher::versionVerdict(inherited->workload, *spec);
  const bool asked = version.kind == kube::VersionVerdict::Kind::match;
  say("version", asked ? Verdict::yes : Verdict::no,
      version.text.empty() ? "the pod asks for " + workload.binary.toString() : version.text);
  if (!asked) {
    return coverage::otherVersion(version.kind);
  }

  if (const auto rollout = snapshot_.rollouts.find(pod.sandbox.podUid); rollout != snapshot_.rollouts.end()) {
    const auto& view = rollout->second;
    say("rollout", Verdict::notice,
        std::string(kube::toString(view.rollout)) + (view.why.empty() ? "" : ": " + view.why));
  }

  const auto missingEnv = workload.inheritance.missingEnv;
  for (const auto& one : inherited->notInherited) {
    const bool stops = !kube::mayStart({one}, missingEnv);
    say("inherits", stops ? Verdict::no : Verdict::notice, one.path + ": " + one.why);
  }
  if (inherited->notInherited.empty()) say("inherits", Verdict::yes, "everything");
  if (kube::mayStart(inherited->notInherited, missingEnv)) return std::nullopt;
  return coverage::needsMore();
}

}  // namespace fallbackd::app

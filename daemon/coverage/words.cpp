// SPDX-License-Identifier: Apache-2.0
#include "coverage/words.hpp"

#include "base/strings.hpp"
#include "watcher/match.hpp"

#include <vector>

namespace fallbackd::coverage {

Ending specificationUnknown() {
  return {"the pod's specification is not known, and the workload takes its image from it",
          "try again in a moment"};
}

Ending cannotReplace() {
  return {"its fallback cannot take the container's place", {}};
}

Ending otherVersion(kube::VersionVerdict::Kind kind) {
  return {"no binary of the version that the pod asks for",
          kind == kube::VersionVerdict::Kind::no_binary
              ? "install that version, and name it in the workload or in the pod's annotation"
              : "give the image a tag with its version; or see versionFrom and versionMatch"};
}

Ending needsMore() {
  return {
      "the pod needs what its fallback cannot have",
      "set it in the workload, which takes precedence over the pod; or, for variables, set missingEnv: start "
      "to do without them"};
}

Ending observeOnly() {
  return {"mode observe: nothing is started",
          "set mode: recover, for the node, the namespace or the workload"};
}

Ending pausedBy(const std::string& reason, std::string wayOut) {
  return {"new recoveries are paused" + (reason.empty() ? std::string() : ": " + reason), std::move(wayOut)};
}

std::string installAdvice(const BinaryRef& ref) {
  return "install it: fallbackctl install --attestation " + ref.attestationName() + " " + ref.name;
}

std::string verifyAdvice(const BinaryRef& ref) {
  return "fallbackctl verify " + ref.toString() + " reports what is wrong; sign and install it again";
}

std::string missedBy(const config::Workload& workload, const cri::Sandbox& sandbox) {
  const auto& match = workload.match;
  std::vector<std::string> missed;
  if (watcher::isOfJob(sandbox) && !workload.restart.policy) {
    missed.emplace_back("the pod belongs to a Job, and the workload does not set restart.policy");
  }
  if (match.namespaceName && *match.namespaceName != sandbox.podNamespace) {
    missed.push_back("namespace is " + sandbox.podNamespace + ", not " + *match.namespaceName);
  }
  for (const auto& [key, value] : match.labels) {
    const auto found = sandbox.labels.find(key);
    if (found == sandbox.labels.end()) {
      missed.push_back("label " + key + " is missing");
    } else if (found->second != value) {
      missed.push_back("label " + key + " is " + found->second + ", not " + value);
    }
  }
  return join(missed, "; ");
}

}  // namespace fallbackd::coverage

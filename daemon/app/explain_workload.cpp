// SPDX-License-Identifier: Apache-2.0
#include "app/explain_walk.hpp"

#include <algorithm>
#include <string>
#include <vector>

namespace fallbackd::app {

Explanation Walk::unmatched(const cri::Sandbox& sandbox) {
  constexpr std::size_t kMaxTold = 8;
  std::size_t told = 0;
  for (const auto& workload : snapshot_.config->workloads) {
    if (told++ == kMaxTold) break;
    const auto missed = coverage::missedBy(workload, sandbox);
    say("match", Verdict::no,
        "workload " + workload.name + ": " +
            (missed.empty() ? "the pod has no container " + workload.match.container : missed));
  }
  if (told == 0) say("match", Verdict::no, "there are no workloads in " + snapshot_.configFile);
  return end("no workload covers this pod",
             "add a workload to " + snapshot_.configFile + ", or correct the labels of the pod");
}

/// Reports which of the pod's annotations are ignored.
Explanation Walk::annotations(const watcher::PodSummary& pod, const watcher::Covering& covering) {
  for (const auto& trouble : covering.troubles) say("annotation", Verdict::no, trouble);
  if (pod.overLimit > 0) {
    say("annotation", Verdict::no,
        std::to_string(pod.overLimit) + " of its containers are ignored: too many containers of namespace " +
            pod.sandbox.podNamespace + " are waiting for annotated images");
  }
  return end("some annotations of this pod are ignored",
             "write fallbackd.io/binary.CONTAINER: NAME@VERSION and fallbackd.io/image.CONTAINER: the image "
             "as the pod names it, for at most " +
                 std::to_string(watcher::kMaxChosenContainers) + " containers");
}

Explanation Walk::container(const watcher::PodSummary& pod, const config::Workload& workload) {
  result_.container = workload.match.container;
  result_.workload = workload.name;
  say("match", Verdict::yes,
      "workload " + workload.name + " (" + workload.definedAt + ") covers the container");
  const auto of = [&](const auto& target) {
    return target.sandboxId == pod.sandbox.id && target.container == workload.match.container;
  };
  const auto found = std::find_if(snapshot_.incidents.begin(), snapshot_.incidents.end(),
                                  [&](const Incident& one) { return of(one.target); });
  if (found != snapshot_.incidents.end() && (!recovery::isEnd(found->state) || found->neverAgain)) {
    if (workload.inheritance.on) static_cast<void>(specification(pod, workload));
    return incident(*found);
  }

  const auto made = std::find_if(pod.containers.begin(), pod.containers.end(),
                                 [&](const auto& one) { return one.name == workload.match.container; });
  if (made != pod.containers.end()) {
    say("container", Verdict::no,
        made->exitCode ? "the real container was created, and ended with " + std::to_string(*made->exitCode)
                       : "the real container was created in this sandbox");
    if (found != snapshot_.incidents.end()) return incident(*found);
    return end("the real container exists: no fallback is needed");
  }
  say("container", Verdict::yes, "no container with that name has been created yet");
  if (workload.inheritance.on) {
    if (auto ending = specification(pod, workload))
      return end(std::move(ending->verdict), std::move(ending->next));
  }
  const auto waits = std::find_if(snapshot_.waiting.begin(), snapshot_.waiting.end(), [&](const auto& one) {
    return one.sandbox.id == pod.sandbox.id && one.workload->match.container == workload.match.container;
  });
  if (found != snapshot_.incidents.end() && waits == snapshot_.waiting.end()) return incident(*found);
  if (waits != snapshot_.waiting.end()) return waiting(*waits);
  say("image", Verdict::pending, "the container is not being watched");
  return end("nothing is known yet", snapshot_.containerdConnected
                                         ? std::string("try again in a moment")
                                         : "containerd " + snapshot_.containerdTrouble());
}

}  // namespace fallbackd::app

// SPDX-License-Identifier: Apache-2.0
#include "standin/order.hpp"

#include "domain/stand_in.hpp"
#include "standin/hash.hpp"

#include <algorithm>
#include <charconv>

namespace fallbackd::standin {

namespace {

constexpr const char* kContainerLabel = "io.kubernetes.container.name";
constexpr const char* kRestartCount = "io.kubernetes.container.restartCount";
constexpr uid_t kNobody = 65532;

/// kubelet's count of the container's starts so far, according to its containers.
unsigned startsOf(const std::string& container, const std::vector<cri::Container>& others) {
  unsigned starts = 0;
  for (const auto& one : others) {
    const auto said = one.annotations.find(kRestartCount);
    if (one.name != container || one.labels.contains(kStandInLabel) || said == one.annotations.end())
      continue;
    unsigned count = 0;
    const auto* const end = said->second.data() + said->second.size();
    if (std::from_chars(said->second.data(), end, count).ec != std::errc{}) continue;
    starts = std::max(starts, count + 1);
  }
  return starts;
}

bool hasOne(const std::vector<cri::Container>& others, const std::string& name, cri::Container::State state) {
  return std::any_of(others.begin(), others.end(),
                     [&](const auto& one) { return one.name == name && one.state == state; });
}

}  // namespace

std::string missingBefore(const Request& request, const std::vector<cri::Container>& others) {
  using State = cri::Container::State;
  for (const auto& name : request.initContainers) {
    if (!hasOne(others, name, State::exited) || hasOne(others, name, State::running))
      return "init container " + name + " has not ended";
  }
  for (const auto& name : request.sidecars) {
    if (!hasOne(others, name, State::running)) return "sidecar " + name + " does not run";
  }
  return {};
}

cri::ContainerOrder orderOf(const Request& request, const std::string& runDir,
                            const std::vector<cri::Container>& others) {
  const auto& pod = request.sandbox.sandbox;
  cri::ContainerOrder order;
  order.name = request.container;
  order.attempt = kFirstAttempt + request.restarts;
  order.image = imageNameOf(request.binary, request.executable);
  order.env = request.env;
  order.logPath = request.logPath;
  order.user = kNobody;
  order.group = kNobody;
  order.labels = {{kContainerLabel, request.container},
                  {"io.kubernetes.pod.name", pod.podName},
                  {"io.kubernetes.pod.namespace", pod.podNamespace},
                  {"io.kubernetes.pod.uid", pod.podUid},
                  {kStandInLabel, request.recoveryId}};
  order.annotations = {
      {"io.kubernetes.container.hash", kubeletsHash(request.container, request.image)},
      {kRestartCount, std::to_string(startsOf(request.container, others) + request.restarts)},
      {"io.kubernetes.container.terminationMessagePath", "/dev/termination-log"},
      {"io.kubernetes.container.terminationMessagePolicy", "File"},
      {"io.kubernetes.pod.terminationGracePeriod", std::to_string(request.grace.count())},
      {kStandInOwner, runDir}};
  return order;
}

}  // namespace fallbackd::standin

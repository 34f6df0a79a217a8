// SPDX-License-Identifier: Apache-2.0
#include "kube/pods.hpp"

#include <utility>

namespace fallbackd::kube {

std::vector<SourceState> Pods::sources() const {
  std::vector<SourceState> states;
  for (const auto& [kind, state] : states_) states.push_back(state);
  return states;
}

void Pods::remember(std::vector<PodPtr> pods, Wall::time_point saved) {
  if (pods.empty()) return;
  view_.remember(std::move(pods));
  remembered_ = saved;
  tell("");
}

void Pods::listed(SourceKind source, std::vector<PodPtr> pods) {
  view_.list(source, pods);
  remembered_.reset();
  tell("");
}

void Pods::changed(SourceKind source, PodPtr pod) {
  view_.change(source, pod);
  tell(pod->uid);
}

void Pods::gone(SourceKind source, PodPtr pod) {
  view_.remove(source, pod);
  tell(pod->uid);
}

void Pods::stateChanged(SourceState state) {
  if (view_.health(state.kind, state.health)) tell("");
  auto& known = states_[state.kind];
  // Only changes of health, and new errors, are worth a line in the log.
  const bool news =
      state.health != Health::waiting &&
      (known.health != state.health || (state.health == Health::failing && known.error != state.error));
  known = std::move(state);
  if (news && stateListener_) stateListener_(known);
}

}  // namespace fallbackd::kube

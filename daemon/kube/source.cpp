// SPDX-License-Identifier: Apache-2.0
#include "kube/source.hpp"

#include <utility>

namespace fallbackd::kube {

std::string_view toString(SourceKind kind) {
  switch (kind) {
    case SourceKind::kubelet:
      return "kubelet";
    case SourceKind::apiserver:
      return "apiserver";
    case SourceKind::namespaces:
      return "namespaces";
  }
  return "apiserver";
}

std::string_view toString(Health health) {
  switch (health) {
    case Health::waiting:
      return "waiting";
    case Health::up:
      return "up";
    case Health::failing:
      return "failing";
  }
  return "waiting";
}

StateKeeper::StateKeeper(SourceKind kind, const Clock& clock, std::function<void(const SourceState&)> tell)
    : clock_(clock), tell_(std::move(tell)) {
  state_.kind = kind;
  state_.since = clock_.wall();
}

void StateKeeper::become(Health health) {
  if (state_.health != health) state_.since = clock_.wall();
  state_.health = health;
  tell_(state_);
}

void StateKeeper::succeeded() {
  count(Outcome::ok);
  state_.lastSuccess = clock_.wall();
  become(Health::up);
}

void StateKeeper::failed(const Error& error, Outcome outcome) {
  count(outcome);
  state_.error = error.message();
  become(Health::failing);
}

void StateKeeper::noted(const Error& error, Outcome outcome) {
  count(outcome);
  state_.error = error.message();
  become(state_.health);
}

}  // namespace fallbackd::kube

// SPDX-License-Identifier: Apache-2.0
// What every source of pods has: a kind, a visible state, and a sink for what it learns.
#pragma once

#include "base/clock.hpp"
#include "base/error.hpp"
#include "kube/outcome.hpp"
#include "kube/pod_object.hpp"

#include <array>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace fallbackd::kube {

/// Those that describe pods, in the order of precedence, and the one that describes namespaces.
enum class SourceKind : std::uint8_t { kubelet, apiserver, namespaces };
inline constexpr std::size_t kSources = 2;  // of pods
std::string_view toString(SourceKind kind);

enum class Health : std::uint8_t {
  waiting,  // has not been queried yet
  up,
  failing,  // the latest request failed
};
std::string_view toString(Health health);

struct SourceState {
  SourceKind kind = SourceKind::apiserver;
  Health health = Health::waiting;
  Wall::time_point since;  // of `health`
  std::optional<Wall::time_point> lastSuccess;
  std::string error;  // the latest; kept after a success, until the next one
  std::array<std::uint64_t, kOutcomes> requests{};
};

/// Receives what a source learns. Called on the source's thread.
class PodSink {
 public:
  PodSink() = default;
  PodSink(const PodSink&) = delete;
  PodSink& operator=(const PodSink&) = delete;
  virtual ~PodSink() = default;

  /// All pods that this source has now.
  virtual void listed(SourceKind source, std::vector<PodPtr> pods) = 0;
  virtual void changed(SourceKind source, PodPtr pod) = 0;
  virtual void gone(SourceKind source, PodPtr pod) = 0;
  virtual void stateChanged(SourceState state) = 0;
};

/// A source's state; reports each change. One thread.
class StateKeeper {
 public:
  StateKeeper(SourceKind kind, const Clock& clock, std::function<void(const SourceState&)> tell);

  void succeeded();
  void failed(const Error& error, Outcome outcome);
  /// Not a success, but expected in normal operation.
  void noted(const Error& error, Outcome outcome);
  [[nodiscard]] const SourceState& state() const { return state_; }

 private:
  void become(Health health);
  void count(Outcome outcome) { ++state_.requests.at(static_cast<std::size_t>(outcome)); }

  const Clock& clock_;
  std::function<void(const SourceState&)> tell_;
  SourceState state_;
};

}  // namespace fallbackd::kube

// SPDX-License-Identifier: Apache-2.0
// One incident of one container of one pod, as data: logged, journalled, measured and shown.
#pragma once

#include "base/clock.hpp"
#include "base/error.hpp"
#include "domain/binary_ref.hpp"
#include "domain/cause.hpp"
#include "recovery/settlement.hpp"

#include <array>
#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace fallbackd::recovery {

#define FALLBACKD_STATES(X) \
  X(detected)               \
  X(verified)               \
  X(health_checked)         \
  X(started)                \
  X(ready) X(handed_back) X(completed) X(pod_gone) X(withdrawn) X(failed)

enum class State : std::uint8_t {
#define X(name) name,
  FALLBACKD_STATES(X)
#undef X
};
std::string_view toString(State state);
constexpr bool isEnd(State state) {
  return state >= State::handed_back;
}

/// One container of one sandbox; at most one recovery exists for it at a time.
struct Target {
  std::string sandboxId;
  std::string podUid;
  std::string podNamespace;
  std::string podName;
  std::string container;
  friend auto operator<=>(const Target&, const Target&) = default;
};

/// Monotonic stamps of the transitions that happened.
struct Stamps {
  Stamp waitingSince{};
  Stamp detected{};
  std::optional<Stamp> verified;
  std::optional<Stamp> prepared;
  std::optional<Stamp> healthChecked;
  std::optional<Stamp> started;
  std::optional<Stamp> ready;
  std::optional<Stamp> standIn;   // the first one ran
  std::optional<Stamp> adopted;   // Kubernetes shows that it runs
  std::optional<Stamp> podReady;  // and its pod as Ready
  std::optional<Stamp> stopped;   // its port is free for the real container; what is left is clean-up
  std::optional<Stamp> ended;
};

struct Incident {
  std::string id;  // names the recovery in logs, journal, status and files: [0-9a-f]{12}
  Target target;
  std::string workload;
  BinaryRef binary;
  Cause cause = Cause::unknown;
  std::string causeText;
  std::chrono::nanoseconds verdictTook{};  // from the probe pull to its verdict; 0: known before
  State state = State::detected;
  Wall::time_point begun;
  Stamps stamps;
  std::string podIp;
  std::string address;  // where it serves: podIp with the port of its readiness, as far as known
  int pid = 0;
  unsigned restarts = 0;
  bool adopted = false;        // taken over from an earlier daemon: its stamps are not ours
  bool neverAgain = false;     // its restart policy forbids another run for this pod
  std::optional<Error> error;  // why it failed; before that, why it cannot be launched or probed at present
  std::optional<Settlement> settlement = {};  // absent: nothing is decided
};

/// A new recovery id.
std::string newRecoveryId();

}  // namespace fallbackd::recovery

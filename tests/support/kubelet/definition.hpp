// SPDX-License-Identifier: Apache-2.0
// What an API server sends to kubelet about a pod, and kubelet's own configuration, as far as the model has
// rules for them.
#pragma once

#include "pod.hpp"

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace fallbackd::e2e::model {

using Millis = std::chrono::milliseconds;

enum class RestartPolicy : std::uint8_t { always, on_failure, never };
enum class PullPolicy : std::uint8_t { if_not_present, always, never };
enum class ResizePolicy : std::uint8_t { in_place, restart_container };
/// A sidecar is an init container with restartPolicy Always.
enum class Role : std::uint8_t { regular, init, sidecar };

struct Probe {
  enum class Kind : std::uint8_t { http, tcp, exec };
  Kind kind = Kind::tcp;
  std::uint16_t port = 0;
  std::string path = "/";
  std::vector<std::string> command = {};
  Millis initialDelay{0};
  Millis period{10'000};
  Millis timeout{1'000};
  int failureThreshold = 3;
  int successThreshold = 1;
};

struct ContainerDefinition {
  ContainerSpec spec;  // the image as written in the specification
  Role role = Role::regular;
  PullPolicy pull = PullPolicy::if_not_present;
  ResizePolicy resize = ResizePolicy::in_place;
  std::optional<Probe> startup = {};
  std::optional<Probe> readiness = {};
  std::optional<Probe> liveness = {};
  std::vector<std::string> preStop = {};  // runs inside the container; empty: none
};

struct PodDefinition {
  PodSpec pod;
  std::vector<ContainerDefinition> containers;  // init containers and sidecars first, in order
  RestartPolicy restart = RestartPolicy::always;
  std::chrono::seconds grace{30};  // terminationGracePeriodSeconds; never scaled
};

/// Kubelet's times. A test may scale them all together. The times of probes are in the pod.
struct Times {
  Millis relist{1'000};
  /// Between syncs of a pod that had an error: 10 to 15 s in kubelet, at random; here the middle.
  Millis failedSync{12'500};
  /// The same without an error: 60 to 90 s in kubelet.
  Millis resync{75'000};
  Millis pullBackOff{10'000};
  Millis crashBackOff{10'000};
  Millis maxBackOff{300'000};

  [[nodiscard]] Times scaled(double factor) const {
    const auto by = [factor](Millis time) {
      return std::max(Millis(1), std::chrono::duration_cast<Millis>(time * factor));
    };
    return {by(relist), by(failedSync), by(resync), by(pullBackOff), by(crashBackOff), by(maxBackOff)};
  }
};

/// Versions that differ in a rule of the model.
enum class Version : std::uint8_t { v1_30 = 30, v1_31 = 31, v1_33 = 33, v1_36 = 36 };
enum class Pulls : std::uint8_t { serialized, parallel };

struct Options {
  Version version = Version::v1_36;
  Pulls pulls = Pulls::serialized;
  Times times = {};
  /// Kubelet's checkpoints and its links to logs. Empty: a folder of the run.
  std::filesystem::path folder = {};
};

}  // namespace fallbackd::e2e::model

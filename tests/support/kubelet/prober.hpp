// SPDX-License-Identifier: Apache-2.0
// One probe of one container of a pod, repeated as kubelet's prober does.
#pragma once

#include "kubelet/parts.hpp"

#include <functional>
#include <string>
#include <thread>

namespace fallbackd::e2e::model {

/// Has its own thread. The destructor ends it; a probe that is running ends at its timeout.
class Prober {
 public:
  /// `wake` is called when a liveness or startup probe has a result that the pod's worker acts on.
  Prober(const Parts& parts, const PodDefinition& pod, const ContainerDefinition& container, ProbeType type,
         std::function<void()> wake);
  Prober(const Prober&) = delete;
  Prober& operator=(const Prober&) = delete;
  ~Prober();

  [[nodiscard]] ProbeType type() const { return type_; }

 private:
  enum class Answer : std::uint8_t { success, failure, none };
  void run(const std::stop_token& stop);
  /// Probes the container if it exists and is due.
  void tick(const PodStatus& pod);
  void follow(const std::string& containerId);
  void count(bool success, const std::string& message);
  [[nodiscard]] bool freshContainer(const PodStatus& pod) const;
  Answer ask(const PodStatus& pod, const ContainerStatus& container, std::string& message) const;

  Parts parts_;
  const PodDefinition& pod_;
  const ContainerDefinition& container_;
  Probe probe_;
  ProbeType type_;
  std::function<void()> wake_;
  std::string containerId_;
  bool onHold_ = false;  // after a failed liveness or startup probe, until the next container
  bool last_ = false;
  int inARow_ = 0;
  std::jthread thread_;
};

}  // namespace fallbackd::e2e::model

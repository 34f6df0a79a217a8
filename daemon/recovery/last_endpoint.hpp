// SPDX-License-Identifier: Apache-2.0
// handBack.when: spread. A pod that is the only ready one of its workload keeps its stand-in until another
// pod is reported to be ready, but not for ever. On the daemon's loop.
#pragma once

#include "base/clock.hpp"

#include <chrono>
#include <optional>
#include <string>

namespace fallbackd::recovery {

struct Services;

class LastEndpoint {
 public:
  /// After this time it makes way all the same: the other pods may never come.
  static constexpr std::chrono::minutes kLimit{10};

  /// The services outlive this.
  LastEndpoint(const Services& services, const Clock& clock, const std::string& podUid)
      : services_(services), clock_(clock), podUid_(podUid) {}

  /// Why the pod has to stay Ready; nothing: it may make way now. Called repeatedly while it waits. It
  /// asks the pod's owner, and waits a second for the answer.
  [[nodiscard]] std::optional<std::string> mustStay();
  /// It makes way although no other pod became ready in kLimit.
  [[nodiscard]] bool gaveUp() const { return gaveUp_; }
  /// The next wait is a new one.
  void reset();

 private:
  static constexpr const char* kAsks =
      "its image can be pulled; its owner is asked which of its pods are ready";

  std::string ask(Stamp now);

  const Services& services_;
  const Clock& clock_;
  const std::string& podUid_;
  std::optional<Stamp> since_;
  std::optional<Stamp> askedAt_;
  bool gaveUp_ = false;
  std::string why_ = kAsks;
};

}  // namespace fallbackd::recovery

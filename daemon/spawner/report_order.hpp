// SPDX-License-Identifier: Apache-2.0
// Which reports of a launch the spawner believes. The kernel names each sender; a report counts once, in
// its turn, and only from the process whose turn it is.
#pragma once

#include "spawner/child_report.hpp"

#include <cstdint>
#include <sys/types.h>

namespace fallbackd::launcher {

class ReportOrder {
 public:
  explicit ReportOrder(pid_t spare) : spare_(spare) {}

  /// Whether this report is due from this process. The first process that reports "born" and is not the spare
  /// is the child from then on; the caller checks whether it can be one.
  bool accept(pid_t sender, ChildReport::Kind kind);

  /// 0 before it is born.
  [[nodiscard]] pid_t child() const { return child_; }

 private:
  enum class State : std::uint8_t { unborn, born, executing, over };

  pid_t spare_;
  pid_t child_ = 0;
  State state_ = State::unborn;
};

}  // namespace fallbackd::launcher

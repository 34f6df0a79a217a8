// SPDX-License-Identifier: Apache-2.0
// Whether the process that a launch holds still is its sandbox's pause process, according to the container
// runtime, which is asked while the launch is prepared. One io_context thread.
#pragma once

#include "base/error.hpp"
#include "cri/types.hpp"
#include "launcher/launcher_parts.hpp"
#include "sys/fd.hpp"

#include <memory>
#include <string>

#include <boost/asio/awaitable.hpp>

namespace fallbackd::launcher {

class PauseCheck {
 public:
  /// Asks the runtime, in the background.
  void ask(LauncherParts& parts, std::string sandboxId);

  /// Whether `pause` still runs and the runtime, if it was asked, named it. Stages containerd and sandbox;
  /// sandbox_changed if the runtime named another process, sandbox_gone if it ended. Waits for the answer.
  /// The arguments must outlive the call.
  boost::asio::awaitable<Result<>> confirm(const cri::SandboxStatus& status, const sys::PidFd& pause) const;

 private:
  struct Question;
  std::shared_ptr<Question> question_;  // shared with the coroutine that asks; null: not asked
};

}  // namespace fallbackd::launcher

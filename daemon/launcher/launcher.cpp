// SPDX-License-Identifier: Apache-2.0
#include "launcher/launcher.hpp"

namespace fallbackd::launcher {

std::string ExitStatus::toString() const {
  std::string text = kind == Kind::exited     ? "exit code " + std::to_string(value)
                     : kind == Kind::signaled ? "signal " + std::to_string(value)
                                              : "ended";
  if (oomKilled) text.append(" (oom)");
  return text;
}

}  // namespace fallbackd::launcher

// SPDX-License-Identifier: Apache-2.0
// A hostile process in the pod: tests/programs/attacker, inside a fake sandbox that shares its PID namespace.
#pragma once

#include "fake_sandbox.hpp"

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

namespace fallbackd::test {

/// Runs until it is destroyed.
class Neighbour {
 public:
  /// `capabilities`: one bit each, in the sandbox's user namespace, or in the node's if the sandbox does not
  /// have its own. It writes its report to `report`. Waits until it runs, a few seconds at most.
  Neighbour(const FakeSandbox& sandbox, std::uint64_t capabilities, const std::vector<std::string>& arguments,
            std::filesystem::path report);
  Neighbour(const Neighbour&) = delete;
  Neighbour& operator=(const Neighbour&) = delete;
  ~Neighbour();

  [[nodiscard]] bool ready() const { return ready_; }
  /// Ends it. Returns its lines, in order.
  std::vector<std::string> finish();

 private:
  void end();

  std::filesystem::path report_;
  pid_t outer_ = 0;  // waits for the neighbour, which dies with it
  bool ready_ = false;
};

}  // namespace fallbackd::test

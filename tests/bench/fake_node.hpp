// SPDX-License-Identifier: Apache-2.0
// A node with sandboxes on a fake CRI socket, and a real daemon. Hostile pods have no process; honest ones
// have a real pause process and cgroup, so that their fallbacks are really launched.
#pragma once

#include "base/clock.hpp"
#include "daemon.hpp"
#include "fake_cri.hpp"
#include "fake_sandbox.hpp"
#include "sys/cgroup.hpp"

#include <chrono>
#include <cstddef>
#include <deque>
#include <filesystem>
#include <map>
#include <memory>
#include <string>
#include <vector>

namespace fallbackd::bench {

/// What the daemon's log reports about honest pods.
struct HonestLog {
  std::map<std::string, Wall::time_point> ready;  // by name
  std::string failed;                             // the first line of a recovery that failed
};
HonestLog readLog(const std::filesystem::path& log);

/// Used by one thread.
class FakeNode {
 public:
  /// Has a hundred workloads for the honest pods, each with its own registry.
  static Result<std::unique_ptr<FakeNode>> open();

  /// Removes the oldest one if there are more than `kAtOnce`.
  void addHostile(std::size_t number);
  void addHonest(std::size_t number);
  /// Ends honest pods whose time is up.
  void tend();

  /// Milliseconds from the start of the sandbox to the ready fallback, for all honest pods so far. Waits
  /// until all are ready.
  Result<std::vector<double>> recoveries();

  [[nodiscard]] e2e::Daemon& daemon() { return *daemon_; }
  [[nodiscard]] e2e::FakeCri::Counts counts() const { return cri_->counts(); }

  static constexpr std::size_t kAtOnce = 200;

 private:
  struct Honest {
    std::unique_ptr<test::FakeSandbox> sandbox;
    std::string id;
    Stamp since;
    enum class State : std::uint8_t { there, removed } state = State::there;
  };
  explicit FakeNode(e2e::Signer signer) : signer_(std::move(signer)) {}

  e2e::Signer signer_;
  std::filesystem::path folder_;
  std::vector<sys::CgroupHierarchy> hierarchies_;
  std::unique_ptr<e2e::FakeCri> cri_;
  std::unique_ptr<e2e::Daemon> daemon_;
  std::deque<std::string> live_;  // hostile ones, by age
  std::deque<Honest> honest_;     // by age
  std::map<std::string, Wall::time_point> started_;
};

}  // namespace fallbackd::bench

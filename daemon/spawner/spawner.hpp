// SPDX-License-Identifier: Apache-2.0
// The spawner's loop: orders in, processes out, reports back. One thread; ends when the daemon is gone.
#pragma once

#include "spawner/child_report.hpp"
#include "spawner/protocol.hpp"
#include "sys/fd.hpp"

#include <csignal>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

namespace fallbackd::launcher {

class Spawner {
 public:
  explicit Spawner(sys::UniqueFd socket);
  ~Spawner();

  /// Private root, signals.
  Result<> setUp();
  /// Runs until the daemon closes its end. Kills launches that have not executed by then; running programs
  /// run on.
  Result<> run();
  /// Reports a failed setUp() to the daemon.
  void reportFailure(const Error& error);

 private:
  struct Launch;

  Result<> takeOrder(bool& daemonGone);
  Result<> makeSpare();
  void prepare();
  void abort(std::uint64_t id);
  void end(Launch& launch);
  void readReports(Launch& launch);
  void take(Launch& launch, const ChildReport& report, pid_t sender);
  [[nodiscard]] bool mayBe(pid_t sender) const;
  void hold(Launch& launch, pid_t process);
  void enterPids(Launch& launch);
  void stopped(const siginfo_t& stop);
  void giveUp(Launch& launch, Error error);
  void executed(Launch& launch);
  enum class Children { are_quiet, have_more };
  /// Handles what has become of children, up to a limit, so that orders are read in between.
  Children reap();
  void buried(const siginfo_t& ended);
  void send(const Report& report, const sys::UniqueFd* fd = nullptr);
  void sendFailure(std::uint64_t id, const Error& error);

  sys::UniqueFd socket_;
  sys::UniqueFd signals_;
  sys::UniqueFd events_;    // epoll
  bool wantsSpare_ = true;  // as soon as there is time
  std::set<pid_t> spent_;   // used up and to be killed; not reaped yet
  std::set<pid_t> strays_;  // stopped before the launch they belong to is known; see Transfer
  std::vector<ProcessLimit> limits_;
  std::uint64_t lastId_ = 0;
  std::map<std::uint64_t, std::unique_ptr<Launch>> launches_;  // from their spare on
};

}  // namespace fallbackd::launcher

// The loop of the spawner: orders in, processes out, reports back. One thread; ends when the daemon is gone.
#pragma once

#include "launcher/spawner/child.hpp"
#include "sys/fd.hpp"

#include <map>
#include <memory>
#include <string>
#include <vector>

namespace fallbackd::launcher {

class Spawner {
 public:
  explicit Spawner(sys::UniqueFd socket);
  ~Spawner();

  /// Private root, signals.
  Result<> setUp();
  /// Until the daemon closes its end. Launches that are not executed by then are killed; what runs, runs on.
  Result<> run();
  /// Tells the daemon of a failed setUp().
  void reportFailure(const Error& error);

 private:
  struct Launch;

  Result<> takeOrder(bool& daemonGone);
  void begin(LaunchOrder order, LaunchFds fds);
  Result<> start(Launch& launch);
  Result<pid_t> cloneChild(ChildPlan& plan, int& pidfd);
  void abort(std::uint64_t id);
  void readReports(Launch& launch);
  void executed(Launch& launch);
  void reap();
  void send(const Report& report, const sys::UniqueFd* fd = nullptr);
  void sendFailure(std::uint64_t id, const Error& error);

  sys::UniqueFd socket_;
  sys::UniqueFd signals_;
  sys::UniqueFd events_;      // epoll
  sys::NamespaceFd ownPids_;  // to come back from a sandbox's PID namespace
  std::vector<ProcessLimit> limits_;
  std::map<std::uint64_t, std::unique_ptr<Launch>> launches_;
};

}  // namespace fallbackd::launcher

// The loop of the spawner: orders in, processes out, reports back. One thread; ends when the daemon is gone.
#pragma once

#include "launcher/protocol.hpp"
#include "launcher/spawner/steps.hpp"
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
  /// Until the daemon closes its end. Launches that are not executed by then are killed; what runs, runs on.
  Result<> run();
  /// Tells the daemon of a failed setUp().
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
  void enterPids(Launch& launch);
  void stopped(const siginfo_t& stop);
  void giveUp(Launch& launch, Error error);
  void executed(Launch& launch);
  void reap();
  void buried(const siginfo_t& ended);
  void send(const Report& report, const sys::UniqueFd* fd = nullptr);
  void sendFailure(std::uint64_t id, const Error& error);

  sys::UniqueFd socket_;
  sys::UniqueFd signals_;
  sys::UniqueFd events_;    // epoll
  bool wantsSpare_ = true;  // as soon as there is time
  std::set<pid_t> spent_;   // had their part in a launch and are to be killed; not reaped yet
  std::set<pid_t> strays_;  // stopped before the launch that they belong to is known; see Transfer
  std::vector<ProcessLimit> limits_;
  std::uint64_t lastId_ = 0;
  std::map<std::uint64_t, std::unique_ptr<Launch>> launches_;  // from the spare on
};

}  // namespace fallbackd::launcher

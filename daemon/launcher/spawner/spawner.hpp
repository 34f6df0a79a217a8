// The loop of the spawner: orders in, processes out, reports back. One thread; ends when the daemon is gone.
#pragma once

#include "launcher/protocol.hpp"
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
  void executed(Launch& launch);
  void reap();
  void buried(const siginfo_t& ended);
  void send(const Report& report, const sys::UniqueFd* fd = nullptr);
  void sendFailure(std::uint64_t id, const Error& error);

  sys::UniqueFd socket_;
  sys::UniqueFd signals_;
  sys::UniqueFd events_;    // epoll
  bool wantsSpare_ = true;  // as soon as there is time
  std::set<pid_t> spent_;   // spares whose launch runs; not reaped yet
  std::vector<ProcessLimit> limits_;
  std::uint64_t lastId_ = 0;
  std::map<std::uint64_t, std::unique_ptr<Launch>> launches_;  // from the spare on
};

}  // namespace fallbackd::launcher

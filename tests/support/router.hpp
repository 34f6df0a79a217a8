// SPDX-License-Identifier: Apache-2.0
// A Service: a TCP proxy on loopback whose endpoints are the ready pods, as an EndpointSlice controller and
// kube-proxy would have them after a while. What is connected stays connected.
#pragma once

#include "base/clock.hpp"
#include "kubelet/status.hpp"
#include "loop_server.hpp"

#include <condition_variable>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

namespace fallbackd::e2e {

class Router final : public LoopServer {
 public:
  /// To this port of each pod; each change takes effect `lag` later.
  static Result<std::unique_ptr<Router>> start(std::uint16_t podPort, std::chrono::milliseconds lag);
  ~Router() override;

  /// For KubeletModel::subscribe; the model ends before the router. A pod that is being deleted is not ready.
  void update(const model::PodStatus& pod);
  /// Those in effect now.
  [[nodiscard]] std::size_t endpoints();
  bool waitForEndpoints(std::size_t count, std::chrono::nanoseconds ceiling);
  /// When the first connection reached the pod with this address, since it became ready.
  [[nodiscard]] std::optional<Stamp> reached(const std::string& ip) const;
  /// Connections that found no endpoint: reset, as kube-proxy rejects them.
  [[nodiscard]] unsigned rejected() const;

 private:
  Router(std::uint16_t podPort, std::chrono::milliseconds lag) : podPort_(podPort), lag_(lag) {}
  boost::asio::awaitable<void> serve(boost::asio::ip::tcp::socket socket) override;
  void applyDue();
  /// The next one in turn; empty: there is none.
  std::string pick();

  struct Change {
    Stamp due;
    std::string ip;
    bool ready = false;
  };
  std::uint16_t podPort_;
  std::chrono::milliseconds lag_;
  mutable std::mutex mutex_;
  std::condition_variable changed_;
  std::vector<Change> changes_;           // in the order of their times; guarded by mutex_
  std::vector<std::string> endpoints_;    // guarded by mutex_
  std::size_t next_ = 0;                  // guarded by mutex_
  unsigned rejected_ = 0;                 // guarded by mutex_
  std::map<std::string, Stamp> reached_;  // by address; guarded by mutex_
};

}  // namespace fallbackd::e2e

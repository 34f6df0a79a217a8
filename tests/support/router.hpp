// SPDX-License-Identifier: Apache-2.0
// A Service: a TCP proxy on loopback with the ready pods as endpoints, as an EndpointSlice controller and
// kube-proxy provide them after a while. Established connections stay connected.
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
  /// Connects to this port of each pod; each change takes effect `lag` later.
  static Result<std::unique_ptr<Router>> start(std::uint16_t podPort, std::chrono::milliseconds lag);
  ~Router() override;

  /// For KubeletModel::subscribe; the model ends before the router. A pod that is being deleted is not ready.
  void update(const model::PodStatus& pod);
  /// The number of endpoints in effect now.
  [[nodiscard]] std::size_t endpoints();
  bool waitForEndpoints(std::size_t count, std::chrono::nanoseconds ceiling);
  /// When the first connection reached the pod with this address, since it became ready.
  [[nodiscard]] std::optional<Stamp> reached(const std::string& ip) const;
  /// The number of connections that found no endpoint; they are reset, as kube-proxy rejects them.
  [[nodiscard]] unsigned rejected() const;

 private:
  Router(std::uint16_t podPort, std::chrono::milliseconds lag) : podPort_(podPort), lag_(lag) {}
  boost::asio::awaitable<void> serve(boost::asio::ip::tcp::socket socket) override;
  void applyDue();
  /// The next endpoint in turn; empty: there is none.
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

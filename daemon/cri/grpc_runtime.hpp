// SPDX-License-Identifier: Apache-2.0
// Runtime, Control and EventSource over containerd's unix socket. The channel connects and reconnects by
// itself. Used from the daemon's single io_context thread.
#pragma once

#include "cri/control.hpp"
#include "cri/image_store.hpp"
#include "cri/runtime.hpp"

#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <string>

#include <boost/asio/any_io_executor.hpp>

namespace fallbackd::cri {

/// Number of calls sent, by method ("ImageService/PullImage"). May be read on any thread.
class CallCounts {
 public:
  void count(const std::string& method) {
    const std::lock_guard lock(guard_);
    ++counts_[method];
  }
  [[nodiscard]] std::map<std::string, std::uint64_t> all() const {
    const std::lock_guard lock(guard_);
    return counts_;
  }

 private:
  mutable std::mutex guard_;
  std::map<std::string, std::uint64_t> counts_;
};

struct Connection {
  std::unique_ptr<Runtime> runtime;
  std::unique_ptr<EventSource> events;
  std::unique_ptr<ImageStore> images;
  std::unique_ptr<Control> control;
  std::shared_ptr<const CallCounts> calls;
};

/// Never fails: a missing socket shows in the first call (reason unavailable).
/// `containerdNamespace`: where CRI keeps its containers, "k8s.io".
Connection connect(const std::string& socketPath, const std::string& containerdNamespace,
                   boost::asio::any_io_executor executor);

}  // namespace fallbackd::cri

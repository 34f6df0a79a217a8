// Runtime and EventSource over containerd's unix socket. The channel connects and reconnects by itself.
// Used from the daemon's one io_context thread.
#pragma once

#include "cri/runtime.hpp"

#include <memory>
#include <string>

#include <boost/asio/any_io_executor.hpp>

namespace fallbackd::cri {

struct Connection {
  std::unique_ptr<Runtime> runtime;
  std::unique_ptr<EventSource> events;
};

/// Never fails: a socket that is not there yet shows in the first call (reason unavailable).
/// `containerdNamespace`: where CRI keeps its containers, "k8s.io".
Connection connect(const std::string& socketPath, const std::string& containerdNamespace,
                   boost::asio::any_io_executor executor);

}  // namespace fallbackd::cri

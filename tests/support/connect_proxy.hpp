// SPDX-License-Identifier: Apache-2.0
// An HTTP proxy that fails. The first label of the requested name selects what it does with a CONNECT.
#pragma once

#include "loop_server.hpp"

#include <memory>
#include <string>

namespace fallbackd::e2e {

/// "403.proxied.test" gets that status with its usual phrase, "words.proxied.test" a 503 with the proxy's own
/// phrase. "closes..." closes the connection, "resets..." resets it, "cuts..." sends half an answer,
/// "hangs..." never answers, "noise..." sends bytes that are not HTTP. Any other name gets a 500.
class ConnectProxy final : public LoopServer {
 public:
  static Result<std::unique_ptr<ConnectProxy>> start();
  ~ConnectProxy() override;

  /// For HTTPS_PROXY.
  [[nodiscard]] std::string url() const { return "http://" + address(); }

 private:
  ConnectProxy() = default;
  boost::asio::awaitable<void> serve(boost::asio::ip::tcp::socket socket) override;
};

}  // namespace fallbackd::e2e

// SPDX-License-Identifier: Apache-2.0
// An HTTP proxy that fails. What it does with a CONNECT is in the name that is asked for: the first label
// says it.
#pragma once

#include "loop_server.hpp"

#include <memory>
#include <string>

namespace fallbackd::e2e {

/// "403.proxied.test" is answered by that status and its usual phrase, "words.proxied.test" by 503 with a
/// phrase of the proxy's own, "closes.proxied.test" by the end of the connection, "resets..." by a reset,
/// "cuts..." by half an answer; "hangs..." is never answered, "noise..." by bytes that are not HTTP. Anything
/// else gets a 500.
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

// SPDX-License-Identifier: Apache-2.0
// A server with just enough HTTP/2 over TLS to fail in HTTP/2's ways. It never decodes a request, so it needs
// no header compression: it treats every request alike.
#pragma once

#include "certificate.hpp"
#include "loop_server.hpp"

#include <atomic>
#include <cstdint>
#include <memory>
#include <string>

#include <boost/asio/ssl/context.hpp>

namespace fallbackd::e2e {

enum class Http2Fault : std::uint8_t {
  goaway,       // before any answer: GOAWAY with NO_ERROR; it covers the request, so that it is not retried
  goaway_calm,  // the same with ENHANCE_YOUR_CALM and text as debug data
  goaway_within_body,  // 200, some bytes, GOAWAY with an error, close
  reset_stream,        // RST_STREAM with INTERNAL_ERROR
  reset_within_body,   // 200, some bytes, RST_STREAM with INTERNAL_ERROR
  closes,              // closes the connection
};

class Http2Server final : public LoopServer {
 public:
  static Result<std::unique_ptr<Http2Server>> start(Http2Fault fault, const Certificate& certificate);
  ~Http2Server() override;

  /// Whether a client has connected, and whether one has offered HTTP/2. Without it the connection is closed.
  [[nodiscard]] bool asked() const { return asked_; }
  [[nodiscard]] bool offered() const { return offered_; }

 private:
  explicit Http2Server(Http2Fault fault) : fault_(fault) {}
  boost::asio::awaitable<void> serve(boost::asio::ip::tcp::socket socket) override;
  [[nodiscard]] std::string answerTo(std::uint32_t stream) const;

  Http2Fault fault_;
  boost::asio::ssl::context tls_{boost::asio::ssl::context::tls_server};
  std::atomic<bool> asked_{false};
  std::atomic<bool> offered_{false};
};

}  // namespace fallbackd::e2e

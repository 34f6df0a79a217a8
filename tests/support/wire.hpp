// SPDX-License-Identifier: Apache-2.0
// The connection of a test's HTTP server, with or without TLS, behind one interface: Beast's asynchronous
// operations are compiled again for each kind of stream, which took longer than the rest of tests/support.
#pragma once

#include <cstddef>
#include <memory>
#include <string>
#include <string_view>

#include <boost/asio/awaitable.hpp>
#include <boost/asio/buffer.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/ssl/context.hpp>
#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/http/message.hpp>
#include <boost/beast/http/string_body.hpp>

namespace fallbackd::e2e {

using HttpRequest = boost::beast::http::request<boost::beast::http::string_body>;
using HttpResponse = boost::beast::http::response<boost::beast::http::string_body>;

/// Failures throw; so does reading at the end of the stream.
class Wire {
 public:
  Wire() = default;
  Wire(const Wire&) = delete;
  Wire& operator=(const Wire&) = delete;
  virtual ~Wire() = default;
  virtual boost::asio::awaitable<std::size_t> readSome(boost::asio::mutable_buffer into) = 0;
  /// `bytes` stays valid until then.
  virtual boost::asio::awaitable<void> write(std::string_view bytes) = 0;
};

class PlainWire final : public Wire {
 public:
  explicit PlainWire(boost::asio::ip::tcp::socket& socket) : socket_(socket) {}
  boost::asio::awaitable<std::size_t> readSome(boost::asio::mutable_buffer into) override;
  boost::asio::awaitable<void> write(std::string_view bytes) override;

 private:
  boost::asio::ip::tcp::socket& socket_;
};

/// After the handshake as a server.
boost::asio::awaitable<std::unique_ptr<Wire>> secured(boost::asio::ip::tcp::socket& socket,
                                                      boost::asio::ssl::context& context);

/// `buffer` keeps the bytes that follow the request.
boost::asio::awaitable<HttpRequest> readRequest(Wire& wire, boost::beast::flat_buffer& buffer);

/// Sent unchanged: the body's length may differ from the header's.
std::string textOf(const HttpResponse& response);

}  // namespace fallbackd::e2e

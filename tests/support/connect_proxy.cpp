// SPDX-License-Identifier: Apache-2.0
#include "connect_proxy.hpp"

#include "wire.hpp"

#include <charconv>
#include <string_view>
#include <utility>

#include <boost/beast/core/flat_buffer.hpp>

namespace fallbackd::e2e {

namespace asio = boost::asio;
namespace beast = boost::beast;
namespace http = beast::http;
using asio::ip::tcp;

namespace {

/// What the proxy sends before it closes the connection.
std::string lastWords(std::string_view behaviour) {
  if (behaviour == "cuts") return "HTTP/1.1 200 Conn";
  if (behaviour == "noise") return std::string(64, '\x7f');
  if (behaviour == "words")
    return "HTTP/1.1 503 Blocked: connect: connection refused\r\nContent-Length: 0\r\n\r\n";
  unsigned status = 500;
  std::from_chars(behaviour.data(), behaviour.data() + behaviour.size(), status);
  const auto phrase = http::obsolete_reason(http::int_to_status(status));
  return "HTTP/1.1 " + std::to_string(status) + " " + std::string(phrase) + "\r\nContent-Length: 0\r\n\r\n";
}

}  // namespace

Result<std::unique_ptr<ConnectProxy>> ConnectProxy::start() {
  std::unique_ptr<ConnectProxy> proxy(new ConnectProxy);
  FB_CHECK(proxy->listen());
  return proxy;
}

ConnectProxy::~ConnectProxy() {
  stop();
}

asio::awaitable<void> ConnectProxy::serve(tcp::socket socket) {
  beast::flat_buffer buffer;
  PlainWire wire(socket);
  const HttpRequest request = co_await readRequest(wire, buffer);
  const std::string_view target = request.target();
  const auto behaviour = target.substr(0, target.find('.'));
  if (behaviour == "hangs") co_await stayAway();
  if (behaviour == "resets") {
    socket.set_option(asio::socket_base::linger(true, 0));
  } else if (behaviour != "closes") {
    const auto words = lastWords(behaviour);
    co_await wire.write(words);
  }
  socket.close();
}

}  // namespace fallbackd::e2e

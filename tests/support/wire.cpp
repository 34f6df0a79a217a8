// SPDX-License-Identifier: Apache-2.0
#include "wire.hpp"

#include <sstream>
#include <utility>

#include <boost/asio/ssl/stream.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/asio/write.hpp>
#include <boost/beast/http/parser.hpp>
#include <boost/beast/http/write.hpp>

namespace fallbackd::e2e {

namespace asio = boost::asio;
namespace beast = boost::beast;
namespace http = boost::beast::http;
using asio::ip::tcp;

namespace {

constexpr std::size_t kWireReadSize = 4096;

class SecuredWire final : public Wire {
 public:
  SecuredWire(tcp::socket& socket, asio::ssl::context& context) : stream_(socket, context) {}
  asio::awaitable<void> handshake() {
    co_await stream_.async_handshake(asio::ssl::stream_base::server, asio::use_awaitable);
  }
  asio::awaitable<std::size_t> readSome(asio::mutable_buffer into) override {
    return stream_.async_read_some(into, asio::use_awaitable);
  }
  asio::awaitable<void> write(std::string_view bytes) override {
    co_await asio::async_write(stream_, asio::buffer(bytes), asio::use_awaitable);
  }

 private:
  asio::ssl::stream<tcp::socket&> stream_;
};

}  // namespace

asio::awaitable<std::size_t> PlainWire::readSome(asio::mutable_buffer into) {
  return socket_.async_read_some(into, asio::use_awaitable);
}

asio::awaitable<void> PlainWire::write(std::string_view bytes) {
  co_await asio::async_write(socket_, asio::buffer(bytes), asio::use_awaitable);
}

asio::awaitable<std::unique_ptr<Wire>> secured(tcp::socket& socket, asio::ssl::context& context) {
  auto wire = std::make_unique<SecuredWire>(socket, context);
  co_await wire->handshake();
  co_return std::unique_ptr<Wire>(std::move(wire));
}

asio::awaitable<HttpRequest> readRequest(Wire& wire, beast::flat_buffer& buffer) {
  http::request_parser<http::string_body> parser;
  parser.eager(true);
  for (;;) {
    boost::system::error_code error;
    if (buffer.size() > 0) buffer.consume(parser.put(buffer.data(), error));
    if (error && error != http::error::need_more) throw boost::system::system_error(error);
    if (parser.is_done()) co_return parser.release();
    const auto bytes = co_await wire.readSome(buffer.prepare(kWireReadSize));
    buffer.commit(bytes);
  }
}

std::string textOf(const HttpResponse& response) {
  std::ostringstream text;
  text << response;
  return std::move(text).str();
}

}  // namespace fallbackd::e2e

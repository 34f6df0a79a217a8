// SPDX-License-Identifier: Apache-2.0
#include "http/stream.hpp"

#include <boost/asio/generic/stream_protocol.hpp>
#include <boost/asio/redirect_error.hpp>
#include <boost/asio/ssl/stream.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/asio/write.hpp>
#include <boost/beast/core/basic_stream.hpp>
#include <boost/beast/core/stream_traits.hpp>

namespace fallbackd::http {

namespace asio = boost::asio;
namespace beast = boost::beast;

namespace {

using Plain = beast::basic_stream<asio::generic::stream_protocol>;
using Tls = asio::ssl::stream<Plain>;

constexpr auto kGoodbyeLimit = std::chrono::seconds(1);

template <class Layers>
class StreamOf : public Stream {
 public:
  template <class... Args>
  explicit StreamOf(Args&&... args) : layers_(std::forward<Args>(args)...) {}

  asio::awaitable<bool> open() override {
    boost::system::error_code error;
    if constexpr (kTls) {
      co_await layers_.async_handshake(asio::ssl::stream_base::server, noThrow(error));
    }
    co_return !error;
  }

  asio::awaitable<std::size_t> readSome(asio::mutable_buffer into) override {
    boost::system::error_code error;
    const auto bytes = co_await layers_.async_read_some(into, noThrow(error));
    co_return error ? 0 : bytes;
  }

  asio::awaitable<bool> write(std::string_view text) override {
    boost::system::error_code error;
    co_await asio::async_write(layers_, asio::buffer(text), noThrow(error));
    co_return !error;
  }

  asio::awaitable<void> close() override {
    boost::system::error_code error;
    if constexpr (kTls) {
      lowest().expires_after(kGoodbyeLimit);
      co_await layers_.async_shutdown(noThrow(error));
    }
    lowest().socket().shutdown(asio::socket_base::shutdown_both, error);
    co_return;
  }

  void expireAfter(std::chrono::steady_clock::duration limit) override { lowest().expires_after(limit); }
  void expireNever() override { lowest().expires_never(); }
  void cancel() override { lowest().cancel(); }

 private:
  static constexpr bool kTls = std::is_same_v<Layers, Tls>;

  static auto noThrow(boost::system::error_code& error) {
    return asio::redirect_error(asio::use_awaitable, error);
  }
  Plain& lowest() { return beast::get_lowest_layer(layers_); }

  Layers layers_;
};

template <class Socket>
Plain anySocket(Socket socket) {
  return Plain(asio::generic::stream_protocol::socket(std::move(socket)));
}

}  // namespace

std::unique_ptr<Stream> plainStream(asio::ip::tcp::socket socket) {
  return std::make_unique<StreamOf<Plain>>(anySocket(std::move(socket)));
}

std::unique_ptr<Stream> plainStream(asio::local::stream_protocol::socket socket) {
  return std::make_unique<StreamOf<Plain>>(anySocket(std::move(socket)));
}

std::unique_ptr<Stream> tlsStream(asio::ip::tcp::socket socket, asio::ssl::context& context) {
  return std::make_unique<StreamOf<Tls>>(anySocket(std::move(socket)), context);
}

}  // namespace fallbackd::http

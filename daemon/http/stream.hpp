// SPDX-License-Identifier: Apache-2.0
// The connection to one client, over TCP, TLS or a unix socket. One interface for all three, so that the code
// that reads requests and writes responses is compiled once. Belongs to the loop of its socket; nothing
// blocks.
#pragma once

#include <chrono>
#include <cstddef>
#include <memory>
#include <string_view>

#include <boost/asio/awaitable.hpp>
#include <boost/asio/buffer.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/local/stream_protocol.hpp>
#include <boost/asio/ssl/context.hpp>

namespace fallbackd::http {

class Stream {
 public:
  Stream() = default;
  Stream(const Stream&) = delete;
  Stream& operator=(const Stream&) = delete;
  virtual ~Stream() = default;

  /// Does what comes before the first request: the TLS handshake. False if it failed.
  virtual boost::asio::awaitable<bool> open() = 0;
  /// The number of bytes read; 0 if there will be no more, for whatever reason.
  virtual boost::asio::awaitable<std::size_t> readSome(boost::asio::mutable_buffer into) = 0;
  /// Writes all of it; `text` stays valid until then. False if the client is gone.
  virtual boost::asio::awaitable<bool> write(std::string_view text) = 0;
  /// Says goodbye, if the protocol has a way to.
  virtual boost::asio::awaitable<void> close() = 0;

  /// Until the next call of this kind, operations that take longer fail.
  virtual void expireAfter(std::chrono::steady_clock::duration limit) = 0;
  virtual void expireNever() = 0;
  /// Operations under way fail.
  virtual void cancel() = 0;
};

std::unique_ptr<Stream> plainStream(boost::asio::ip::tcp::socket socket);
std::unique_ptr<Stream> plainStream(boost::asio::local::stream_protocol::socket socket);
/// OpenSSL's reference count keeps the context for as long as the connection uses it.
std::unique_ptr<Stream> tlsStream(boost::asio::ip::tcp::socket socket, boost::asio::ssl::context& context);

}  // namespace fallbackd::http

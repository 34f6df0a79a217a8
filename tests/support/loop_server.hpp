// SPDX-License-Identifier: Apache-2.0
// A server on 127.0.0.1 with its own thread, which passes each connection to a coroutine.
#pragma once

#include "base/error.hpp"

#include <cstdint>
#include <string>
#include <thread>

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/awaitable.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>

namespace fallbackd::e2e {

/// Derived classes call stop() in their destructors, because the thread runs their code.
class LoopServer {
 public:
  LoopServer(const LoopServer&) = delete;
  LoopServer& operator=(const LoopServer&) = delete;
  virtual ~LoopServer();

  [[nodiscard]] std::uint16_t port() const { return port_; }
  /// "127.0.0.1:PORT"
  [[nodiscard]] std::string address() const { return "127.0.0.1:" + std::to_string(port_); }
  /// Lets the server do what it could begin before this call: each call is one turn of its loop.
  void turn();

 protected:
  LoopServer() = default;
  Result<> listen();
  void stop();
  [[nodiscard]] boost::asio::any_io_executor executor() { return context_.get_executor(); }

  /// Runs on the server's thread. An exception ends the connection.
  virtual boost::asio::awaitable<void> serve(boost::asio::ip::tcp::socket socket) = 0;
  /// Suspends until the server ends: the peer waits for an answer that never comes.
  boost::asio::awaitable<void> stayAway();

 private:
  boost::asio::awaitable<void> acceptAll();

  boost::asio::io_context context_{1};
  boost::asio::ip::tcp::acceptor acceptor_{context_};
  std::uint16_t port_ = 0;
  std::thread thread_;
};

}  // namespace fallbackd::e2e

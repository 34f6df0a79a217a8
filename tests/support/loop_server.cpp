// SPDX-License-Identifier: Apache-2.0
#include "loop_server.hpp"

#include <exception>
#include <future>
#include <utility>

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>

namespace fallbackd::e2e {

namespace asio = boost::asio;
using asio::ip::tcp;

LoopServer::~LoopServer() {
  stop();
}

void LoopServer::stop() {
  context_.stop();
  if (thread_.joinable()) thread_.join();
}

Result<> LoopServer::listen() {
  try {
    acceptor_.open(tcp::v4());
    acceptor_.bind({asio::ip::address_v4::loopback(), 0});
    acceptor_.listen();
    port_ = acceptor_.local_endpoint().port();
  } catch (const boost::system::system_error& error) {
    return fail(Stage::cli, Reason::system, "listen on 127.0.0.1", error.code().value());
  }
  asio::co_spawn(context_, acceptAll(), [](std::exception_ptr) {});
  thread_ = std::thread([this] { context_.run(); });
  return {};
}

void LoopServer::turn() {
  std::promise<void> done;
  asio::post(context_, [&] { done.set_value(); });
  done.get_future().wait();
}

asio::awaitable<void> LoopServer::acceptAll() {
  for (;;) {
    tcp::socket socket = co_await acceptor_.async_accept(asio::use_awaitable);
    // As Go's servers do. Otherwise an answer after TLS's session tickets waits 40 ms for an acknowledgement.
    socket.set_option(tcp::no_delay(true));
    asio::co_spawn(context_, serve(std::move(socket)), [](std::exception_ptr) {});
  }
}

asio::awaitable<void> LoopServer::stayAway() {
  asio::steady_timer timer(context_, asio::steady_timer::time_point::max());
  co_await timer.async_wait(asio::use_awaitable);
}

}  // namespace fallbackd::e2e

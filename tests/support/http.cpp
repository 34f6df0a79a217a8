// SPDX-License-Identifier: Apache-2.0
#include "http.hpp"

#include "wait.hpp"
#include "wire.hpp"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <optional>
#include <sys/socket.h>

#include <boost/asio/awaitable.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/redirect_error.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/asio/write.hpp>
#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/core/tcp_stream.hpp>
#include <boost/beast/http/parser.hpp>

namespace fallbackd::e2e {

namespace {

namespace asio = boost::asio;
namespace beast = boost::beast;
namespace http = boost::beast::http;
using asio::ip::tcp;

constexpr std::size_t kReadSize = 16384;

asio::awaitable<HttpAnswer> getOnce(tcp::endpoint endpoint, std::string path,
                                    std::chrono::milliseconds timeout) {
  beast::tcp_stream stream(co_await asio::this_coro::executor);
  stream.expires_after(timeout);
  co_await stream.async_connect(endpoint, asio::use_awaitable);
  const std::string request = "GET " + path + " HTTP/1.1\r\nHost: " + endpoint.address().to_string() +
                              "\r\nConnection: close\r\n\r\n";
  co_await asio::async_write(stream, asio::buffer(request), asio::use_awaitable);
  beast::flat_buffer buffer;
  http::response_parser<http::string_body> parser;
  parser.eager(true);
  while (!parser.is_done()) {
    boost::system::error_code error;
    const auto bytes = co_await stream.async_read_some(buffer.prepare(kReadSize),
                                                       asio::redirect_error(asio::use_awaitable, error));
    buffer.commit(bytes);
    if (error == asio::error::eof && parser.got_some()) {
      error = {};
      parser.put_eof(error);
    } else if (!error) {
      buffer.consume(parser.put(buffer.data(), error));
      if (error == http::error::need_more) error = {};
    }
    if (error) throw boost::system::system_error(error);
  }
  co_return HttpAnswer{parser.get().result_int(), std::move(parser.get().body())};
}

}  // namespace

bool accepts(const std::string& ip, std::uint16_t port) {
  const sys::UniqueFd fd(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(port);
  ::inet_pton(AF_INET, ip.c_str(), &address.sin_addr);
  return ::connect(fd.get(), static_cast<const sockaddr*>(static_cast<const void*>(&address)),
                   sizeof address) == 0;
}

Result<HttpAnswer> httpGet(const std::string& ip, std::uint16_t port, const std::string& path,
                           std::chrono::milliseconds timeout) {
  const std::string what = "GET http://" + ip + ":" + std::to_string(port) + path;
  try {
    asio::io_context loop(1);
    std::optional<HttpAnswer> answer;
    std::exception_ptr failure;
    asio::co_spawn(loop, getOnce({asio::ip::make_address(ip), port}, path, timeout),
                   [&answer, &failure](std::exception_ptr error, HttpAnswer got) {
                     failure = error;
                     if (error == nullptr) answer = std::move(got);
                   });
    loop.run();
    if (failure) std::rethrow_exception(failure);
    return std::move(*answer);
  } catch (const boost::system::system_error& error) {
    return fail(Stage::cli, Reason::unavailable, what + ": " + error.code().message());
  }
}

Result<HttpAnswer> httpGetOk(const std::string& ip, std::uint16_t port, const std::string& path,
                             std::chrono::milliseconds deadline) {
  Result<HttpAnswer> answer = fail(Stage::cli, Reason::timeout, "no attempt was made");
  const Stopwatch watch;
  waitUntil(deadline, [&] {
    const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(deadline - watch.elapsed());
    answer = httpGet(ip, port, path, std::max(left, std::chrono::milliseconds(1)));
    return answer && answer->status == 200;
  });
  if (!answer || answer->status == 200) return answer;
  return fail(Stage::cli, Reason::not_ready,
              "port " + std::to_string(port) + path + " answered " + std::to_string(answer->status) + ": " +
                  answer->body);
}

Result<DeadPort> DeadPort::make() {
  DeadPort dead;
  dead.held_ = sys::UniqueFd(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t size = sizeof address;
  auto* const generic = reinterpret_cast<sockaddr*>(&address);
  if (::bind(dead.held_.get(), generic, size) != 0 || ::getsockname(dead.held_.get(), generic, &size) != 0) {
    return failErrno(Stage::cli, "bind a port on 127.0.0.1");
  }
  dead.port_ = ntohs(address.sin_port);
  return dead;
}

struct StatusServer::Loop {
  asio::io_context context{1};
  tcp::acceptor acceptor{context};

  static asio::awaitable<void> answerAll(StatusServer& server, tcp::socket socket) {
    PlainWire wire(socket);
    beast::flat_buffer buffer;
    for (;;) {
      const HttpRequest request = co_await readRequest(wire, buffer);
      ++server.requests_;
      HttpResponse response(http::int_to_status(server.status_), request.version());
      response.set(http::field::content_type, "application/json");
      response.body() = "{}";
      response.keep_alive(request.keep_alive());
      response.prepare_payload();
      if (request.method() == http::verb::head) response.body().clear();  // its length stays in the header
      const std::string text = textOf(response);
      co_await wire.write(text);
    }
  }

  asio::awaitable<void> acceptAll(StatusServer& server) {
    for (;;) {
      tcp::socket socket = co_await acceptor.async_accept(asio::use_awaitable);
      // Ends with the connection or with the loop. An exception then only means the end of the stream.
      asio::co_spawn(context, answerAll(server, std::move(socket)), [](std::exception_ptr) {});
    }
  }
};

StatusServer::StatusServer() : loop_(std::make_unique<Loop>()) {}

StatusServer::~StatusServer() {
  loop_->context.stop();
  if (thread_.joinable()) thread_.join();
}

Result<std::unique_ptr<StatusServer>> StatusServer::start(unsigned status, std::uint16_t port) {
  std::unique_ptr<StatusServer> server(new StatusServer);
  server->status_ = status;
  try {
    auto& acceptor = server->loop_->acceptor;
    acceptor.open(tcp::v4());
    acceptor.set_option(tcp::acceptor::reuse_address(true));
    acceptor.bind({asio::ip::address_v4::loopback(), port});
    acceptor.listen();
    server->port_ = acceptor.local_endpoint().port();
  } catch (const boost::system::system_error& error) {
    return fail(Stage::cli, Reason::system, "listen on port " + std::to_string(port), error.code().value());
  }
  asio::co_spawn(server->loop_->context, server->loop_->acceptAll(*server), [](std::exception_ptr) {});
  server->thread_ = std::thread([loop = server->loop_.get()] { loop->context.run(); });
  return server;
}

}  // namespace fallbackd::e2e

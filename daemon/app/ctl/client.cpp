// SPDX-License-Identifier: Apache-2.0
#include "app/ctl/client.hpp"

#include "base/clock.hpp"

#include <chrono>
#include <string_view>

#include <CLI/CLI.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/local/stream_protocol.hpp>
#include <boost/asio/read_until.hpp>
#include <boost/asio/write.hpp>
#include <boost/beast/core.hpp>
#include <boost/beast/http.hpp>
#include <boost/json.hpp>

namespace fallbackd::ctl {

namespace asio = boost::asio;
namespace beast = boost::beast;
namespace http = boost::beast::http;
using asio::local::stream_protocol;

namespace {

constexpr auto kPatience = std::chrono::seconds(10);
constexpr std::size_t kMaxBytes = 64 << 20;

tl::unexpected<Error> notThere(const std::string& socket, const boost::system::error_code& error) {
  return fail(Stage::cli, Reason::unavailable,
              "connect to " + socket + " (is fallbackd running here, and are you root?)", error.value());
}

/// Runs one asynchronous step to completion; basic_stream's time limit applies only to asynchronous steps.
template <class Start>
boost::system::error_code step(asio::io_context& loop, beast::basic_stream<stream_protocol>& stream,
                               Start start) {
  boost::system::error_code result;
  stream.expires_after(kPatience);
  start([&](boost::system::error_code error, auto...) { result = error; });
  loop.restart();
  loop.run();
  return result;
}

/// One event of the stream at the beginning of `buffer`: the text after "data: ".
std::string dataOf(std::string_view event) {
  constexpr std::string_view kData = "data: ";
  return event.starts_with(kData) ? std::string(event.substr(kData.size(), event.find('\n') - kData.size()))
                                  : "";
}

}  // namespace

void addClientOptions(CLI::App& command, ClientOptions& options) {
  command.add_option("--socket", options.socket, "fallbackd's socket")->capture_default_str();
  command.add_option("-o,--output", options.format, "table or json")
      ->check(CLI::IsMember({"table", "json"}))
      ->capture_default_str();
}

Result<std::string> ask(const std::string& socket, const std::string& target) {
  asio::io_context loop;
  beast::basic_stream<stream_protocol> stream(loop);
  const stream_protocol::endpoint endpoint(socket);
  auto error = step(loop, stream, [&](auto done) { stream.async_connect(endpoint, done); });
  if (error) return notThere(socket, error);
  http::request<http::empty_body> request(http::verb::get, target, 11);
  request.set(http::field::host, "fallbackd");
  request.keep_alive(false);
  error = step(loop, stream, [&](auto done) { http::async_write(stream, request, done); });
  http::response_parser<http::string_body> parser;
  parser.body_limit(kMaxBytes);
  beast::flat_buffer buffer;
  if (!error) error = step(loop, stream, [&](auto done) { http::async_read(stream, buffer, parser, done); });
  if (error) return fail(Stage::cli, Reason::protocol, "ask " + socket + ": " + error.message());
  auto& response = parser.get();
  if (response.result() != http::status::ok) {
    return fail(Stage::cli, Reason::protocol,
                "the daemon answered " + std::to_string(response.result_int()) + ": " + response.body());
  }
  return std::move(response.body());
}

Result<boost::json::value> askJson(const std::string& socket, const std::string& target) {
  FB_TRY(const auto body, ask(socket, target));
  boost::json::error_code error;
  auto value = boost::json::parse(body, error);
  if (error) return fail(Stage::cli, Reason::protocol, "the daemon's answer is not JSON: " + error.message());
  return value;
}

Result<> listen(const std::string& socket, const std::function<bool(const std::string&)>& take,
                std::optional<std::chrono::seconds> limit) {
  asio::io_context loop;
  beast::basic_stream<stream_protocol> stream(loop);
  const auto run = [&](auto start) {
    boost::system::error_code result;
    start([&](boost::system::error_code error, std::size_t /*bytes*/) { result = error; });
    loop.restart();
    loop.run();
    return result;
  };
  if (limit) {
    stream.expires_after(*limit);
  } else {
    stream.expires_never();
  }
  auto error = run([&](auto done) {
    stream.async_connect(stream_protocol::endpoint(socket), [done](auto failed) { done(failed, 0); });
  });
  if (error) return notThere(socket, error);
  const std::string_view request = "GET /events HTTP/1.1\r\nHost: fallbackd\r\n\r\n";
  error = run([&](auto done) { asio::async_write(stream, asio::buffer(request), done); });
  std::string buffer;
  const auto until = [&](std::string_view end) {
    std::size_t size = 0;
    error = run([&](auto done) {
      asio::async_read_until(stream, asio::dynamic_buffer(buffer, kMaxBytes), end,
                             [&size, done](auto failed, std::size_t bytes) {
                               size = bytes;
                               done(failed, bytes);
                             });
    });
    auto text = buffer.substr(0, size);
    buffer.erase(0, size);
    return text;
  };
  const auto head = error ? std::string() : until("\r\n\r\n");
  if (!error && !head.starts_with("HTTP/1.1 200")) {
    return fail(Stage::cli, Reason::protocol, "the daemon answered " + head.substr(0, head.find('\r')));
  }
  while (!error) {
    const auto data = dataOf(until("\n\n"));
    if (!error && !data.empty() && !take(data)) return {};
  }
  if (error == beast::error::timeout) {
    return fail(Stage::cli, Reason::timeout, "fallbackd did not do so within " + formatDuration(*limit));
  }
  return fail(Stage::cli, Reason::unavailable, "fallbackd closed the connection: " + error.message());
}

}  // namespace fallbackd::ctl

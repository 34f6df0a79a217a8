// SPDX-License-Identifier: Apache-2.0
#include "recovery/readiness.hpp"

#include "base/async/backoff.hpp"
#include "base/async/within.hpp"
#include "recovery/grpc_health.hpp"
#include "sys/network.hpp"

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <cstdint>
#include <optional>
#include <sys/socket.h>
#include <utility>
#include <variant>
#include <vector>

#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/redirect_error.hpp>
#include <boost/asio/this_coro.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/asio/write.hpp>
#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/http/empty_body.hpp>
#include <boost/beast/http/error.hpp>
#include <boost/beast/http/message.hpp>
#include <boost/beast/http/parser.hpp>
#include <boost/beast/http/write.hpp>

namespace fallbackd::launcher {

namespace asio = boost::asio;
namespace http = boost::beast::http;
using namespace std::chrono_literals;
using asio::ip::tcp;

namespace {

constexpr std::chrono::nanoseconds kStartUp = 1ms;
constexpr std::chrono::nanoseconds kFirstPause = 500us;
constexpr std::chrono::nanoseconds kLastPause = 20ms;
// Limit for a single attempt: a packet that is lost while the process starts must not cost the kernel's full
// second before the next attempt.
constexpr std::chrono::nanoseconds kTryLimit = 1s;
// A wait that takes this much longer than it should: the daemon was late. What the fallback did meanwhile is
// not known.
constexpr std::chrono::nanoseconds kLate = 200ms;
constexpr std::uint64_t kMaxHeaderBytes = 64 * 1024;
constexpr std::size_t kReadSize = 4096;

struct Answer {
  enum class Kind : std::uint8_t {
    good,
    bad,        // nothing listens, or the response is bad
    not_asked,  // the request did not get there, for a reason that is not the fallback's
  };
  Kind kind = Kind::good;
  std::string text = {};
};

/// Errors of a connection that say nothing about the fallback: it may serve all the same.
bool isInconclusive(const boost::system::error_code& error) {
  switch (error.value()) {
    case EMFILE:
    case ENFILE:
    case ENOMEM:
    case ENOBUFS:
    case EACCES:
    case EPERM:
    case ENETDOWN:
    case ENETUNREACH:
    case EHOSTUNREACH:
    case EADDRNOTAVAIL:
    case EAFNOSUPPORT:
      return true;
    default:
      return false;
  }
}

Answer failedTo(const char* what, const boost::system::error_code& error) {
  return {isInconclusive(error) ? Answer::Kind::not_asked : Answer::Kind::bad,
          what + (": " + error.message())};
}

/// What to probe.
struct Target {
  tcp::endpoint endpoint;
  std::shared_ptr<const sys::NamespaceFd> network;
  std::optional<std::string> path;  // for an HTTP request
  std::vector<std::pair<std::string, std::string>> headers = {};
  std::optional<std::string> grpcService = std::nullopt;  // for a request of gRPC's health protocol
};

asio::awaitable<Answer> connectTo(Target target, tcp::socket& socket) {
  const auto& endpoint = target.endpoint;
  boost::system::error_code error;
  if (target.network != nullptr) {
    auto made = sys::socketIn(Stage::readiness, *target.network, endpoint.protocol().family(), SOCK_STREAM);
    if (!made) co_return Answer{Answer::Kind::not_asked, made.error().message()};
    socket.assign(endpoint.protocol(), made->release(), error);
    if (error) co_return Answer{Answer::Kind::not_asked, "use a socket: " + error.message()};
  }
  co_await socket.async_connect(endpoint, asio::redirect_error(asio::use_awaitable, error));
  if (error) co_return failedTo("connect", error);
  co_return Answer{};
}

asio::awaitable<boost::system::error_code> readHeader(tcp::socket& socket,
                                                      http::response_parser<http::empty_body>& parser) {
  boost::beast::flat_buffer buffer(kMaxHeaderBytes);
  boost::system::error_code error;
  for (;;) {
    const auto room = std::min(buffer.max_size() - buffer.size(), kReadSize);
    if (room == 0) co_return http::error::buffer_overflow;
    buffer.commit(co_await socket.async_read_some(buffer.prepare(room),
                                                  asio::redirect_error(asio::use_awaitable, error)));
    if (error == asio::error::eof) {
      co_return parser.got_some() ? http::error::partial_message : http::error::end_of_stream;
    }
    if (error) co_return error;
    buffer.consume(parser.put(buffer.data(), error));
    if (parser.is_header_done()) co_return boost::system::error_code();
    if (error && error != http::error::need_more) co_return error;
  }
}

std::string authorityOf(const tcp::endpoint& endpoint) {
  const auto host = endpoint.address().to_string();
  return (endpoint.address().is_v6() ? "[" + host + "]" : host) + ":" + std::to_string(endpoint.port());
}

asio::awaitable<Answer> askHealth(Target target, tcp::socket& socket) {
  boost::system::error_code error;
  GrpcHealthCheck check;
  auto toSend = GrpcHealthCheck::question(authorityOf(target.endpoint), *target.grpcService);
  std::array<char, kReadSize> bytes;  // NOLINT(cppcoreguidelines-pro-type-member-init): written before read
  while (!check.verdict()) {
    co_await asio::async_write(socket, asio::buffer(toSend),
                               asio::redirect_error(asio::use_awaitable, error));
    if (error) co_return failedTo("send", error);
    const auto size = co_await socket.async_read_some(asio::buffer(bytes),
                                                      asio::redirect_error(asio::use_awaitable, error));
    if (error && error != asio::error::eof) co_return failedTo("receive", error);
    toSend = check.take({bytes.data(), size});
    if (error) check.closed();
  }
  if (check.verdict()->empty()) co_return Answer{};
  co_return Answer{Answer::Kind::bad, *check.verdict()};
}

asio::awaitable<Answer> ask(Target target) {
  tcp::socket socket(co_await asio::this_coro::executor);
  auto connected = co_await connectTo(target, socket);
  if (connected.kind == Answer::Kind::good && target.grpcService) {
    co_return co_await askHealth(std::move(target), socket);
  }
  if (connected.kind != Answer::Kind::good || !target.path) co_return connected;
  boost::system::error_code error;
  http::request<http::empty_body> request(http::verb::get, *target.path, 11);
  request.set(http::field::host, target.endpoint.address().to_string());
  request.set(http::field::user_agent, "fallbackd/" FALLBACKD_VERSION);
  request.set(http::field::connection, "close");
  for (const auto& [name, value] : target.headers) request.set(name, value);
  co_await http::async_write(socket, request, asio::redirect_error(asio::use_awaitable, error));
  if (error) co_return failedTo("send", error);
  http::response_parser<http::empty_body> parser;
  error = co_await readHeader(socket, parser);
  if (error) co_return failedTo("receive", error);
  const unsigned status = parser.get().result_int();
  if (status >= 200 && status < 400) co_return Answer{};
  co_return Answer{Answer::Kind::bad, "HTTP status " + std::to_string(status)};
}

/// By how much the daemon overran a wait of that length that began then; 0 if hardly at all.
std::chrono::nanoseconds lateness(const Clock& clock, Stamp began, std::chrono::nanoseconds length) {
  const std::chrono::nanoseconds late = clock.now() - began - length;
  return late > kLate ? late : 0ns;
}

/// Within `limit`. Silence is a bad answer, because nothing but the fallback is between us and it. If we came
/// too late, it may have answered.
asio::awaitable<Answer> askWithin(Target target, std::chrono::nanoseconds limit) {
  const auto& clock = LoopClock::of(co_await asio::this_coro::executor);
  const auto began = clock.now();
  auto question = ask(std::move(target));
  auto answer = co_await within(limit, std::move(question));
  if (answer) co_return std::move(*answer);
  if (lateness(clock, began, limit) == 0ns) co_return Answer{Answer::Kind::bad, ""};
  co_return Answer{Answer::Kind::not_asked,
                   "fallbackd itself came too late"};  // the same each time: it is logged once
}

/// An unknown address is an error unless the pod's own network can be entered: a program that serves on all
/// of a pod's addresses also serves on loopback there.
Result<asio::ip::address> addressOf(const Place& place) {
  if (place.ip.empty() && place.network != nullptr) return asio::ip::address_v4::loopback();
  if (place.ip.empty()) return fail(Stage::readiness, Reason::invalid, "the pod's address is not known");
  boost::system::error_code error;
  const auto address = asio::ip::make_address(place.ip, error);
  if (error) return fail(Stage::readiness, Reason::invalid, "pod address " + place.ip);
  return address;
}

std::string nameOf(const tcp::endpoint& endpoint) {
  return endpoint.address().to_string() + " port " + std::to_string(endpoint.port());
}

tl::unexpected<Error> failure(const Target& target, const std::string& within, const Answer& last) {
  const bool asked = last.kind == Answer::Kind::bad;
  return fail(Stage::readiness, asked ? Reason::not_ready : Reason::unavailable,
              nameOf(target.endpoint) + (asked ? "" : " could not be asked") + within + ": " + last.text);
}

template <class How>
Result<Target> targetOf(const How& how, const Place& place) {
  if (std::holds_alternative<config::ReadyWhenCommand>(how)) {
    return fail(Stage::readiness, Reason::internal, "a command is not asked over the network");
  }
  FB_TRY(const auto address, addressOf(place));
  Target target{{address, 0}, place.network, std::nullopt};
  if (const auto* web = std::get_if<config::ReadyWhenHttp>(&how)) {
    target.endpoint.port(web->port);
    target.path = web->path;
    target.headers = web->headers;
  } else if (const auto* grpc = std::get_if<config::ReadyWhenGrpc>(&how)) {
    target.endpoint.port(grpc->port);
    target.grpcService = grpc->service;
  } else {
    target.endpoint.port(std::get<config::ReadyWhenTcp>(how).port);
  }
  return target;
}

}  // namespace

asio::awaitable<Result<>> waitReady(config::Readiness readiness, Place place) {
  if (std::holds_alternative<config::ReadyWhenExec>(readiness.when)) co_return Result<>{};
  FB_CO_TRY(const auto target, targetOf(readiness.when, place));
  const auto& clock = LoopClock::of(co_await asio::this_coro::executor);
  auto deadline = clock.now() + readiness.timeout;  // our own lateness does not count
  Answer last{Answer::Kind::bad, "no answer in time"};
  // A process that has just been executed does not listen yet; probing it now would only take its processor.
  co_await pauseFor(std::min(readiness.timeout / 2, kStartUp));
  Backoff backoff({kFirstPause, kLastPause});
  for (;;) {
    const auto began = clock.now();
    const auto left = std::max<std::chrono::nanoseconds>(deadline - began, 0ns);
    const auto limit = std::min(left, kTryLimit);
    auto answer = co_await askWithin(target, limit);
    if (answer.kind == Answer::Kind::good) co_return Result<>{};
    if (!answer.text.empty()) {
      last = std::move(answer);
    } else if (left > kTryLimit) {
      // A request that only the deadline cut short says nothing; the answer before it does.
      last = {Answer::Kind::bad, "no answer in time"};
    }
    deadline += lateness(clock, began, limit);
    const auto pause = backoff.next();
    const auto pausing = clock.now();
    if (pausing + pause >= deadline) {
      co_return failure(target, " within " + formatDuration(readiness.timeout), last);
    }
    co_await pauseFor(pause);
    deadline += lateness(clock, pausing, pause);
  }
}

asio::awaitable<Result<>> askOnce(decltype(config::Liveness::when) how, Place place,
                                  std::chrono::nanoseconds timeout) {
  FB_CO_TRY(const auto target, targetOf(how, place));
  auto answer = co_await askWithin(target, timeout);
  if (answer.kind == Answer::Kind::good) co_return Result<>{};
  if (answer.text.empty()) answer.text = "no answer within " + formatDuration(timeout);
  co_return failure(target, "", answer);
}

std::optional<std::uint16_t> portOf(const config::Readiness& readiness) {
  if (const auto* web = std::get_if<config::ReadyWhenHttp>(&readiness.when)) return web->port;
  if (const auto* grpc = std::get_if<config::ReadyWhenGrpc>(&readiness.when)) return grpc->port;
  if (const auto* plain = std::get_if<config::ReadyWhenTcp>(&readiness.when)) return plain->port;
  return std::nullopt;
}

std::string addressText(const std::string& ip, const config::Readiness& readiness) {
  const auto port = portOf(readiness);
  if (ip.empty() || !port) return ip;
  const bool six = ip.find(':') != std::string::npos;
  return (six ? "[" + ip + "]" : ip) + ":" + std::to_string(*port);
}

}  // namespace fallbackd::launcher

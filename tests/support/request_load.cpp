// SPDX-License-Identifier: Apache-2.0
#include "request_load.hpp"

#include <array>
#include <charconv>
#include <exception>
#include <utility>

#include <boost/asio/buffer.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/redirect_error.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/asio/write.hpp>

namespace fallbackd::e2e {

namespace asio = boost::asio;
using asio::ip::tcp;

namespace {

// Longer than any test's drain.
constexpr std::chrono::seconds kRequestTimeout{20};

bool isComplete(const std::string& answer) {
  const std::string key = "Content-Length: ";
  const auto end = answer.find("\r\n\r\n");
  const auto at = answer.find(key);
  if (!answer.starts_with("HTTP/1.1 200") || end == std::string::npos || at > end) return false;
  std::size_t length = 0;
  std::from_chars(answer.data() + at + key.size(), answer.data() + end, length);
  return answer.size() - end - 4 == length;
}

std::string roleIn(const std::string& answer) {
  const auto at = answer.find("role=");
  return at == std::string::npos ? "" : answer.substr(at + 5, answer.find(' ', at) - at - 5);
}

}  // namespace

RequestLoad::RequestLoad(std::uint16_t port, unsigned perSecond) : port_(port) {
  const auto pause = std::chrono::nanoseconds(std::chrono::seconds(1)) / perSecond;
  asio::co_spawn(context_, sendAll(pause), [](std::exception_ptr) {});
  thread_ = std::thread([this] { context_.run(); });
}

RequestLoad::~RequestLoad() {
  context_.stop();
  if (thread_.joinable()) thread_.join();
}

RequestLoad::Counts RequestLoad::counts() const {
  const std::lock_guard lock(mutex_);
  return counts_;
}

bool RequestLoad::waitForAnswers(unsigned more, const std::string& role, std::chrono::nanoseconds ceiling) {
  std::unique_lock lock(mutex_);
  const auto wanted = counts_.roles[role] + more;
  return changed_.wait_for(lock, ceiling, [&] { return counts_.roles[role] >= wanted; });
}

RequestLoad::Counts RequestLoad::finish() {
  {
    const std::lock_guard lock(mutex_);
    stopped_ = true;
  }
  if (thread_.joinable()) thread_.join();
  return counts();
}

asio::awaitable<void> RequestLoad::sendAll(std::chrono::nanoseconds pause) {
  asio::steady_timer timer(context_, asio::steady_timer::clock_type::now());
  for (;;) {
    {
      const std::lock_guard lock(mutex_);
      if (stopped_) co_return;
      ++counts_.sent;
    }
    asio::co_spawn(context_, sendOne(), [](std::exception_ptr) {});
    timer.expires_at(timer.expiry() + pause);
    co_await timer.async_wait(asio::use_awaitable);
  }
}

asio::awaitable<void> RequestLoad::sendOne() {
  const auto socket = std::make_shared<tcp::socket>(context_);
  const auto timer = std::make_shared<asio::steady_timer>(context_, kRequestTimeout);
  timer->async_wait([socket](boost::system::error_code error) {
    boost::system::error_code ignored;
    if (!error) socket->close(ignored);
  });
  boost::system::error_code error;
  const std::string request = "GET / HTTP/1.1\r\nHost: shop\r\nConnection: close\r\n\r\n";
  std::string answer;
  co_await socket->async_connect({asio::ip::address_v4::loopback(), port_},
                                 asio::redirect_error(asio::use_awaitable, error));
  if (!error)
    co_await asio::async_write(*socket, asio::buffer(request),
                               asio::redirect_error(asio::use_awaitable, error));
  while (!error) {
    std::array<char, 4096> buffer{};
    const auto bytes = co_await socket->async_read_some(asio::buffer(buffer),
                                                        asio::redirect_error(asio::use_awaitable, error));
    answer.append(buffer.data(), bytes);
  }
  timer->cancel();
  count(answer, error == asio::error::eof ? std::string("incomplete") : error.message());
}

void RequestLoad::count(const std::string& answer, const std::string& failure) {
  {
    const std::lock_guard lock(mutex_);
    if (isComplete(answer)) {
      ++counts_.answered;
      ++counts_.roles[roleIn(answer)];
    } else {
      ++counts_.lost;
      ++counts_.reasons[failure];
    }
  }
  changed_.notify_all();
}

}  // namespace fallbackd::e2e

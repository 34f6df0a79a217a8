// SPDX-License-Identifier: Apache-2.0
#include "router.hpp"

#include <algorithm>
#include <array>

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/redirect_error.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/asio/write.hpp>

namespace fallbackd::e2e {

namespace asio = boost::asio;
using asio::ip::tcp;

namespace {

/// Both directions of a connection; the sockets live until the last one has ended.
struct Joined {
  tcp::socket client;
  tcp::socket pod;
};

asio::awaitable<void> pump([[maybe_unused]] std::shared_ptr<Joined> keepAlive, tcp::socket& from,
                           tcp::socket& to) {
  std::array<char, 16384> buffer{};
  boost::system::error_code error;
  for (;;) {
    const auto bytes =
        co_await from.async_read_some(asio::buffer(buffer), asio::redirect_error(asio::use_awaitable, error));
    if (error) break;
    co_await asio::async_write(to, asio::buffer(buffer.data(), bytes),
                               asio::redirect_error(asio::use_awaitable, error));
    if (error) break;
  }
  if (error == asio::error::eof) {
    to.shutdown(tcp::socket::shutdown_send, error);
    co_return;
  }
  // A reset is passed on as a reset.
  boost::system::error_code ignored;
  to.set_option(asio::socket_base::linger(true, 0), ignored);
  to.close(ignored);
  from.close(ignored);
}

}  // namespace

Result<std::unique_ptr<Router>> Router::start(std::uint16_t podPort, std::chrono::milliseconds lag) {
  std::unique_ptr<Router> router(new Router(podPort, lag));
  FB_CHECK(router->listen());
  return router;
}

Router::~Router() {
  stop();
}

void Router::update(const model::PodStatus& pod) {
  if (pod.ip.empty()) return;
  {
    const std::lock_guard lock(mutex_);
    changes_.push_back({Monotonic::now() + lag_, pod.ip, pod.ready && !pod.deleting});
  }
  changed_.notify_all();
}

/// Called with mutex_ held.
void Router::applyDue() {
  const auto now = Monotonic::now();
  while (!changes_.empty() && changes_.front().due <= now) {
    const auto change = changes_.front();
    changes_.erase(changes_.begin());
    std::erase(endpoints_, change.ip);
    if (change.ready) endpoints_.push_back(change.ip);
    if (!change.ready) reached_.erase(change.ip);  // the next pod may get this address
  }
}

std::size_t Router::endpoints() {
  const std::lock_guard lock(mutex_);
  applyDue();
  return endpoints_.size();
}

bool Router::waitForEndpoints(std::size_t count, std::chrono::nanoseconds ceiling) {
  const auto end = Monotonic::now() + ceiling;
  std::unique_lock lock(mutex_);
  for (;;) {
    applyDue();
    if (endpoints_.size() == count) return true;
    if (Monotonic::now() >= end) return false;
    changed_.wait_until(lock, changes_.empty() ? end : std::min(end, changes_.front().due));
  }
}

unsigned Router::rejected() const {
  const std::lock_guard lock(mutex_);
  return rejected_;
}

std::optional<Stamp> Router::reached(const std::string& ip) const {
  const std::lock_guard lock(mutex_);
  const auto found = reached_.find(ip);
  if (found == reached_.end()) return std::nullopt;
  return found->second;
}

std::string Router::pick() {
  const std::lock_guard lock(mutex_);
  applyDue();
  if (!endpoints_.empty()) return endpoints_[next_++ % endpoints_.size()];
  ++rejected_;
  return {};
}

asio::awaitable<void> Router::serve(tcp::socket socket) {
  const auto ip = pick();
  const auto joined = std::make_shared<Joined>(Joined{std::move(socket), tcp::socket(executor())});
  boost::system::error_code error = asio::error::host_unreachable;
  if (!ip.empty()) {
    co_await joined->pod.async_connect({asio::ip::make_address(ip), podPort_},
                                       asio::redirect_error(asio::use_awaitable, error));
  }
  if (error) {
    joined->client.set_option(asio::socket_base::linger(true, 0));
    joined->client.close();
    co_return;
  }
  {
    const std::lock_guard lock(mutex_);
    reached_.try_emplace(ip, Monotonic::now());
  }
  asio::co_spawn(executor(), pump(joined, joined->pod, joined->client), [](std::exception_ptr) {});
  co_await pump(joined, joined->client, joined->pod);
}

}  // namespace fallbackd::e2e

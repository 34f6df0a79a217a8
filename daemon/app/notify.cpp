// SPDX-License-Identifier: Apache-2.0
#include "app/notify.hpp"

#include "base/async/backoff.hpp"
#include "sys/fd.hpp"

#include <charconv>
#include <cstddef>
#include <cstdlib>
#include <cstring>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

namespace fallbackd::app {

namespace {

using namespace std::chrono_literals;

// systemd reads its socket within milliseconds, unless the machine is busy.
constexpr Backoff::Limits kNotifyPauses{50ms, 5s};

// Both: called before there are threads.
std::string take(const char* name) {
  const char* const value = std::getenv(name);  // NOLINT(concurrency-mt-unsafe)
  std::string text = value == nullptr ? "" : value;
  ::unsetenv(name);  // NOLINT(concurrency-mt-unsafe)
  return text;
}

template <class Number>
std::optional<Number> number(const std::string& text) {
  Number value = 0;
  const auto [end, code] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (code != std::errc{} || end != text.data() + text.size()) return std::nullopt;
  return value;
}

}  // namespace

ServiceManager ServiceManager::fromEnvironment() {
  ServiceManager manager;
  manager.socket_ = take("NOTIFY_SOCKET");
  const auto micros = number<std::uint64_t>(take("WATCHDOG_USEC"));
  const auto pid = number<pid_t>(take("WATCHDOG_PID"));
  // The variables of a parent's unit are not meant for us.
  const bool ours = !pid || *pid == ::getpid();
  if (micros && *micros > 1 && ours) manager.watchdog_ = std::chrono::microseconds(*micros / 2);
  return manager;
}

bool ServiceManager::tell(std::string_view what) const {
  sockaddr_un address{};
  if (socket_.empty() || socket_.size() >= sizeof address.sun_path) return true;
  address.sun_family = AF_UNIX;
  std::memcpy(address.sun_path, socket_.data(), socket_.size());
  if (socket_.front() == '@') address.sun_path[0] = '\0';
  const sys::UniqueFd fd(::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  const auto size = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + socket_.size());
  return ::sendto(fd.get(), what.data(), what.size(), MSG_NOSIGNAL,
                  reinterpret_cast<const sockaddr*>(&address), size) >= 0;
}

boost::asio::awaitable<void> ServiceManager::insist(std::string what) const {
  Backoff pause(kNotifyPauses);
  while (!tell(what)) co_await pause.wait();
}

}  // namespace fallbackd::app

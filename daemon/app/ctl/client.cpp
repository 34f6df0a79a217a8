// SPDX-License-Identifier: Apache-2.0
#include "app/ctl/client.hpp"

#include "app/ctl/document.hpp"
#include "base/clock.hpp"
#include "sys/fd.hpp"

#include <algorithm>
#include <array>
#include <cerrno>
#include <charconv>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <iterator>
#include <limits>
#include <optional>
#include <poll.h>
#include <string_view>
#include <sys/socket.h>
#include <sys/un.h>
#include <utility>

#include <CLI/CLI.hpp>
#include <boost/json.hpp>

// Without Asio: neither its loop nor its resolver belongs into a small static program.

namespace fallbackd::ctl {

namespace {

constexpr auto kAnswerLimit = std::chrono::seconds(10);
constexpr std::size_t kMaxBytes = 64 << 20;
constexpr std::string_view kHeadEnd = "\r\n\r\n";

tl::unexpected<Error> notThere(const std::string& socket, int error) {
  return fail(Stage::cli, Reason::unavailable,
              "connect to " + socket + " (is fallbackd running here, and are you root?)", error);
}

/// For poll(): -1 if it may wait for ever.
int millisecondsUntil(Stamp deadline) {
  if (deadline == Stamp::max()) return -1;
  const auto left = std::chrono::ceil<std::chrono::milliseconds>(deadline - Clock::system().now());
  return static_cast<int>(std::clamp<std::int64_t>(left.count(), 0, std::numeric_limits<int>::max()));
}

/// The daemon's side of one connection.
class Connection {
 public:
  static Result<Connection> open(const std::string& socket) {
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    if (socket.size() >= sizeof address.sun_path) return notThere(socket, ENAMETOOLONG);
    std::copy(socket.begin(), socket.end(), std::begin(address.sun_path));
    Connection made(sys::UniqueFd(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0)));
    // A daemon that takes no connections keeps connect() waiting, too.
    const timeval limit{std::chrono::seconds(kAnswerLimit).count(), 0};
    if (!made.fd_ || ::setsockopt(made.fd_.get(), SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit) != 0 ||
        ::connect(made.fd_.get(), static_cast<const sockaddr*>(static_cast<const void*>(&address)),
                  sizeof address) != 0) {
      return notThere(socket, errno);
    }
    return made;
  }

  Result<> send(std::string_view text) {
    while (!text.empty()) {
      const auto sent = ::send(fd_.get(), text.data(), text.size(), MSG_NOSIGNAL);
      if (sent < 0 && errno == EINTR) continue;
      if (sent < 0) return failErrno(Stage::cli, "send to fallbackd");
      text.remove_prefix(static_cast<std::size_t>(sent));
    }
    return {};
  }

  /// Appends to `text` what comes next; false at the end. Waits until `deadline`.
  Result<bool> receive(std::string& text, Stamp deadline) {
    pollfd polled{fd_.get(), POLLIN, 0};
    const int ready = ::poll(&polled, 1, millisecondsUntil(deadline));
    if (ready == 0) return fail(Stage::cli, Reason::timeout, "wait for fallbackd");
    if (ready < 0 && errno == EINTR) return true;
    std::array<char, 65536> bytes;  // NOLINT(cppcoreguidelines-pro-type-member-init): recv() writes it
    const auto size = ::recv(fd_.get(), bytes.data(), bytes.size(), 0);
    if (size < 0) return failErrno(Stage::cli, "receive from fallbackd");
    text.append(bytes.data(), static_cast<std::size_t>(size));
    if (text.size() > kMaxBytes) return fail(Stage::cli, Reason::protocol, "fallbackd's answer is too large");
    return size > 0;
  }

 private:
  explicit Connection(sys::UniqueFd fd) : fd_(std::move(fd)) {}
  sys::UniqueFd fd_;
};

/// The status in the first line of an HTTP response; 0 if it is not one.
unsigned statusOf(std::string_view head) {
  constexpr std::string_view kVersion = "HTTP/1.1 ";
  unsigned status = 0;
  if (head.starts_with(kVersion)) {
    std::from_chars(head.data() + kVersion.size(), head.data() + head.size(), status);
  }
  return status;
}

/// The length of the body that a response's head announces; nothing if it does not.
std::optional<std::size_t> lengthOf(std::string_view head) {
  constexpr std::string_view kName = "\r\nContent-Length: ";
  const auto at = head.find(kName);
  std::size_t length = 0;
  if (at == std::string_view::npos) return std::nullopt;
  const auto* begin = head.data() + at + kName.size();
  if (std::from_chars(begin, head.data() + head.size(), length).ec != std::errc()) return std::nullopt;
  return length;
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
  addFormat(command, options.format);
}

Result<std::string> ask(const std::string& socket, const std::string& target) {
  const auto deadline = Clock::system().now() + kAnswerLimit;
  FB_TRY(auto daemon, Connection::open(socket));
  FB_CHECK(daemon.send("GET " + target + " HTTP/1.1\r\nHost: fallbackd\r\nConnection: close\r\n\r\n"));
  std::string answer;
  for (bool more = true; more;) {
    FB_TRY(more, daemon.receive(answer, deadline));
  }
  const auto end = answer.find(kHeadEnd);
  const auto head = std::string_view(answer).substr(0, end);
  const auto status = statusOf(head);
  const auto length = lengthOf(head);
  auto body = end == std::string::npos ? std::string() : answer.substr(end + kHeadEnd.size());
  if (status == 0 || !length || body.size() != *length) {
    return fail(Stage::cli, Reason::protocol, "ask " + socket + ": the answer is not complete");
  }
  if (status != 200) {
    return fail(Stage::cli, Reason::protocol,
                "the daemon at " + socket + " answered " + std::to_string(status) + ": " + body);
  }
  return body;
}

Result<boost::json::value> askJson(const std::string& socket, const std::string& target) {
  FB_TRY(const auto body, ask(socket, target));
  boost::json::error_code error;
  auto value = boost::json::parse(body, error);
  if (error)
    return fail(Stage::cli, Reason::protocol,
                "the answer of the daemon at " + socket + " is not JSON: " + error.message());
  return value;
}

Result<> listen(const std::string& socket, const std::function<bool(const std::string&)>& take,
                std::optional<std::chrono::seconds> limit) {
  const auto deadline = limit ? Clock::system().now() + *limit : Stamp::max();
  FB_TRY(auto daemon, Connection::open(socket));
  FB_CHECK(daemon.send("GET /events HTTP/1.1\r\nHost: fallbackd\r\n\r\n"));
  std::string buffer;
  /// What comes before `end`, and `end`.
  const auto until = [&](std::string_view end) -> Result<std::string> {
    for (;;) {
      if (const auto at = buffer.find(end); at != std::string::npos) {
        auto text = buffer.substr(0, at + end.size());
        buffer.erase(0, text.size());
        return text;
      }
      const auto more = daemon.receive(buffer, deadline);
      if (!more && more.error().reason == Reason::timeout) {
        return fail(Stage::cli, Reason::timeout,
                    "fallbackd at " + socket + " did not do so within " + formatDuration(*limit));
      }
      if (!more) return tl::unexpected<Error>(more.error());
      if (!*more)
        return fail(Stage::cli, Reason::unavailable, "fallbackd closed the connection to " + socket);
    }
  };
  FB_TRY(const auto head, until(kHeadEnd));
  if (statusOf(head) != 200) {
    return fail(Stage::cli, Reason::protocol,
                "the daemon at " + socket + " answered " + head.substr(0, head.find('\r')));
  }
  for (;;) {
    FB_TRY(const auto event, until("\n\n"));
    const auto data = dataOf(event);
    if (!data.empty() && !take(data)) return {};
  }
}

}  // namespace fallbackd::ctl

// SPDX-License-Identifier: Apache-2.0
#include "server.hpp"

#include <algorithm>
#include <arpa/inet.h>
#include <array>
#include <cerrno>
#include <chrono>
#include <cstdio>
#include <cstring>
#include <netinet/in.h>
#include <poll.h>
#include <string_view>
#include <sys/socket.h>
#include <unistd.h>
#include <vector>

namespace shop {

namespace {

constexpr std::size_t kLargestRequest = 8192;
constexpr std::size_t kMaxClients = 256;

struct Client {
  int fd;
  std::string received;
};

std::string failure(const char* what) {
  return std::string(what) + ": " + std::strerror(errno);  // NOLINT(concurrency-mt-unsafe): one thread only
}

int listenOn(std::uint16_t port, Port sharing, std::string& error) {
  const int fd = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  if (fd < 0) {
    error = failure("socket");
    return -1;
  }
  // A fallback and the real container use the same port one after the other; old connections must not block
  // it.
  const int yes = 1;
  ::setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes);
  if (sharing == Port::shared) ::setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &yes, sizeof yes);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_ANY);
  address.sin_port = htons(port);
  if (::bind(fd, reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0 ||
      ::listen(fd, SOMAXCONN) != 0) {
    error = failure(("port " + std::to_string(port)).c_str());
    ::close(fd);
    return -1;
  }
  return fd;
}

/// Like a memory leak: a limit below 1 GiB ends the program.
void eat() {
  constexpr std::size_t kPiece = 1 << 20;
  for (int i = 0; i < 1024; ++i) std::memset(new char[kPiece], 1, kPiece);  // NOLINT: never freed
}

void answer(const Client& client, const Answers& answers) {
  const std::string_view request = client.received;
  const std::string_view line = request.substr(0, request.find("\r\n"));
  const std::size_t pathAt = line.find(' ') + 1;
  const std::string_view path = line.substr(pathAt, line.find(' ', pathAt) - pathAt);
  const bool get = line.substr(0, pathAt) == "GET ";
  if (answers.hungry && path == "/eat") eat();
  std::string status = "200 OK";
  std::string body = answers.index;
  if (!get) {
    status = "405 Method Not Allowed";
    body = "only GET\n";
  } else if (path == "/healthz") {
    body = "ok\n";
  } else if (path != "/") {
    status = "404 Not Found";
    body = "no such page\n";
  }
  const std::string response = "HTTP/1.1 " + status + "\r\nContent-Type: text/plain\r\nContent-Length: " +
                               std::to_string(body.size()) + "\r\nConnection: close\r\n\r\n" + body;
  // A few hundred bytes always fit the empty send buffer of a fresh connection.
  const ssize_t sent = ::send(client.fd, response.data(), response.size(), MSG_NOSIGNAL);
  log(std::string(line.substr(0, 200)) + " -> " + (sent < 0 ? "client gone" : status.substr(0, 3)));
}

/// Reads what arrived; true if the connection is over.
bool advance(Client& client, const Answers& answers) {
  std::array<char, 4096> buffer{};
  const ssize_t got = ::recv(client.fd, buffer.data(), buffer.size(), MSG_DONTWAIT);
  if (got < 0) return errno != EAGAIN && errno != EINTR;
  if (got == 0) return true;
  client.received.append(buffer.data(), static_cast<std::size_t>(got));
  if (client.received.find("\r\n\r\n") != std::string::npos) {
    answer(client, answers);
    return true;
  }
  return client.received.size() > kLargestRequest;
}

void acceptAll(int listener, std::vector<Client>& clients) {
  for (;;) {
    const int fd = ::accept4(listener, nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK);
    if (fd < 0) return;
    if (clients.size() == kMaxClients) {  // the oldest has been silent the longest
      ::close(clients.front().fd);
      clients.erase(clients.begin());
    }
    clients.push_back({fd, {}});
  }
}

}  // namespace

void log(const std::string& line) {
  const auto sinceEpoch = std::chrono::system_clock::now().time_since_epoch();
  const auto millis = std::chrono::duration_cast<std::chrono::milliseconds>(sinceEpoch).count();
  std::array<char, 32> stamp{};
  std::snprintf(stamp.data(), stamp.size(), "%lld.%03lld ", static_cast<long long>(millis / 1000),
                static_cast<long long>(millis % 1000));
  const std::string text = stamp.data() + line + "\n";
  // If stdout is gone, the service continues without its log.
  [[maybe_unused]] const ssize_t ignored = ::write(STDOUT_FILENO, text.data(), text.size());
}

std::string serve(std::uint16_t port, Port sharing, int stop, const Answers& answers) {
  std::string error;
  int listener = listenOn(port, sharing, error);
  if (listener < 0) return error;
  log("listening on 0.0.0.0:" + std::to_string(port));
  std::vector<Client> clients;
  std::vector<pollfd> polled;
  while (listener >= 0 || !clients.empty()) {
    polled.assign({{listener, POLLIN, 0}, {listener < 0 ? -1 : stop, POLLIN, 0}});  // poll ignores -1
    for (const auto& client : clients) polled.push_back({client.fd, POLLIN, 0});
    if (::poll(polled.data(), polled.size(), -1) < 0 && errno != EINTR) return failure("poll");
    for (std::size_t index = clients.size(); index > 0; --index) {
      Client& client = clients[index - 1];
      if (polled[index + 1].revents == 0 || !advance(client, answers)) continue;
      ::close(client.fd);
      clients.erase(clients.begin() + static_cast<std::ptrdiff_t>(index - 1));
    }
    const bool stops = polled[1].revents != 0;
    if (polled[0].revents != 0 || stops) acceptAll(listener, clients);
    if (!stops) continue;
    ::close(listener);
    listener = -1;
  }
  return {};
}

}  // namespace shop

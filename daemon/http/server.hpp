// SPDX-License-Identifier: Apache-2.0
// A small HTTP/1.1 server for metrics, health, status and events, over TCP (TLS if there are files for it)
// and over a root-only unix socket. Runs on its own thread with lower priority than the daemon: whatever
// clients do, a recovery loses no more than its share of a CPU. Clients, clients per address, header size and
// time are limited; if there are too many clients, the one that has been sending its request the longest is
// closed.
#pragma once

#include "base/error.hpp"
#include "http/clients.hpp"
#include "http/event_feed.hpp"
#include "http/tls_files.hpp"

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/awaitable.hpp>

namespace fallbackd::http {

struct Request {
  std::string path;                          // without the query
  std::map<std::string, std::string> query;  // decoded
  std::string accept;                        // the Accept header
  enum class Method : std::uint8_t { get, head };
  Method method = Method::get;
  std::string range = {};          // the Range header
  std::string authorization = {};  // the Authorization header
};

/// A body that is produced piece by piece, each after the client has taken the one before.
class Body {
 public:
  virtual ~Body() = default;
  /// Empty at the end. On failure the connection is closed, so that the client notices.
  virtual boost::asio::awaitable<Result<std::string>> next() = 0;
};

struct Response {
  unsigned status = 200;
  std::string contentType = "text/plain; charset=utf-8";
  std::string body;
  std::vector<std::pair<std::string, std::string>> headers;  // additional ones
  /// Instead of `body`, if it is set: exactly `length` bytes.
  std::unique_ptr<Body> pieces = {};
  std::uint64_t length = 0;
};

/// Handles GET and HEAD of one path, on the server's thread; must not block.
using Handler = std::function<boost::asio::awaitable<Response>(Request)>;

/// Who may use a route.
enum class Audience : std::uint8_t {
  anyone,  // no token needed: for kubelet's probes
  holder,  // with the token, if one is configured
  root,    // only over the unix socket
};

struct Options {
  std::optional<TlsFiles::Paths> tls;
  std::string tokenFile;  // empty: no token
  /// Called with files that are no longer valid; the earlier ones stay in use. On the server's thread.
  std::function<void(const std::string&)> trouble;
  Clients::Limits limits = {};
  /// Of the server's thread: whatever clients do, a recovery comes first. 0: a caller waits for each answer.
  int niceness = 5;
  /// Builds the server's own refusals; without it they are text for people.
  std::function<Response(unsigned status, std::string text)> refuse = {};
};

class Server {
 public:
  explicit Server(Options options);
  ~Server();
  Server(const Server&) = delete;
  Server& operator=(const Server&) = delete;

  /// The server's thread.
  [[nodiscard]] boost::asio::any_io_executor executor();

  // Call the following before run().

  void route(std::string path, Audience audience, Handler handler);
  /// Every path that begins with `prefix` and has no route of its own.
  void routeBelow(std::string prefix, Audience audience, Handler handler);
  /// Server-sent events for holders of the token.
  void events(std::string path, EventFeed::Produce produce);

  /// ADDRESS:PORT, for example 127.0.0.1:9477 or [::1]:9477; port 0 picks a free one. Stage telemetry; also
  /// for certificates and tokens that cannot be used.
  Result<> listenTcp(const std::string& address);
  /// A socket that only root may use; replaces one left behind by an earlier daemon.
  Result<> listenUnix(const std::string& path);

  /// Starts the thread.
  void run();

  /// The port that listenTcp uses.
  [[nodiscard]] unsigned short port() const;

  /// Ends the thread and with it all clients. Blocks until the thread has ended.
  void stop();

 private:
  struct Shared;
  std::shared_ptr<Shared> shared_;
};

}  // namespace fallbackd::http

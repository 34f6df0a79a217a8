// A small HTTP/1.1 server for metrics, health, status and events, over TCP (TLS where there are files for it)
// and over a root-only unix socket. Has a thread of its own with less priority than the daemon's: whatever
// clients do, it costs no recovery more than its share of a CPU. Bounded in clients, clients of one address,
// header size and time; where there are too many, who has sent its request the slowest is closed.
#pragma once

#include "base/error.hpp"
#include "telemetry/event_feed.hpp"
#include "telemetry/tls_files.hpp"

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/awaitable.hpp>

namespace fallbackd::telemetry {

struct Request {
  std::string path;                          // without the query
  std::map<std::string, std::string> query;  // decoded
  std::string accept;                        // the Accept header
};

struct Response {
  unsigned status = 200;
  std::string contentType = "text/plain; charset=utf-8";
  std::string body;
  std::vector<std::pair<std::string, std::string>> headers;  // further ones
};

/// Answers GET and HEAD of one path, on the server's thread; must not block.
using Handler = std::function<boost::asio::awaitable<Response>(Request)>;

/// Who may ask over a route.
enum class Audience : std::uint8_t {
  anyone,  // also without the token: what kubelet's probes ask
  holder,  // with the token, where there is one
  root,    // over the unix socket only
};

struct HttpOptions {
  std::optional<TlsFiles::Paths> tls;
  std::string tokenFile;  // empty: no token
  /// Files that do not pass any more; the earlier ones stay in use. Called on the server's thread.
  std::function<void(const std::string&)> trouble;
};

class HttpServer {
 public:
  explicit HttpServer(HttpOptions options);
  ~HttpServer();
  HttpServer(const HttpServer&) = delete;
  HttpServer& operator=(const HttpServer&) = delete;

  /// Of the server's thread.
  [[nodiscard]] boost::asio::any_io_executor executor();

  // The following before run().

  void route(std::string path, Audience audience, Handler handler);
  /// Server-sent events for those who hold the token.
  void events(std::string path, EventFeed::Produce produce);

  /// ADDRESS:PORT, for example 127.0.0.1:9477 or [::1]:9477; port 0 takes a free one. Stage telemetry; also
  /// for certificates and tokens that cannot be used.
  Result<> listenTcp(const std::string& address);
  /// A socket that only root may use; one left behind by an earlier daemon is replaced.
  Result<> listenUnix(const std::string& path);

  /// Starts the thread.
  void run();

  /// The port that listenTcp got.
  [[nodiscard]] unsigned short port() const;

  /// Ends the thread and with it all clients. Blocks until it ended.
  void stop();

 private:
  struct Shared;
  std::shared_ptr<Shared> shared_;
};

}  // namespace fallbackd::telemetry

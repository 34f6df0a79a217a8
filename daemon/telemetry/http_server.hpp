// A small HTTP/1.1 server for metrics, health and status, over TCP and over a root-only unix socket.
// One io_context thread. Bounded in clients, header size and time, so that no client can hold the daemon.
#pragma once

#include "base/error.hpp"
#include "base/task_group.hpp"

#include <functional>
#include <map>
#include <memory>
#include <string>

#include <boost/asio/any_io_executor.hpp>

namespace fallbackd::telemetry {

struct Response {
  unsigned status = 200;
  std::string contentType = "text/plain; charset=utf-8";
  std::string body;
};

/// Answers GET and HEAD of one path. Runs on the server's thread; must not block.
using Handler = std::function<Response()>;

class HttpServer {
 public:
  explicit HttpServer(boost::asio::any_io_executor executor);
  ~HttpServer();

  /// Before listening.
  void route(std::string path, Handler handler);

  /// ADDRESS:PORT, for example 127.0.0.1:9477 or [::1]:9477; port 0 takes a free one. Stage telemetry.
  Result<> listenTcp(const std::string& address);
  /// A socket that only root may use; one left behind by an earlier daemon is replaced.
  Result<> listenUnix(const std::string& path);

  /// The port that listenTcp got.
  [[nodiscard]] unsigned short port() const;

  /// Closes all sockets and ends all clients.
  void stop();

 private:
  struct Shared;
  std::shared_ptr<Shared> shared_;
};

}  // namespace fallbackd::telemetry

// SPDX-License-Identifier: Apache-2.0
// An HTTPS server on loopback that checks every request as strictly as it can, and fails on command. Its
// state belongs to its own thread; tests may call its functions from any other thread.
#pragma once

#include "base/async/event.hpp"
#include "base/error.hpp"
#include "kube/authority.hpp"
#include "kube/rbac.hpp"
#include "loop_server.hpp"

#include <cstdint>
#include <functional>
#include <future>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include <boost/asio/awaitable.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/ssl/context.hpp>
#include <boost/asio/ssl/stream.hpp>
#include <boost/json.hpp>

namespace fallbackd::kube_test {

/// What a server does instead of answering.
enum class Fault : std::uint8_t {
  none,
  status,             // `status`, with a Status object
  silent_accept,      // accepts, and never sends a byte of TLS
  silent_answer,      // reads the request, and never answers
  silent_body,        // sends half of a body
  cut_before_answer,  // closes instead of answering
  cut_body,           // closes in the middle of a body
  not_http,
  not_json,
  huge_header,
  huge_body,  // announces 100 GB
  endless_body,
  redirect,
};

struct Trouble {
  Fault fault = Fault::none;
  unsigned status = 500;
  std::string retryAfter = {};
  std::string message = "as ordered";
  unsigned times = 1000000;
};

struct Seen {
  std::string method;
  std::string path;
  std::map<std::string, std::string> query;  // decoded
  std::string rawQuery;
  std::string authorization;
  std::string clientName;  // from its certificate; empty: it had none
  std::string accept;
  std::string contentType;
  std::string body;
};

class TlsServer : public e2e::LoopServer {
 public:
  ~TlsServer() override { stop(); }

  /// The certificate for all later connections.
  void certify(const Leaf& leaf);
  /// Clients may show certificates of this authority.
  void askForCertificates(const Authority& authority);
  /// Requests must carry one of these tokens, unless the client has a certificate.
  void acceptTokens(std::vector<std::string> tokens);
  /// Admitted clients may do this and nothing else. Before the first call everything is allowed.
  void grant(std::vector<Permission> permissions);
  /// What was requested since grant(), in the form of Permission::text().
  [[nodiscard]] std::set<std::string> asked();
  void trouble(Trouble trouble);
  /// From now on its thread gets only idle processor time, because a server on another machine would not take
  /// any from this one.
  void takeIdleProcessorsOnly();
  void heal() { trouble({}); }
  /// Closes each connection after its first answer and announces that, like a server that is about to stop.
  void closeBehindAnswers();
  /// Closes the connections on which it is silent. Otherwise their clients wait until their own deadlines.
  void endSilence();

  [[nodiscard]] std::vector<Seen> requests();
  [[nodiscard]] std::size_t connections();
  /// What requests did that a real server may not accept; tests expect none.
  [[nodiscard]] std::vector<std::string> violations();

 protected:
  using Stream = boost::asio::ssl::stream<boost::asio::ip::tcp::socket>;

  explicit TlsServer(const Leaf& leaf);

  /// On the server's thread. False: close the connection.
  virtual boost::asio::awaitable<bool> respond(Stream& stream, Seen request) = 0;
  /// Whether methods other than GET are allowed on this path.
  [[nodiscard]] virtual bool mayChange(const std::string& path) const {
    static_cast<void>(path);
    return false;
  }
  /// The expected Accept header of the request.
  [[nodiscard]] virtual std::string acceptOf(const Seen& request) const {
    static_cast<void>(request);
    return "application/json";
  }
  /// Commits the fault instead of answering. False: close the connection.
  boost::asio::awaitable<bool> misbehave(Stream& stream, Trouble trouble);

  static boost::asio::awaitable<void> send(Stream& stream, std::string bytes);
  boost::asio::awaitable<void> answer(Stream& stream, unsigned status, std::string body,
                                      std::string headers = "");
  static std::string statusObject(unsigned code, const std::string& message, const std::string& reason = "");

  /// A PodList. GCC 12 does not accept initializer lists in coroutines.
  static std::string podList(boost::json::array items, const std::string& version = "",
                             const std::string& more = "");

  void violation(const std::string& what) { violations_.push_back(what); }
  [[nodiscard]] bool admitted(const Seen& request) const;

  /// Runs `work` on the server's thread, and waits for it.
  template <class Work>
  auto onThread(Work work) {
    std::packaged_task<decltype(work())()> task(std::move(work));
    auto result = task.get_future();
    boost::asio::post(executor(), [&task] { task(); });
    return result.get();
  }

 private:
  /// The authorizer that judges the requests.
  [[nodiscard]] virtual Asked kind() const { return Asked::api_server; }
  boost::asio::awaitable<void> serve(boost::asio::ip::tcp::socket socket) override;
  boost::asio::awaitable<void> staySilent();
  std::shared_ptr<boost::asio::ssl::context> makeContext() const;

  Leaf leaf_;
  std::string clientAuthority_;
  std::vector<std::string> tokens_;
  std::optional<Authorizer> authorizer_;
  Trouble trouble_;
  bool closes_ = false;
  std::shared_ptr<Event> silence_ = std::make_shared<Event>(executor());  // set when it ends
  std::vector<Seen> requests_;
  std::vector<std::string> violations_;
  std::size_t connections_ = 0;
};

}  // namespace fallbackd::kube_test

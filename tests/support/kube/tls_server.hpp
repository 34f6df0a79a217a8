// SPDX-License-Identifier: Apache-2.0
// An HTTPS server on loopback that checks every request as strictly as it can, and fails as it is told. All
// of its state is on its own thread; the functions for tests may be called from any other.
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
  silent_accept,      // accepts, and never says a word of TLS
  silent_answer,      // reads the request, and says nothing
  silent_body,        // half of a body
  cut_before_answer,  // closes instead of answering
  cut_body,           // closes in the middle of a body
  not_http,
  not_json,
  huge_header,
  huge_body,  // says that it will have 100 GB
  endless_body,
  redirect,
};

struct Trouble {
  Fault fault = Fault::none;
  unsigned status = 500;
  std::string retryAfter = {};
  std::string message = "as told";
  unsigned times = 1000000;
};

struct Seen {
  std::string method;
  std::string path;
  std::map<std::string, std::string> query;  // decoded
  std::string rawQuery;
  std::string authorization;
  std::string clientName;  // of its certificate; empty: it had none
  std::string accept;
  std::string contentType;
  std::string body;
};

class TlsServer : public e2e::LoopServer {
 public:
  ~TlsServer() override { stop(); }

  /// The certificate of connections from now on.
  void certify(const Leaf& leaf);
  /// Clients may show certificates of this authority.
  void askForCertificates(const Authority& authority);
  /// Requests must bear one of these, unless the client has a certificate.
  void acceptTokens(std::vector<std::string> tokens);
  /// Whoever is admitted may do this and nothing else. Until then everything is allowed.
  void grant(std::vector<Permission> permissions);
  /// What was asked for since grant(), as Permission::text() has it.
  [[nodiscard]] std::set<std::string> asked();
  void trouble(Trouble trouble);
  /// From now on its thread gets only the processors that nobody else wants, as a server on another machine
  /// takes none of them.
  void takeIdleProcessorsOnly();
  void heal() { trouble({}); }
  /// Closes each connection behind its first answer, and says so: as a server does that is about to stop.
  void closeBehindAnswers();
  /// Closes the connections on which it is silent. Without that their clients wait as long as they like.
  void endSilence();

  [[nodiscard]] std::vector<Seen> requests();
  [[nodiscard]] std::size_t connections();
  /// What requests did that a real server may not forgive; tests expect none.
  [[nodiscard]] std::vector<std::string> violations();

 protected:
  using Stream = boost::asio::ssl::stream<boost::asio::ip::tcp::socket>;

  explicit TlsServer(const Leaf& leaf);

  /// On the server's thread. False: the connection is to be closed.
  virtual boost::asio::awaitable<bool> respond(Stream& stream, Seen request) = 0;
  /// Whether anything but GET may be asked of this path.
  [[nodiscard]] virtual bool mayChange(const std::string& path) const {
    static_cast<void>(path);
    return false;
  }
  /// What the request must accept.
  [[nodiscard]] virtual std::string acceptOf(const Seen& request) const {
    static_cast<void>(request);
    return "application/json";
  }
  /// The fault instead of an answer. False: the connection is to be closed.
  boost::asio::awaitable<bool> misbehave(Stream& stream, Trouble trouble);

  static boost::asio::awaitable<void> send(Stream& stream, std::string bytes);
  boost::asio::awaitable<void> answer(Stream& stream, unsigned status, std::string body,
                                      std::string headers = "");
  static std::string statusObject(unsigned code, const std::string& message, const std::string& reason = "");

  /// A PodList. GCC 12 takes no initializer lists in coroutines.
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
  /// As whom it judges requests.
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

// SPDX-License-Identifier: Apache-2.0
// The server as its clients see it: well-behaved clients, slow ones, many at once, and clients without a
// token.
#include "http/server.hpp"

#include "few_descriptors.hpp"
#include "http/clients.hpp"
#include "shell.hpp"
#include "telemetry/page.hpp"
#include "temp_folder.hpp"

#include <atomic>
#include <cerrno>
#include <fstream>
#include <future>
#include <mutex>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <thread>
#include <unistd.h>

#include <boost/asio/generic/stream_protocol.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/local/stream_protocol.hpp>
#include <boost/asio/read.hpp>
#include <boost/asio/read_until.hpp>
#include <boost/asio/write.hpp>
#include <gmock/gmock.h>

namespace fallbackd::http {
namespace {

namespace asio = boost::asio;
using asio::ip::tcp;
using namespace std::chrono_literals;
using testing::HasSubstr;
using testing::Not;

/// A connection under the test's control.
class Connection {
 public:
  explicit Connection(unsigned short port) : socket_(loop_) {
    socket_.connect(tcp::endpoint(asio::ip::address_v4::loopback(), port), error_);
  }
  explicit Connection(const std::string& unixPath) : socket_(loop_) {
    socket_.connect(asio::local::stream_protocol::endpoint(unixPath), error_);
  }
  [[nodiscard]] bool send(std::string_view bytes) {
    asio::write(socket_, asio::buffer(bytes), error_);
    return !error_;
  }
  /// Reads until `end`, or until the server closes.
  std::string receive(const std::string& end = "") {
    std::string text;
    if (end.empty()) {
      asio::read(socket_, asio::dynamic_buffer(text), error_);
    } else {
      const auto size = asio::read_until(socket_, asio::dynamic_buffer(buffer_), end, error_);
      text = buffer_.substr(0, size);
      buffer_.erase(0, size);
    }
    return text;
  }
  std::string get(const std::string& target, const std::string& headers = "Host: localhost\r\n") {
    if (!send("GET " + target + " HTTP/1.1\r\nConnection: close\r\n" + headers + "\r\n")) return "not sent";
    return receive();
  }
  /// Whether the server has closed the connection.
  bool closed() {
    socket_.non_blocking(true, error_);
    char byte = 0;
    socket_.read_some(asio::buffer(&byte, 1), error_);
    return error_ != asio::error::would_block;
  }

 private:
  asio::io_context loop_;
  asio::generic::stream_protocol::socket socket_;
  std::string buffer_;
  boost::system::error_code error_;
};

/// The errno of that user's attempt to connect. The attempt is made from inside the folder, so that no parent
/// folder refuses it.
int connectAs(uid_t user, const std::string& folder, const std::string& name) {
  const pid_t child = ::fork();
  if (child == 0) {
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    name.copy(address.sun_path, sizeof address.sun_path - 1);
    if (::chdir(folder.c_str()) != 0 || ::setresgid(user, user, user) != 0 ||
        ::setresuid(user, user, user) != 0)
      ::_exit(255);
    const int fd = ::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    const bool connected = ::connect(fd, reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0;
    ::_exit(connected ? 0 : errno);
  }
  int status = 0;
  ::waitpid(child, &status, 0);
  return WEXITSTATUS(status);
}

class HttpServerTest : public testing::Test {
 protected:
  void start(Options options = {}) {
    options.trouble = [this](const std::string& what) {
      const std::lock_guard lock(mutex_);
      troubles_.push_back(what);
    };
    server_.emplace(std::move(options));
    const auto fixed = [](const char* text) {
      return [text](Request) -> asio::awaitable<Response> {
        co_return Response{200, "text/plain", text, {}};
      };
    };
    server_->route("/open", Audience::anyone, fixed("open"));
    server_->route("/held", Audience::holder, fixed("held"));
    server_->route("/root", Audience::root, fixed("root"));
    server_->route("/fails", Audience::holder, [](Request) -> asio::awaitable<Response> {
      throw std::runtime_error("of a kind");
      co_return Response{};
    });
    server_->route("/", Audience::holder,
                   [](Request) -> asio::awaitable<Response> { co_return telemetry::statusPage(); });
    server_->events("/events", [this]() -> asio::awaitable<std::optional<std::string>> {
      co_return "text " + std::to_string(text_);
    });
    const auto listening = server_->listenTcp("127.0.0.1:0");
    ASSERT_TRUE(listening) << listening.error().message();
    ASSERT_TRUE(server_->listenUnix(unixPath()));
    server_->run();
  }
  [[nodiscard]] unsigned short port() const { return server_->port(); }
  [[nodiscard]] std::string unixPath() const { return folder_.path() + "/s"; }
  std::string get(const std::string& target, const std::string& headers = "Host: localhost\r\n") {
    return Connection(port()).get(target, headers);
  }
  /// Connects as many listeners to /events as TCP allows; they stay connected.
  void takeAllStreams(std::vector<std::unique_ptr<Connection>>& listeners) const {
    for (int i = 0; i < 16; ++i) {
      listeners.push_back(std::make_unique<Connection>(port()));
      ASSERT_TRUE(listeners.back()->send("GET /events HTTP/1.1\r\nHost: localhost\r\n\r\n"));
      ASSERT_THAT(listeners.back()->receive("\n\n"), HasSubstr("data: text 1"));
    }
  }
  /// curl's output; "URL" stands for the server's address.
  std::string curl(const std::string& arguments, const std::string& scheme = "https") {
    auto line = "curl -sS --max-time 10 " + arguments;
    line.replace(line.find("URL"), 3, scheme + "://127.0.0.1:" + std::to_string(port()));
    return test::shell(line).text;
  }
  void certificate(const std::string& name) {
    const auto made = test::shell(
        "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 1 -subj /CN=" + name +
        " -addext subjectAltName=IP:127.0.0.1 -keyout " + folder_.path() + "/new.key -out " + folder_.path() +
        "/new.crt && cp " + folder_.path() + "/new.crt " + folder_.path() + "/" + name + ".pem && mv " +
        folder_.path() + "/new.key " + folder_.path() + "/tls.key && mv " + folder_.path() + "/new.crt " +
        folder_.path() + "/tls.crt");
    ASSERT_EQ(made.code, 0) << made.text;
  }

  test::TempFolder folder_;
  std::mutex mutex_;
  std::vector<std::string> troubles_;
  std::atomic<int> text_{1};
  std::optional<Server> server_;
};

TEST_F(HttpServerTest, AnswersAndRefuses) {
  start();
  const auto answer = get("/held?x=1");
  EXPECT_THAT(answer, HasSubstr("HTTP/1.1 200"));
  EXPECT_THAT(answer, HasSubstr("\r\n\r\nheld"));
  EXPECT_THAT(answer, HasSubstr("X-Content-Type-Options: nosniff"));
  EXPECT_THAT(answer, HasSubstr("Cross-Origin-Resource-Policy: same-origin"));
  EXPECT_THAT(answer, HasSubstr("Cache-Control: no-store"));
  EXPECT_THAT(get("/nothing"), HasSubstr("HTTP/1.1 404"));
  EXPECT_THAT(get("/root"), HasSubstr("HTTP/1.1 404"));
  EXPECT_THAT(get("/fails"), HasSubstr("failed: of a kind"));
  Connection post(port());
  ASSERT_TRUE(
      post.send("POST /held HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"));
  const auto refused = post.receive();
  EXPECT_THAT(refused, HasSubstr("HTTP/1.1 405"));
  EXPECT_THAT(refused, HasSubstr("Allow: GET, HEAD"));
  Connection head(port());
  ASSERT_TRUE(head.send("HEAD /held HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"));
  const auto bare = head.receive();
  EXPECT_THAT(bare, HasSubstr("Content-Length: 4"));
  EXPECT_THAT(bare, Not(HasSubstr("\r\n\r\nheld")));
}

/// Yields ten-digit numbers, and a failure in place of number `failAt`.
class Numbers final : public Body {
 public:
  explicit Numbers(std::uint64_t failAt) : failAt_(failAt) {}
  asio::awaitable<Result<std::string>> next() override {
    if (at_ == failAt_) co_return fail(Stage::telemetry, Reason::unavailable, "no more");
    auto text = std::to_string(at_++);
    co_return std::string(10 - text.size(), '0') + text;
  }

 private:
  std::uint64_t at_ = 0;
  std::uint64_t failAt_;
};

TEST_F(HttpServerTest, ABodyComesInPieces) {
  server_.emplace(Options{});
  server_->routeBelow("/pieces", Audience::anyone, [](Request request) -> asio::awaitable<Response> {
    Response response{206, "text/plain", {}, {}};
    response.length = 30;
    response.headers.emplace_back("X-Asked", request.range + " " + request.authorization);
    if (request.method == Request::Method::get) {
      response.pieces = std::make_unique<Numbers>(request.path == "/pieces/broken" ? 2 : 3);
    }
    co_return response;
  });
  ASSERT_TRUE(server_->listenTcp("127.0.0.1:0"));
  server_->run();
  const std::string whole = "000000000000000000010000000002";
  const auto answer =
      get("/pieces/x?y", "Host: localhost\r\nRange: bytes=1-2\r\nAuthorization: Bearer t\r\n");
  EXPECT_THAT(answer, HasSubstr("HTTP/1.1 206"));
  EXPECT_THAT(answer, HasSubstr("Content-Length: 30"));
  EXPECT_THAT(answer, HasSubstr("X-Asked: bytes=1-2 Bearer t"));
  EXPECT_THAT(answer, testing::EndsWith("\r\n\r\n" + whole));
  Connection kept(port());
  for (int i = 0; i < 2; ++i) {
    ASSERT_TRUE(kept.send("GET /pieces HTTP/1.1\r\nHost: localhost\r\n\r\n"));
    EXPECT_THAT(kept.receive(whole), HasSubstr("206"));
  }
  ASSERT_TRUE(kept.send("HEAD /pieces HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"));
  const auto bare = kept.receive();
  EXPECT_THAT(bare, HasSubstr("Content-Length: 30"));
  EXPECT_THAT(bare, testing::EndsWith("\r\n\r\n"));
  // The client can detect that the body is incomplete.
  Connection broken(port());
  ASSERT_TRUE(broken.send("GET /pieces/broken HTTP/1.1\r\nHost: localhost\r\n\r\n"));
  EXPECT_THAT(broken.receive(), testing::EndsWith("00000000000000000001"));
}

TEST_F(HttpServerTest, ASiteMayHaveItsOwnRefusalsAndLimits) {
  Options options;
  options.refuse = [](unsigned status, std::string text) {
    return Response{status, "application/json", "{" + std::to_string(text.size()) + "}", {}};
  };
  options.limits = {2, 2};
  server_.emplace(std::move(options));
  server_->route("/", Audience::anyone, [](Request) -> asio::awaitable<Response> { co_return Response{}; });
  ASSERT_TRUE(server_->listenTcp("127.0.0.1:0"));
  server_->run();
  EXPECT_THAT(get("/nothing"), HasSubstr("application/json"));
  EXPECT_THAT(get("/nothing"), HasSubstr("{10}"));
  EXPECT_THAT(get("/", "Host: evil.example\r\n"), HasSubstr("application/json"));
  // A third client takes the place of the client whose request has been incomplete the longest.
  Connection first(port());
  ASSERT_TRUE(first.send("GET / HTTP/1.1\r\n"));
  Connection second(port());
  ASSERT_TRUE(second.send("GET / HTTP/1.1\r\n"));
  Connection third(port());
  EXPECT_EQ(first.receive(), "");
  ASSERT_TRUE(third.send("GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"));
  EXPECT_THAT(third.receive(), HasSubstr("HTTP/1.1 200"));
}

TEST_F(HttpServerTest, ANameThatResolvesToLoopbackIsNotEnough) {
  start();
  EXPECT_THAT(get("/held", "Host: evil.example\r\n"), HasSubstr("HTTP/1.1 421"));
  EXPECT_THAT(get("/held", ""), HasSubstr("HTTP/1.1 421"));
  EXPECT_THAT(get("/held", "Host: 127.0.0.1:1\r\n"), HasSubstr("HTTP/1.1 200"));
}

TEST_F(HttpServerTest, TheTokenGuardsAllExceptTheProbes) {
  Options options;
  options.tokenFile = folder_.write("token", "0123456789abcdef");
  start(std::move(options));
  EXPECT_THAT(get("/open"), HasSubstr("HTTP/1.1 200"));
  for (const char* path : {"/held", "/", "/events", "/nothing", "/root"}) {
    const auto answer = get(path);
    EXPECT_THAT(answer, HasSubstr("HTTP/1.1 401")) << path;
    EXPECT_THAT(answer, HasSubstr("WWW-Authenticate: Bearer")) << path;
    EXPECT_THAT(answer, HasSubstr("WWW-Authenticate: Basic")) << path;
  }
  const std::string bearer = "Host: a.name\r\nAuthorization: Bearer ";
  EXPECT_THAT(get("/held", bearer + "0123456789abcdef\r\n"), HasSubstr("HTTP/1.1 200"));
  EXPECT_THAT(get("/held", bearer + "0123456789abcdeF\r\n"), HasSubstr("HTTP/1.1 401"));
  folder_.write("token", "fedcba98765432100");
  EXPECT_THAT(get("/held", bearer + "0123456789abcdef\r\n"), HasSubstr("HTTP/1.1 401"));
  EXPECT_THAT(get("/held", bearer + "fedcba98765432100\r\n"), HasSubstr("HTTP/1.1 200"));
  EXPECT_EQ(curl("--unix-socket " + unixPath() + " URL/root", "http"), "root") << "root needs no token";
}

/// The socket needs no token, so the file itself must keep others out, whatever the umask.
TEST_F(HttpServerTest, OnlyRootCanConnectToTheSocket) {
  const auto before = ::umask(0);
  start();
  ::umask(before);
  struct stat info {};
  ASSERT_EQ(::stat(unixPath().c_str(), &info), 0);
  EXPECT_EQ(info.st_mode & 07777, 0600U) << "others must not connect";
  EXPECT_EQ(info.st_uid, ::geteuid());
}

/// Only the file mode protects the socket: the kernel refuses a different user.
TEST_F(HttpServerTest, AnotherUserIsRefusedByTheSocket) {
  if (::geteuid() != 0) GTEST_SKIP() << "needs root, to become another user";
  const auto before = ::umask(0);
  start();
  ::umask(before);
  ASSERT_EQ(::chmod(folder_.path().c_str(), 0711), 0);
  EXPECT_EQ(connectAs(0, folder_.path(), "s"), 0);
  EXPECT_EQ(connectAs(65534, folder_.path(), "s"), EACCES);
}

TEST_F(HttpServerTest, AFileAtTheSocketsPathStays) {
  const auto file = folder_.write("s", "precious");
  Server server{Options{}};
  const auto listening = server.listenUnix(file);
  ASSERT_FALSE(listening);
  EXPECT_EQ(listening.error().reason, Reason::unsafe_file_type);
  std::ifstream in(file);
  std::string text;
  in >> text;
  EXPECT_EQ(text, "precious");
}

TEST_F(HttpServerTest, TlsFollowsAReplacedCertificate) {
  certificate("first");
  Options options;
  options.tls = {folder_.path() + "/tls.crt", folder_.path() + "/tls.key"};
  start(std::move(options));
  const auto first = "--cacert " + folder_.path() + "/first.pem URL/held";
  const auto second = "--cacert " + folder_.path() + "/second.pem URL/held";
  EXPECT_EQ(curl(first), "held");
  certificate("second");
  EXPECT_EQ(curl(second), "held");
  EXPECT_THAT(curl(first), HasSubstr("certificate"));
  EXPECT_THAT(curl("--tls-max 1.1 -k URL/held"), Not(HasSubstr("held")));
  EXPECT_THAT(get("/held"), Not(HasSubstr("200"))) << "plain text";
  folder_.write("tls.crt", "nonsense");
  EXPECT_EQ(curl(second), "held") << "the earlier certificate stays in use";
  const std::lock_guard lock(mutex_);
  ASSERT_FALSE(troubles_.empty());
  EXPECT_THAT(troubles_.front(), HasSubstr("TLS certificate " + folder_.path() + "/tls.crt"));
}

TEST_F(HttpServerTest, ACertificateThatCannotBeReadNowIsReadLater) {
  certificate("first");
  TlsFiles files({folder_.path() + "/tls.crt", folder_.path() + "/tls.key"});
  ASSERT_TRUE(files.refresh());
  const auto first = files.context();
  certificate("second");
  {
    const test::FewDescriptors none;
    EXPECT_FALSE(files.refresh());
    EXPECT_EQ(files.context(), first) << "the earlier certificate stays in use";
  }
  EXPECT_TRUE(files.refresh());
  EXPECT_NE(files.context(), first);
}

TEST_F(HttpServerTest, AHugeCertificateIsNotReadAndReportedOnce) {
  certificate("first");
  TlsFiles files({folder_.path() + "/tls.crt", folder_.path() + "/tls.key"});
  ASSERT_TRUE(files.refresh());
  folder_.write("tls.crt", std::string(2 << 20, 'x'));
  const auto refused = files.refresh();
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().reason, Reason::too_large);
  EXPECT_TRUE(files.refresh());
}

TEST_F(HttpServerTest, UnusableFilesAreReportedAtTheStart) {
  Options options;
  options.tokenFile = folder_.write("token", "short");
  Server weak(std::move(options));
  const auto refused = weak.listenTcp("127.0.0.1:0");
  ASSERT_FALSE(refused);
  EXPECT_THAT(refused.error().message(), HasSubstr("fewer than 16 characters"));
  Options tls;
  tls.tls = {folder_.path() + "/no.crt", folder_.path() + "/no.key"};
  Server bare(std::move(tls));
  const auto missing = bare.listenTcp("127.0.0.1:0");
  ASSERT_FALSE(missing);
  EXPECT_THAT(missing.error().message(), HasSubstr("no.crt"));
}

TEST_F(HttpServerTest, SlowLorisesMakeRoomForActiveClients) {
  start();
  std::vector<std::unique_ptr<Connection>> slow;
  for (int i = 0; i < 400; ++i) {
    slow.push_back(std::make_unique<Connection>(port()));
    static_cast<void>(slow.back()->send("GET /held HTTP/1.1\r\nX-Slow: "));
  }
  for (int i = 0; i < 50; ++i) EXPECT_THAT(get("/held"), HasSubstr("\r\n\r\nheld"));
  const auto left = std::count_if(slow.begin(), slow.end(), [](const auto& one) { return !one->closed(); });
  EXPECT_LE(left, 32) << "the limit of one address";
}

TEST_F(HttpServerTest, AHugeHeaderEndsItsConnectionOnly) {
  start();
  Connection huge(port());
  static_cast<void>(huge.send("GET /held HTTP/1.1\r\nX-Huge: " + std::string(1 << 20, 'x')));
  EXPECT_THAT(huge.receive(), Not(HasSubstr("200")));
  EXPECT_THAT(get("/held"), HasSubstr("\r\n\r\nheld"));
}

TEST_F(HttpServerTest, EventsAreSentWhenTheTextChanges) {
  start();
  Connection listener(port());
  ASSERT_TRUE(listener.send("GET /events HTTP/1.1\r\nHost: localhost\r\n\r\n"));
  EXPECT_THAT(listener.receive("\r\n\r\n"), HasSubstr("Content-Type: text/event-stream"));
  EXPECT_EQ(listener.receive("\n\n"), "data: text 1\n\n");
  text_ = 2;
  EXPECT_EQ(listener.receive("\n\n"), "data: text 2\n\n");
  Connection late(port());
  ASSERT_TRUE(late.send("GET /events HTTP/1.1\r\nHost: localhost\r\n\r\n"));
  static_cast<void>(late.receive("\r\n\r\n"));
  EXPECT_EQ(late.receive("\n\n"), "data: text 2\n\n") << "a later client gets the text at once";
}

TEST_F(HttpServerTest, ListenersAreLimitedAndOthersAreStillServed) {
  start();
  std::vector<std::unique_ptr<Connection>> listeners;
  takeAllStreams(listeners);
  EXPECT_THAT(get("/events"), HasSubstr("HTTP/1.1 503"));
  EXPECT_THAT(get("/held"), HasSubstr("HTTP/1.1 200"));
}

TEST_F(HttpServerTest, RootIsServedDespiteManyTcpClients) {
  start();
  std::vector<std::unique_ptr<Connection>> listeners;
  takeAllStreams(listeners);
  Connection root(unixPath());
  ASSERT_TRUE(root.send("GET /events HTTP/1.1\r\nHost: root\r\n\r\n"));
  EXPECT_THAT(root.receive("\n\n"), HasSubstr("data: text 1")) << "although TCP has all event streams";
}

TEST(Clients, TheyLeaveRootItsSlots) {
  Clients clients;
  const auto answered = [&](const std::string& address) {
    if (!clients.makeRoom(address)) return false;
    clients.add({address, false, Clock::system().now(), nullptr});
    return true;
  };
  std::size_t connected = 0;
  for (int i = 0; i < 200; ++i) connected += answered("10.0.0." + std::to_string(i)) ? 1 : 0;
  EXPECT_EQ(connected, Clients::kMaxClients);
  for (std::size_t i = 0; i < Clients::kMaxClients; ++i) EXPECT_TRUE(answered("")) << i;
  EXPECT_FALSE(answered("")) << "root's own slots are limited, too";
}

TEST(Clients, AFewBusyAddressesDoNotKeepOutAProbe) {
  Clients clients;
  const auto answered = [&](const std::string& address) {
    if (!clients.makeRoom(address)) return false;
    clients.add({address, false, Clock::system().now(), nullptr});
    return true;
  };
  for (int i = 0; i < 100 * 4; ++i) answered("10.0.0." + std::to_string(i % 4));
  EXPECT_EQ(clients.size(), 96U) << "although each may have 32 places";
  for (std::size_t i = 0; i < Clients::kFewOfAddress; ++i) EXPECT_TRUE(answered("10.0.0.9")) << i;
  EXPECT_FALSE(answered("10.0.0.9"));
  bool closed = false;
  clients.add({"10.0.0.1", true, Clock::system().now(), [&] { closed = true; }});
  EXPECT_TRUE(answered("10.0.0.1")) << "it replaces the address's own connection with an incomplete request";
  EXPECT_TRUE(closed);
}

TEST_F(HttpServerTest, ThePagesPolicyAllowsOnlyThePage) {
  start();
  const auto answer = get("/");
  EXPECT_THAT(answer, HasSubstr("Content-Security-Policy: default-src 'none'; script-src 'sha256-"));
  EXPECT_THAT(answer, HasSubstr("frame-ancestors 'none'"));
  EXPECT_THAT(answer, Not(HasSubstr("unsafe-")));
  const auto html = std::string(telemetry::pageHtml());
  EXPECT_THAT(html, Not(HasSubstr("innerHTML")));
  EXPECT_THAT(html, Not(HasSubstr("style=")));
  EXPECT_LT(html.size(), 20U << 10);
}

TEST_F(HttpServerTest, StopsWhileClientsAreConnected) {
  start();
  Connection idle(port());
  Connection listener(port());
  ASSERT_TRUE(listener.send("GET /events HTTP/1.1\r\nHost: localhost\r\n\r\n"));
  static_cast<void>(listener.receive("\n\n"));
  server_->stop();
  server_.reset();
  EXPECT_TRUE(listener.closed());
}

}  // namespace
}  // namespace fallbackd::http

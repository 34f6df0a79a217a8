// SPDX-License-Identifier: Apache-2.0
#include "http/server.hpp"

#include "base/async/loop_clock.hpp"
#include "base/async/pause.hpp"
#include "base/task_group.hpp"
#include "http/clients.hpp"
#include "http/connection.hpp"
#include "http/stream.hpp"
#include "sys/file.hpp"

#include <charconv>
#include <chrono>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <thread>
#include <unistd.h>

#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/local/stream_protocol.hpp>
#include <boost/asio/redirect_error.hpp>
#include <boost/asio/use_awaitable.hpp>

namespace fallbackd::http {

namespace asio = boost::asio;
using namespace std::chrono_literals;
using asio::ip::tcp;
using asio::local::stream_protocol;

namespace {

constexpr auto kEventInterval = 250ms;
constexpr auto kStopLimit = 1s;

auto noThrow(boost::system::error_code& error) {
  return asio::redirect_error(asio::use_awaitable, error);
}

}  // namespace

struct Server::Shared {
  explicit Shared(Options options)
      : executor(loop.get_executor()), site(std::move(options), executor), tasks(executor) {}

  asio::io_context loop{1};
  asio::any_io_executor executor;
  Site site;
  std::string unixPath;
  unsigned short port = 0;
  std::thread thread;
  TaskGroup tasks;
};

namespace {

/// The connection keeps the whole server's state alive.
template <class Shared>
asio::awaitable<void> serve(const std::shared_ptr<Shared>& shared, std::unique_ptr<Stream> stream,
                            Clients::Place place) {
  return serveClient(std::shared_ptr<Site>(shared, &shared->site), std::move(stream), place);
}

template <class Shared>
void begin(const std::shared_ptr<Shared>& shared, tcp::socket socket) {
  boost::system::error_code error;
  const auto peer = socket.remote_endpoint(error);
  if (error) return;  // disconnected already
  auto address = peer.address().to_string();
  if (!shared->site.clients.makeRoom(address)) return;
  socket.set_option(tcp::no_delay(true), error);
  const auto place =
      shared->site.clients.add({std::move(address), true, LoopClock::of(shared->executor).now(), nullptr});
  if (shared->site.tls) shared->site.refreshFiles();
  auto stream = shared->site.tls ? tlsStream(std::move(socket), *shared->site.tls->context())
                                 : plainStream(std::move(socket));
  shared->tasks.spawn(serve(shared, std::move(stream), place));
}

template <class Shared>
void begin(const std::shared_ptr<Shared>& shared, stream_protocol::socket socket) {
  if (!shared->site.clients.makeRoom("")) return;
  const auto place = shared->site.clients.add({"", true, LoopClock::of(shared->executor).now(), nullptr});
  shared->tasks.spawn(serve(shared, plainStream(std::move(socket)), place));
}

template <class Acceptor, class Shared>
asio::awaitable<void> acceptAll(std::shared_ptr<Shared> shared, Acceptor acceptor) {
  for (;;) {
    boost::system::error_code error;
    auto socket = co_await acceptor.async_accept(noThrow(error));
    if (error == asio::error::operation_aborted) co_return;
    if (error) {
      // Out of descriptors, most likely: continue when some may have been closed.
      co_await pauseFor(100ms);
      continue;
    }
    begin(shared, std::move(socket));
  }
}

}  // namespace

Server::Server(Options options) : shared_(std::make_shared<Shared>(std::move(options))) {}

Server::~Server() {
  stop();
}

asio::any_io_executor Server::executor() {
  return shared_->executor;
}

void Server::route(std::string path, Audience audience, Handler handler) {
  shared_->site.routes.insert_or_assign(std::move(path), Route{audience, std::move(handler), nullptr});
}

void Server::routeBelow(std::string prefix, Audience audience, Handler handler) {
  shared_->site.prefixes.insert_or_assign(std::move(prefix), Route{audience, std::move(handler), nullptr});
}

void Server::events(std::string path, EventFeed::Produce produce) {
  auto feed = std::make_unique<EventFeed>(shared_->executor, std::move(produce), kEventInterval);
  shared_->tasks.spawn(feed->run());
  const auto busy = [](Request) -> asio::awaitable<Response> {
    co_return refusal(503, "too many event streams are open\n");
  };
  shared_->site.routes.insert_or_assign(std::move(path), Route{Audience::holder, busy, std::move(feed)});
}

Result<> Server::listenTcp(const std::string& address) {
  const auto colon = address.rfind(':');
  unsigned short port = 0;
  std::string host = address.substr(0, colon);
  if (host.size() >= 2 && host.front() == '[' && host.back() == ']') host = host.substr(1, host.size() - 2);
  boost::system::error_code error;
  const auto ip = asio::ip::make_address(host, error);
  const char* end = address.data() + address.size();
  if (error || colon == std::string::npos ||
      std::from_chars(address.data() + colon + 1, end, port).ptr != end) {
    return fail(Stage::telemetry, Reason::invalid,
                address + " is not ADDRESS:PORT, for example 127.0.0.1:9477");
  }
  FB_CHECK(shared_->site.token.refresh());
  if (shared_->site.tls) FB_CHECK(shared_->site.tls->refresh());
  shared_->site.loopbackOnly = ip.is_loopback();
  tcp::acceptor acceptor(shared_->executor);
  const tcp::endpoint endpoint(ip, port);
  acceptor.open(endpoint.protocol(), error);
  if (!error) acceptor.set_option(asio::socket_base::reuse_address(true), error);
  if (!error) acceptor.bind(endpoint, error);
  if (!error) acceptor.listen(asio::socket_base::max_listen_connections, error);
  if (error) return fail(Stage::telemetry, Reason::system, "listen on " + address, error.value());
  shared_->port = acceptor.local_endpoint(error).port();
  shared_->tasks.spawn(acceptAll(shared_, std::move(acceptor)));
  return {};
}

Result<> Server::listenUnix(const std::string& path) {
  if (path.size() >= sizeof(sockaddr_un::sun_path)) {
    return fail(Stage::telemetry, Reason::invalid, path + " is too long for a unix socket");
  }
  FB_CHECK(sys::removeSocket(Stage::telemetry, path));
  boost::system::error_code error;
  stream_protocol::acceptor acceptor(shared_->executor);
  acceptor.open(stream_protocol(), error);
  // Before bind, so that others cannot connect even for a moment.
  if (!error && ::fchmod(acceptor.native_handle(), 0600) != 0)
    error.assign(errno, boost::system::system_category());
  if (!error) acceptor.bind(stream_protocol::endpoint(path), error);
  if (!error) acceptor.listen(asio::socket_base::max_listen_connections, error);
  if (error) return fail(Stage::telemetry, Reason::system, "listen on " + path, error.value());
  shared_->unixPath = path;
  shared_->tasks.spawn(acceptAll(shared_, std::move(acceptor)));
  return {};
}

void Server::run() {
  shared_->thread = std::thread([shared = shared_.get()] {
    // On Linux each thread has its own niceness. If this fails, the server still works.
    static_cast<void>(
        ::setpriority(PRIO_PROCESS, static_cast<id_t>(::syscall(SYS_gettid)), shared->site.options.niceness));
    shared->loop.run();
  });
}

unsigned short Server::port() const {
  return shared_->port;
}

void Server::stop() {
  shared_->loop.stop();
  if (shared_->thread.joinable()) shared_->thread.join();
  // Pending waits keep the loop and its connections alive: all of it ends here.
  shared_->tasks.cancelAll();
  shared_->loop.restart();
  shared_->loop.run_for(kStopLimit);
  if (!shared_->unixPath.empty()) static_cast<void>(sys::removeSocket(Stage::telemetry, shared_->unixPath));
  shared_->unixPath.clear();
}

}  // namespace fallbackd::http
